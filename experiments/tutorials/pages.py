"""From a script in percent format to a page: its prose, its code, what each cell printed, and what it drew.

A cell begins at a line `# %%`, or `# %% [markdown]` if it holds prose in comments. A picture is what `plt.show()` shows, under
the name of its figure (`plt.subplots(num='The ring')`).
"""

import contextlib
import io
import pathlib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

QUICK_STEPS = 24
"""What a constant such as `STEPS` or `SHORT_STEPS` is in a quick run."""


class NotebookCell(NamedTuple):
    """One cell of a script."""

    is_prose: bool
    source: str
    line: int
    """The number of lines before it in the script."""


class Output(NamedTuple):
    """What a cell left behind."""

    printed: str = ''
    pictures: tuple[tuple[str, bytes], ...] = ()
    """The names of its figures, and their PNG files."""


class Page(NamedTuple):
    """A tutorial as it is read."""

    text: str
    """Markdown."""
    pictures: dict[str, bytes]
    """File name -> PNG file."""


def cells(script: str) -> list[NotebookCell]:
    """The cells of a script; what stands before the first is left out."""
    found = []
    for match in re.finditer(r'^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)', script, re.MULTILINE | re.DOTALL):
        source = match[2].rstrip()
        source = re.sub(r'^# ?', '', source, flags=re.MULTILINE) if match[1] else source
        found.append(NotebookCell(match[1] is not None, source, script.count('\n', 0, match.start(2))))
    return found


def execute(path: pathlib.Path, *, quick: bool = False) -> Iterator[tuple[NotebookCell, Output]]:
    """Runs the script at `path` cell by cell, in a module as it would have if it were imported.

    A quick run takes `QUICK_STEPS` of every kind of step and skips assertions, which are about the results of a full one.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    module = types.ModuleType(f'experiments.tutorials.{path.stem}')
    sys.modules[module.__name__] = module  # where Flax looks for the module of a class
    for cell in cells(path.read_text()):
        printed, shown = io.StringIO(), list[tuple[str, bytes]]()

        def show(shown: list[tuple[str, bytes]] = shown) -> None:
            shown.extend((str(plt.figure(n).get_label()), png(plt.figure(n))) for n in plt.get_fignums())
            plt.close('all')

        if not cell.is_prose:
            source = shortened(cell.source) if quick else cell.source
            code = compile('\n' * cell.line + source, str(path), 'exec', optimize=1 if quick else 0)
            with mock.patch.object(plt, 'show', show), contextlib.redirect_stdout(printed):
                exec(code, module.__dict__)
        yield cell, Output(printed.getvalue(), tuple(shown))


def shortened(source: str) -> str:
    """A cell whose constants `STEPS`, `FIT_STEPS`, ... are `QUICK_STEPS`."""
    return re.sub(r'^(\w*STEPS) = [\d_]+', rf'\1 = {QUICK_STEPS}', source, flags=re.MULTILINE)


def png(figure: Any) -> bytes:
    """A figure as a PNG file of at most 256 colours, which has a third of the size."""
    from PIL import Image

    drawn, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format='png', dpi=110, bbox_inches='tight')
    Image.open(drawn).convert('RGB').quantize(256, dither=Image.Dither.NONE).save(out, 'PNG', optimize=True)
    return out.getvalue()


def made(path: pathlib.Path, *, quick: bool = False) -> Page:
    """The page of a script, which is run for it."""
    return written(path.stem, list(execute(path, quick=quick)))


def without_outputs(path: pathlib.Path) -> str:
    """The page's text but for what the cells printed and drew, which takes no run."""
    return written(path.stem, [(cell, Output()) for cell in cells(path.read_text())]).text


def stripped(text: str) -> str:
    """A page's text without what the cells printed and drew."""
    return re.sub(r'```text\n.*?\n```\n\n|!\[[^\]]*\]\(pictures/[^)]*\)\n\n', '', text + '\n', flags=re.DOTALL)[:-1]


def written(name: str, results: list[tuple[NotebookCell, Output]]) -> Page:
    """The page of the cells of the script of that name and their outputs."""
    parts = [f'<!-- Made from {name}.py by `python -m experiments.tutorials {name}`. -->']
    pictures = {}
    for cell, output in results:
        parts.append(cell.source.strip('\n') if cell.is_prose else f'```python\n{cell.source.strip(chr(10))}\n```')
        if output.printed:
            parts.append(f'```text\n{output.printed.rstrip()}\n```')
        for label, picture in output.pictures:
            file = f'{name}_{re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")}.png'
            pictures[file] = picture
            parts.append(f'![{label}](pictures/{file})')
    return Page('\n\n'.join(parts) + '\n', pictures)
