"""The architecture: imports point down only, and `import gan_jax` stays light."""

import ast
import graphlib
import importlib.util
import pathlib
import subprocess
import sys

import pytest

from experiments.tutorials.__main__ import TUTORIALS

ROOT = pathlib.Path(__file__).parents[1]
LAYERS = [  # a module may import from its own line's package, and from any line below it
    {'experiments'},
    {'gan_jax.runs'},
    {'gan_jax.games', 'gan_jax.boosting'},
    {'gan_jax.training', 'gan_jax.metrics', 'gan_jax.text'},
    {'gan_jax.data'},
    {'gan_jax.networks'},
    {'gan_jax.regularizers'},
    {
        'gan_jax.objectives',
        'gan_jax.penalties',
        'gan_jax.path_lengths',
        'gan_jax.augmentations',
        'gan_jax.features',
        'gan_jax.optimizers',
        'gan_jax.latents',
        'gan_jax.codes',
        'gan_jax.inversion',
        'gan_jax.pyramids',
    },
    {'gan_jax.averages', 'gan_jax.divergences', 'gan_jax.parallel', 'gan_jax.numerics', 'gan_jax.schedules', 'gan_jax.pipeline'},
    {'gan_jax.placement', 'gan_jax.warping'},
    {'gan_jax.reference'},
    {'gan_jax.commandline'},
    {'gan_jax.registry'},
    {'gan_jax.compilation'},
    {'gan_jax.files', 'gan_jax.ranges', 'gan_jax.finite', 'gan_jax.interruptions', 'gan_jax.keys', 'gan_jax.memory'},
    {'gan_jax.hosts'},
    {'gan_jax.liveness'},
    {'gan_jax.typing', 'gan_jax.errors'},
]
PACKAGES = {package: level for level, packages in enumerate(LAYERS) for package in packages}


def package(module: str) -> str | None:
    return next((name for name in PACKAGES if module == name or module.startswith(name + '.')), None)


def imported(path: pathlib.Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


SCRIPTS = {f'experiments.tutorials.{name}' for name in TUTORIALS}  # to be run, not imported
MODULES = [
    p
    for top in ('gan_jax', 'experiments')
    for p in (ROOT / top).rglob('*.py')
    if p.relative_to(ROOT).as_posix() != 'gan_jax/__init__.py'
]


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    own = package('.'.join(path.relative_to(ROOT).with_suffix('').parts))
    assert own is not None, 'a new module has its place in LAYERS'
    for name in imported(path):
        other = package(name or '')
        if other not in (None, own):
            assert PACKAGES[other] > PACKAGES[own], f'{path.name} imports {name}'


def name_of(path: pathlib.Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def test_files_import_in_no_circle():
    names = {name_of(path): path for path in MODULES}
    files = {}
    for name, path in names.items():
        found = set(imported(path)) & set(names)
        # `from package import module` is an arrow to the module alone
        files[name] = {m for m in found if m != name and not any(other.startswith(m + '.') for other in found)}
    graphlib.TopologicalSorter(files).prepare()


ABOVE_ESTIMATORS = (
    '__init__', '__main__', 'accuracy', 'cache', 'catalogue', 'command', 'extractors', 'imagesets', 'inception', 'measures',
    'protocols', 'reporting', 'sources', 'statistics', 'streams',
)  # fmt: skip
ESTIMATORS = [p for p in MODULES if p.parent == ROOT / 'gan_jax/metrics' and p.stem not in ABOVE_ESTIMATORS]


@pytest.mark.parametrize('path', ESTIMATORS, ids=lambda p: p.stem)
def test_estimators_need_little_of_the_library(path):
    allowed = {'parallel', 'numerics', 'compilation', 'files', 'errors', 'typing', *(f'metrics.{p.stem}' for p in ESTIMATORS)}
    found = {name_of(p) for p in MODULES} & set(imported(path))
    assert found - {'gan_jax.metrics'} <= {f'gan_jax.{name}' for name in allowed}


def test_importing_the_library_is_light():
    heavy = ['matplotlib', 'tensorflow_datasets', 'tensorflow', 'sklearn', 'PIL', 'tyro', 'tensorboardX', 'grain', 'torch']
    code = f'import sys, gan_jax; print([m for m in {heavy} if m in sys.modules])'
    found = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == '[]'


def test_every_module_imports():
    names = ['.'.join(p.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__') for p in MODULES]
    if importlib.util.find_spec('torch') is None:
        names.remove('experiments.benchmark.torch_steps')
    names = [name for name in names if name not in SCRIPTS]
    code = f'import importlib, jax\nfor name in {names}: importlib.import_module(name)\n'
    code += 'assert not jax._src.xla_bridge.backends_are_initialized()'  # `compilation.configure` would come too late
    subprocess.run([sys.executable, '-W', 'error', '-c', code], cwd=ROOT, check=True)
