"""Builds the reference: pages of every public module, from its docstrings, by pdoc.

    pip install -e '.[docs]'
    python -m gan_jax.reference site

The pages lie in `site/gan_jax.html` and `site/gan_jax/`; formulas are drawn by MathJax.
"""

import dataclasses
import importlib
import pathlib
import pkgutil
from typing import Annotated

import tyro

from gan_jax import commandline
from gan_jax.errors import InputError
from gan_jax.ranges import Checked, Folder


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """The pages of the reference."""

    out: Annotated[str, tyro.conf.Positional, Folder()] = 'site'
    """The directory of the pages."""


def import_all() -> list[str]:
    """Imports all modules, and what their packages import on first access; returns the names of the modules."""
    package = importlib.import_module('gan_jax')
    found = ['gan_jax', *(name for _, name, _ in pkgutil.walk_packages(package.__path__, 'gan_jax.'))]
    names = [name for name in found if not name.endswith('.__main__')]
    for name in names:
        module = importlib.import_module(name)
        for member in getattr(module, '__all__', ()):
            value = getattr(module, member)  # may be imported by this access
            vars(module).setdefault(member, value)
    return names


def main(config: Config) -> pathlib.Path:
    """Writes the pages and returns the first one. Raises `InputError` if pdoc is not installed."""
    try:
        import pdoc
    except ImportError:
        raise InputError("the reference requires pdoc: pip install 'gan_jax[docs]'") from None
    number = len(import_all())
    pdoc.render.configure(docformat='google', math=True)
    folder = pathlib.Path(config.out)
    pdoc.pdoc('gan_jax', output_directory=folder)
    print(f'{number} pages in {folder}: {folder / "gan_jax.html"}')
    return folder / 'gan_jax.html'


if __name__ == '__main__':
    commandline.run(main, Config)
