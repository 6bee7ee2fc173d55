"""The command line of an experiment: flags from its `Config`, one line on invalid input, and tables of results."""

import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
import signal
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gan_jax import compilation, hosts, interruptions, liveness, ranges
from gan_jax.errors import InputError, Interrupted
from gan_jax.files import FULL
from gan_jax.registry import choices

C = TypeVar('C')


def run(main: Callable[[C], object], config: type[C]) -> None:
    """Runs `main(config)` with a config parsed from the command line.

    Invalid input, divergence, a full disk and exhausted memory print one line and exit with code 2. A signal prints one line
    and exits with code 128 plus the number of the signal. Raises `SystemExit` with 128 + `signal.SIGPIPE` if the reader of the
    output has gone away.
    """
    program = f'python -m {module_name(main)}'

    def give_up(signum: int) -> None:
        _tell(line := f'{program}: {Interrupted(signum)}')
        _leave(128 + signum, line)

    try:
        with interruptions.raised(give_up):
            compilation.configure()
            options: Any = _parse(config, program)
            if hasattr(options, 'coordinator'):  # only experiments that train have it
                hosts.start(options.coordinator, options.processes, options.process)
                if options.matmul_precision != 'default':  # JAX_DEFAULT_MATMUL_PRECISION stays in force
                    compilation.set_matmul_precision(options.matmul_precision)
            main(options)
            hosts.finish()
            sys.stdout.flush()
    except InputError as error:
        _exit(2, f'{program}: {error}')
    except Interrupted as stop:
        _tell(line := f'{program}: {stop}')
        _leave(128 + stop.signum, line)
    except BrokenPipeError:  # whoever read the output has read enough, as in `... --list | head`
        liveness.leave(128 + signal.SIGPIPE, f'{program}: the reader of the output has gone away')
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more as it ends
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        _exit(2, f'{program}: {_of_files(error)}')
    except MemoryError as error:
        _exit(2, f'{program}: out of memory; {error or "try smaller sizes"}')
    except Exception as error:
        liveness.failed(error)
        raise


def _of_files(error: OSError) -> str:
    """Describes an error about a file in one line. Re-raises errors that do not concern a file."""
    if error.errno in FULL:
        return f'the disk is full ({error.filename or error}); earlier saves are intact'
    if error.filename is None or error.strerror is None:
        liveness.failed(error)
        raise error
    return f'{error.filename}: {error.strerror}'


def _exit(code: int, line: str) -> None:
    _tell(line)
    liveness.leave(code, line)
    raise SystemExit(code)


def _leave(code: int, line: str) -> None:
    """Ends the process without shutting down the interpreter, which crashes while a device is still computing."""
    liveness.leave(code, line)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # the reader may have gone away
        print(line, file=sys.stderr, flush=True)


def module_name(defined: Any) -> str:
    """The module of a function or class as `python -m` expects it, even if that module is the one being run."""
    if defined.__module__ != '__main__':
        return defined.__module__.removesuffix('.__main__')
    spec = sys.modules['__main__'].__spec__
    return spec.name.removesuffix('.__main__') if spec else sys.argv[0]


def module_of(name: str) -> Any:
    """Imports and returns the module that `python -m name` runs. Raises `ImportError` and `AttributeError` as imports do."""
    module = importlib.import_module(name)
    return importlib.import_module(f'{name}.__main__') if hasattr(module, '__path__') else module


def _parse(config: type[C], program: str) -> C:
    import tyro

    _refuse_renamed(config)
    defaults = getattr(config, 'defaults', None)  # of a preset that the flags name
    options: dict[str, Any] = {} if defaults is None else {'default': defaults(sys.argv[1:])}
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(config, prog=program, description=_description(config), **options)
    except SystemExit as error:
        if error.code in (0, None):
            raise
        line = _one_line(message.getvalue())
        raise _refused(error) or InputError(_of_number(config, line) or line) from None


def _description(config: type) -> str:
    """What `--help` says first: the docstring, and the members of every table that an option selects from."""
    fields = {field.name for field in dataclasses.fields(config)}
    tables = {name: table for name, table in getattr(config, 'tables', {}).items() if name in fields}
    text = inspect.cleandoc(config.__doc__ or '')
    if text.startswith(f'{config.__name__}('):  # the signature, which `dataclasses` puts in place of a missing docstring
        text = ''
    if not tables:
        return text
    title = 'Methods are NAME or NAME:setting=value,setting=value. The names, and the defaults of their settings'
    lines = [f'--{name.replace("_", "-")}: {"  ".join(choices(table))}' for name, table in tables.items()]
    how: dict[str, Any] = {'subsequent_indent': '    ', 'break_on_hyphens': False, 'break_long_words': False}
    above = [text, ''] if text else []
    about = textwrap.fill(f'{title}, where None leaves the choice to the method:', 80)
    return '\n'.join((*above, about, *(textwrap.fill(line, 80, **how) for line in lines)))


def _of_number(config: type[C], line: str) -> str | None:
    """The message about text given in place of a number, in the words of its declaration; `None` for any other line."""
    found = re.match(r'Error parsing --([\w-]+): (.*)', line)
    meaning = found and ranges.meaning(typing.get_type_hints(config, include_extras=True).get(found[1].replace('-', '_')))
    if not (found and meaning):
        return None
    kind, words = meaning
    wrong = (text for text in re.findall(r"'(.*?)'", found[2]) if not _is(kind, text))
    return next((f'--{found[1]} must be {words}, not {text!r}' for text in wrong), None)


def _is(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _refuse_renamed(config: type) -> None:
    """Raises `InputError` for a flag that has been renamed, stating its new name."""
    known = {f'--{field.name.replace("_", "-")}' for field in dataclasses.fields(config)}
    for word in sys.argv[1:]:
        flag = word.partition('=')[0]
        if flag not in known and flag in (renamed := getattr(config, 'renamed', {})):
            raise InputError(f'{flag} is now {renamed[flag]}')


def _refused(error: BaseException | None) -> InputError | None:
    """The `InputError` that the options raised about their values, from beneath tyro's own error message."""
    return error if error is None or isinstance(error, InputError) else _refused(error.__context__)


def _one_line(box: str) -> str:
    """The content of one of tyro's boxes as one line; its sections are a title, the message and possibly a hint."""
    sections: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip(' │|')
        if text.startswith('╭') or (text and not text.strip('-─')):
            sections.append([])  # below a title in a frame, or a rule
        elif text and not text.startswith('╰'):
            sections[-1].append(text)
    message, *hints = sections[1:]
    near = [line.split()[0] for hint in hints for line in hint if line.startswith('--') and hint[0] == 'Perhaps you meant:'][:1]
    return ' '.join(message) + (f'; did you mean {near[0]}?' if near else '') + '; --help lists the flags'


def table(rows: Sequence[Sequence[object]], *, title: str = '') -> str:
    """Formats rows as aligned columns, with the first row as header; the first column is left-aligned, the rest right-aligned."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines.insert(1, '  '.join('-' * width for width in widths))
    return '\n'.join(([title] if title else []) + [line.rstrip() for line in lines])


def _cell(value: object) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)
