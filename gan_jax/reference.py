"""Builds the reference: pages of every public module, from its docstrings, by pdoc.

    pip install -e '.[docs]'
    python -m gan_jax.reference site

The pages lie in `site/gan_jax.html` and `site/gan_jax/`; formulas are drawn by MathJax.
"""

import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re
from typing import Annotated, Any

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


class Shortened(str):
    """An annotation that is shown as this text."""

    __repr__ = str.__str__


def shortened(annotation: Any) -> Any:
    """An annotation as one would write it: without the range of an option, and without the private modules of JAX."""
    if annotation is inspect.Parameter.empty:
        return annotation
    text = inspect.formatannotation(annotation)
    text = re.sub(r'(?:typing\.)?Annotated\[([\w.]+), (?:[^\[\]]|\[[^\]]*\])*\]', r'\1', text)
    return Shortened(re.sub(r'\bcollections\.abc\.|\btyping\.', '', text).replace('jax.jaxlib._jax.Array', 'jax.Array'))


def with_short_annotations(signature: inspect.Signature) -> inspect.Signature:
    """A signature whose annotations are `shortened`."""
    parameters = [p.replace(annotation=shortened(p.annotation)) for p in signature.parameters.values()]
    returned = shortened(signature.return_annotation)
    return type(signature)(parameters, return_annotation=returned)


def main(config: Config) -> pathlib.Path:
    """Writes the pages and returns the first one. Raises `InputError` if pdoc is not installed."""
    try:
        import pdoc
    except ImportError:
        raise InputError("the reference requires pdoc: pip install 'gan_jax[docs]'") from None
    number = len(import_all())
    pdoc.render.configure(docformat='google', math=True)
    show = pdoc.render.env.filters['format_signature']
    pdoc.render.env.filters['format_signature'] = lambda signature, colon: show(with_short_annotations(signature), colon)
    folder = pathlib.Path(config.out)
    pdoc.pdoc('gan_jax', output_directory=folder)
    print(f'{number} pages in {folder}: {folder / "gan_jax.html"}')
    return folder / 'gan_jax.html'


if __name__ == '__main__':
    commandline.run(main, Config)
