"""What `--anneal` asks for: schedules over images, read as schedules over the updates that each method counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gan_jax.errors import InputError
from gan_jax.registry import Table, build, leaves_open
from gan_jax.schedules import ANNEALED, Course, Schedule, decay_of_half_life
from gan_jax.typing import Array


class Annealed(NamedTuple):
    """The schedules of a run by what they act on, in a run of fixed batch size and numbers of updates in a step."""

    courses: Mapping[str, Course]
    batch_size: int
    discriminator_steps: int
    generator_steps: int
    steps: int

    def of_discriminator(self, name: str) -> Schedule | None:
        """The schedule of this name as a function of the number of the discriminator's updates; None if there is none."""
        return self._scaled(name, lambda updates: updates * float(self.batch_size))

    def of_generator(self, name: str) -> Schedule | None:
        """As `of_discriminator`, as a function of the number of the generator's updates."""
        per_step = self.images_per_step
        return self._scaled(name, lambda updates: updates // self.generator_steps * per_step)

    def decay(self) -> Callable[[Array], Array] | None:
        """The decay of the generator's average as a function of the step; None if `half_life` is not annealed."""
        half_life = self._scaled('half_life', lambda step: step * self.images_per_step)
        return half_life and (lambda step: decay_of_half_life(half_life(step), self.images_per_step))

    @property
    def images_per_step(self) -> float:
        """The number of real examples that the discriminator is shown in a step."""
        return float(self.batch_size * self.discriminator_steps)

    def _scaled(self, name: str, images: Callable[[Array], Array]) -> Schedule | None:
        if name not in self.courses:
            return None
        schedule = self.courses[name].over(self.steps * self.images_per_step)
        return lambda count: schedule(images(count))


def read_courses(texts: Sequence[str]) -> dict[str, Course]:
    """The courses that `NAME` or `NAME:setting=value,...` asks for, by name.

    Raises `InputError` for an unknown name or setting, for values that do not work, and for a name that is given twice.
    """
    found: dict[str, Course] = {}
    for text in texts:
        name = text.partition(':')[0]
        if name in found:
            raise InputError(f'--anneal names {name} twice')
        found[name] = build(ANNEALED, text)
    return found


def check_setting(name: str, table: Table[Callable[..., Any]], texts: Sequence[str], option: str) -> None:
    """Raises `InputError` unless one of the methods has the setting that is annealed and leaves its value open.

    Args:
        name: the setting.
        table: the methods by name.
        texts: the methods that were chosen, as `NAME:setting=value,...`.
        option: the flag that chose them.
    """
    if any(leaves_open(table, text, name) for text in texts):
        return
    known = [member for member in table if leaves_open(table, member, name)]
    raise InputError(f'--anneal {name} requires {option} with a {name} that is not given there: {" or ".join(known)}')
