"""What the docstrings of the library owe a reader: arguments, shapes, and the errors that a function raises."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PATHS = sorted(path for path in (ROOT / 'gan_jax').rglob('*.py') if path.name != '__main__.py')
ARRAYS = {'Array', 'jax.Array', 'np.ndarray'}
WITHOUT_BRACKETS = ('elementwise', 'scalar', 'any shape', 'shape')
SHARED = 'Arguments mean the same throughout'
"""In the docstring of a module that explains the arguments of its functions once."""


def functions(body: list[ast.stmt]) -> list[ast.FunctionDef]:
    return [node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith('_')]


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    found = function.args
    return [one for one in (*found.posonlyargs, *found.args, *found.kwonlyargs) if one.arg not in ('self', 'cls')]


def raised(node: ast.AST) -> Iterator[str]:
    """The exceptions that a body raises itself; those of functions inside it are their own."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            yield ast.unparse(child.exc)
        yield from raised(child)


def overloaded(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) == 'overload' for decorator in function.decorator_list)


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_public_function_says_what_it_takes_and_raises(path):
    module = ast.parse(path.read_text())
    explained = SHARED in (ast.get_docstring(module) or '')
    faults = []
    for function in functions(module.body):
        text = ast.get_docstring(function) or ''
        taken = parameters(function)
        arrays = [one.arg for one in taken if one.annotation is not None and ast.unparse(one.annotation) in ARRAYS]
        if overloaded(function):
            continue
        if not text:
            faults.append(f'{function.name} has no docstring')
        if len(taken) >= 4 and 'Args:' not in text and not explained:
            faults.append(f'{function.name} has {len(taken)} parameters and no "Args:"')
        if arrays and '[' not in text and not any(word in text for word in WITHOUT_BRACKETS) and not explained:
            faults.append(f'{function.name} gives no shape of {", ".join(arrays)}')
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and not node.name.startswith('_')]
    methods = [method for one in classes for method in functions(one.body)]
    for method in methods:
        if len(parameters(method)) >= 5 and 'Args:' not in (ast.get_docstring(method) or '') and not explained:
            faults.append(f'{method.name} has {len(parameters(method))} parameters and no "Args:"')
    for function in [*functions(module.body), *methods]:
        if (errors := list(raised(function))) and 'aises' not in (ast.get_docstring(function) or ''):
            faults.append(f'{function.name} does not say that it raises {errors[0]}')
    assert not faults, f'{path.name}: ' + '; '.join(faults)
