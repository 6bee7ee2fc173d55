"""A course on GANs in five parts: runs its scripts and writes a page for each, with what they print and draw.

    python -m experiments.tutorials
    python -m experiments.tutorials why_it_fails images

`experiments/tutorials/README.md` is the contents page. Each part also runs alone (`python -m experiments.tutorials.images`), and
opens as a notebook wherever jupytext's percent format does. All five take about five minutes on one CPU core.
"""

import dataclasses
import pathlib
import time
from typing import Annotated

import tyro

from experiments.tutorials import pages
from gan_jax.commandline import run
from gan_jax.files import write_whole
from gan_jax.ranges import Checked, Filled, Folder, Several
from gan_jax.registry import Table

FOLDER = pathlib.Path(__file__).parent
TUTORIALS: Table[pathlib.Path] = Table(
    'tutorial',
    {name: FOLDER / f'{name}.py' for name in ('gan_in_sixty_lines', 'why_it_fails', 'images', 'judging', 'write_a_game')},
)
"""Name -> script, in the order in which they are to be read."""


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Runs tutorials and writes their pages."""

    names: Annotated[tuple[str, ...], Several(1), tyro.conf.Positional] = tuple(TUTORIALS)
    """Which of them; all by default."""
    out: Annotated[str, Filled(), Folder()] = str(FOLDER)
    """The folder of the pages, and of the folder of their pictures."""


def main(config: Config) -> None:
    """Runs each tutorial in turn; nothing of a tutorial that fails is written."""
    for path in [TUTORIALS[name] for name in config.names]:
        began = time.perf_counter()
        page = pages.made(path)
        for name, picture in page.pictures.items():
            write_whole(pathlib.Path(config.out) / 'pictures' / name, picture)
        write_whole(pathlib.Path(config.out) / f'{path.stem}.md', page.text.encode())
        print(f'{path.stem}: {len(page.pictures)} pictures, {time.perf_counter() - began:.0f} s')


if __name__ == '__main__':
    run(main, Config)
