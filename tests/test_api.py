"""The public interface: what `import gan_jax` offers, the order of arguments, and docstrings."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import gan_jax
from gan_jax import metrics

ROOT = pathlib.Path(__file__).parents[1]
PATHS = [p for p in (ROOT / 'gan_jax').rglob('*.py') if p.name != '__main__.py']
MODULES = ['.'.join(p.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__') for p in PATHS]


def public(module: str) -> list:
    """The functions and classes that a module defines under public names."""
    members = vars(importlib.import_module(module)).items()
    here = [x for name, x in members if not name.startswith('_') and getattr(x, '__module__', None) == module]
    return [x for x in here if inspect.isfunction(inspect.unwrap(x)) or inspect.isclass(x)]


def test_names_resolve_after_importing_the_package_alone():
    code = """
import gan_jax
gan_jax.objectives.hinge, gan_jax.metrics.frechet_distance, gan_jax.games.adversarial, gan_jax.runs.fit
assert set(gan_jax.__all__) <= set(dir(gan_jax)) and set(gan_jax.metrics.__all__) <= set(dir(gan_jax.metrics))
"""
    subprocess.run([sys.executable, '-W', 'error', '-c', code], cwd=ROOT, check=True)


@pytest.mark.parametrize('package', [gan_jax, metrics], ids=lambda x: x.__name__)
def test_every_listed_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_functions_are_functions_whatever_was_imported_before():
    importlib.import_module('gan_jax.metrics.manifolds')
    assert callable(metrics.prdc) and callable(metrics.smoothness)


@pytest.mark.parametrize('module', MODULES)
def test_keys_come_last_and_everything_has_a_docstring(module):
    for member in public(module):
        assert inspect.getdoc(member), f'{module}.{member.__name__} has no docstring'
        if inspect.isclass(member):
            named = [x for name, x in vars(member).items() if inspect.isfunction(x) and not name.startswith('_')]
            methods = [x for x in named if x.__module__ == module]
        else:
            methods = [member]
        for function in methods:
            parameters = inspect.signature(function).parameters.values()
            places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
            if 'key' in places:
                assert places[-1] == 'key', f'{module}.{function.__name__}{tuple(places)}'


def test_no_two_public_classes_have_one_name():
    found: dict[str, list[str]] = {}
    lessons = set((ROOT / 'experiments/tutorials').glob('*.py')) - {ROOT / 'experiments/tutorials/pages.py'}
    for path in [*PATHS, *(set((ROOT / 'experiments').rglob('*.py')) - lessons)]:  # a lesson writes again what the library has
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_') and node.name != 'Config':
                found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
