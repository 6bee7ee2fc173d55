"""A trained run, and what is drawn from it: samples, plays, and translations, in blocks of one size."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import compilation, hosts
from gan_jax.data.feeds import to_float, to_uint8
from gan_jax.keys import named
from gan_jax.runs import seeds
from gan_jax.runs.directory import RunDirectory, read_log
from gan_jax.runs.generators import Generator, Translator, draw_latents
from gan_jax.runs.options import TrainOptions
from gan_jax.runs.study import Study
from gan_jax.training import TrainState, sample
from gan_jax.typing import AnyArray, Array, Key

BLOCK = 500
"""Number of examples that are drawn at a time."""


class Trained(NamedTuple):
    """A trained run of one or several seeds."""

    config: TrainOptions
    study: Study
    run: RunDirectory | None
    """None for a run that was loaded."""
    path: pathlib.Path
    state: TrainState
    """The state, with leaves `[seeds, ...]` for several seeds."""
    roots: Key
    """Root keys `[seeds]`, or a single root key for one seed."""
    finite: tuple[bool, ...]
    """Whether each seed has stayed finite."""
    first: bool = True
    """Whether pictures and tables are of this seed."""
    number: int = 0
    """The number of this seed among those of the run."""
    programs: dict[str, Callable] = {}  # noqa: RUF012  shared by the seeds of one run, so that each is compiled once

    @property
    def steps(self) -> int:
        """The step of the state."""
        return int(np.ravel(np.asarray(self.state.step))[0])

    @property
    def shown(self) -> int:
        """The number of the seed whose pictures are drawn: the first that has not diverged."""
        return self.finite.index(True)

    def seed(self, number: int) -> 'Trained':
        """One of the seeds as a run of one seed."""
        if not self.roots.shape:
            return self
        state = seeds.row(self.state, number)
        first = number == self.shown
        return self._replace(state=state, roots=self.roots[number], finite=(self.finite[number],), first=first, number=number)

    def key(self, use: str) -> Key:
        """A key of one seed for the use of the given name, independent of those for other names."""
        return named(self.roots, use)

    def read_log(self, name: str = 'metrics.jsonl') -> list[dict[str, Any]]:
        """The lines of a log of the run."""
        return hosts.agreed(lambda: read_log(self.path, name))

    def tell(self, *words: object) -> None:
        """Prints; for several seeds, only for the first one."""
        if self.first:
            print(*words)

    def images(self, what: int | AnyArray, use: str = 'table') -> np.ndarray:
        """Draws uint8 images `[n, h, w, c]` from the generator: n of them, or one for each of the given conditions int `[n]`.

        Raises `InputError` for images that are not finite.
        """
        generator = self.study.generator
        assert isinstance(generator, Generator)
        weights = self._program('weights', generator.weights)(self.state.ema)  # once, and not in every block
        ready = self._replace(state=dataclasses.replace(self.state, ema=weights))
        if isinstance(what, int):
            return ready.drawn(lambda state, key, n: generator.sample(state.ema, n, key), what, use)

        def conditional(state: TrainState, conditions: Array, key: Key) -> Array:
            return generator.generate(state.ema, draw_latents(generator, BLOCK, key)[0], conditions)

        return ready._pixels(self._program('conditional', conditional), what, use)

    def drawn(self, draw: Callable[[TrainState, Key, int], Array], count: int, use: str) -> np.ndarray:
        """Draws `count` images by `draw(state, key, n)`, which returns values in [-1, 1], as uint8 `[count, h, w, c]`.

        Compiled programs are cached by `use`, which must therefore identify `draw`. Raises `InputError` for non-finite images.
        """
        program = self._program(f'drawn {use}', lambda state, _, key: draw(state, key, BLOCK))
        return self._pixels(program, np.zeros(count), use)

    def _pixels(self, program: Callable, batch: AnyArray, use: str) -> np.ndarray:
        """Maps a batch `[n, ...]` in blocks by `program(state, rows, key)` to images in [-1, 1], and converts them to uint8."""
        return self._by_rows(lambda state, rows, key: to_uint8(np.asarray(program(state, rows, key))), batch, use, BLOCK)

    def plays(self, batch: Any, use: str = 'table', *, block: int = BLOCK, ema: bool = True) -> Any:
        """The plays of the game on a batch `[n, ...]`, or n plays of an unconditional game, as NumPy arrays.

        uint8 pixels of the batch are converted to floats.

        Args:
            batch: a batch `[n, ...]`, or the number of plays.
            use: name of the use, which determines the key.
            block: number of examples that are drawn at a time.
            ema: whether the averaged generator plays.
        """

        game = self.study.game
        assert game is not None

        def play(state: TrainState, batch: Any, key: Key) -> Any:
            return sample(game, state, jax.tree.map(to_float, batch), key, ema=ema)

        program = self._program(f'plays {ema}', play)
        return self._by_rows(program, np.zeros(batch) if isinstance(batch, int) else batch, use, block)

    def translated(self, images: AnyArray, use: str = 'table', *, block: int = 50) -> np.ndarray:
        """The translations of images `[n, h, w, c]`, in [-1, 1]; uint8 pixels are converted to floats."""
        translator = self.study.generator
        assert isinstance(translator, Translator)

        def translate(state: TrainState, images: Array, key: Key) -> Array:
            return translator.translate(translator.weights(state.ema), to_float(images), key)

        return self._by_rows(self._program('translated', translate), images, use, block)

    def mapped(self, function: Callable[[TrainState, Any, Key], Any], batch: Any, use: str, *, block: int = BLOCK) -> Any:
        """Maps a batch `[n, ...]` in blocks by `function(state, rows, key)`, as NumPy arrays.

        uint8 pixels of the batch are converted to floats. The function is compiled once for each use and shared by all seeds of
        the run, so anything that it depends on must be in the state.

        Args:
            function: `(state, rows, key) -> outputs [b, ...]`.
            batch: a batch `[n, ...]`.
            use: name of the use, which determines the key and the compiled program.
            block: number of rows that are mapped at a time.
        """
        program = self._program(use, lambda state, rows, key: function(state, jax.tree.map(to_float, rows), key))
        return self._by_rows(program, batch, use, block)

    def _by_rows(self, program: Callable, batch: Any, use: str, block: int) -> Any:
        """Maps a batch `[n, ...]` in blocks by `program(state, rows, key)`."""
        count = len(jax.tree.leaves(batch)[0])
        parts = []
        for number, rows in enumerate(_blocks(count, block)):
            key = jax.random.fold_in(self.key(use), number)
            part = jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], batch)
            parts.append(jax.tree.map(np.asarray, program(self.state, part, key)))
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)

    def _program(self, name: str, function: Callable) -> Callable:
        return self.programs.setdefault(name, compilation.jit(function))


def _blocks(count: int, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Rows in blocks of one size. The last block repeats its rows, because a generator may normalise over the block."""
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        yield np.resize(rows, size)
