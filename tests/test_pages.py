"""The pages: their code runs, or is what it quotes; commands parse; tables agree with the code; links lead somewhere."""

import dataclasses
import importlib
import pathlib
import re
import shlex
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tyro
from test_architecture import LAYERS

import gan_jax
from experiments.shared.image_gan import ImageOptions
from gan_jax import augmentations as augmentation_tables
from gan_jax import (
    boosting,
    codes,
    compilation,
    data,
    divergences,
    features,
    games,
    metrics,
    objectives,
    optimizers,
    penalties,
    pipeline,
    regularizers,
    runs,
    schedules,
)
from gan_jax.commandline import module_of
from gan_jax.data import mixtures
from gan_jax.metrics.extractors.inception.preprocessing import RESIZES
from gan_jax.networks import layers, r3gan_presets, stacked_mnist
from gan_jax.networks.normalization import discriminator_normalization
from gan_jax.registry import build

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
    name: (ROOT / name).read_text()
    for name in (
        'README.md',
        'experiments/README.md',
        'gan_jax/README.md',
        'gan_jax/metrics/README.md',
        'gan_jax/SCALING.md',
        'CHANGELOG.md',
    )
}
FRONT, EXPERIMENTS, LIBRARY, METRICS, *_ = PAGES.values()


def blocks(page: str, language: str = 'python') -> list[str]:
    """The code of a page in fences of a language; in those without one, commands."""
    found, inside = [], None
    for line in page.splitlines():
        if line.startswith('```'):
            inside = None if inside is not None else line[3:]
            found += [(inside, [])] if inside is not None else []
        elif inside is not None:
            found[-1][1].append(line)
    return ['\n'.join(lines) + '\n' for kind, lines in found if kind == language]


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose head begins so, without the head."""
    lines = page.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith(f'| {head}'))
    body = []
    for line in lines[start + 2 :]:
        if not line.startswith('|'):
            break
        body.append([cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]])
    return body


def names(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r'`([^`]+)`', cell)


# Code.


def test_the_front_page_is_short_and_its_example_runs():
    assert len(FRONT.splitlines()) < 200
    (code,) = blocks(FRONT)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    found: dict = {}
    exec(code.replace('4000', '20'), found)
    assert found['points'].shape == (2500, 2) and int(found['state'].step) == 20
    assert np.isfinite(found['points']).all() and 0 <= int(found['found'].modes) <= 8
    assert jax.tree.all(jax.tree.map(lambda x: np.isfinite(x).all(), found['future'].params))
    np.testing.assert_allclose(found['loss'], np.log1p(np.exp(-np.ones(4))), rtol=1e-6)  # softplus(-1), of log D(G(z))


def test_the_estimators_run():
    first, *_ = blocks(METRICS)
    found: dict = {}
    exec(first, found)
    # Of two samples of one distribution, the squared MMD is 0 and density 1.
    assert 0 < found['distance'] < 2 and abs(found['value']) < 5 * found['standard_error']
    assert 0.8 < found['density'] < 1.2


def test_the_training_loop_scores_what_it_generates(capsys):
    _, loop, _ = blocks(METRICS)
    assert len([line for line in loop.splitlines() if line.strip()]) <= 15
    real = data.to_float(jnp.asarray(data.load('digits').images))
    yours = {
        'params': jnp.float32(1.0),
        'train': lambda params, step: params * 0.5,
        'generate': lambda params, key: real[jax.random.randint(key, (100,), 0, len(real))] + params,
    }
    exec(loop.replace('1000', '1').replace('3000', '3'), yours)
    distances = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    # Images moved by p in each of 256 pixels add 256 p^2 to the distance of the data from themselves, which is the last term.
    moved = [256 * (x**2 - y**2) for x, y in ((0.5, 0.25), (0.25, 0.125))]
    np.testing.assert_allclose(-np.diff(distances), moved, rtol=0.1)


def scored_steps(code, capsys, **yours):
    """The distances that a loop prints in three steps, of digits plus 1, 0.5 and 0.25 and clipped, against the digits."""
    exec(code.replace('1000', '1').replace('3000', '3'), yours)
    distances = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(distances) == 3 and distances[0] > 2 * distances[1] > 4 * distances[2] > 0
    return distances


def test_the_loop_of_the_docstring_runs_without_a_framework(capsys):
    code = textwrap.dedent(metrics.__doc__[metrics.__doc__.index('    from gan_jax') :])
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    images = data.load('digits', size=8).images
    loader = [(images[i : i + 500] / np.float32(255), None) for i in range(0, len(images), 500)]
    moved = {'by': 2.0}
    yours = {
        'loader': loader,
        'train': lambda step: moved.update(by=moved['by'] / 2),
        'generate': lambda n: np.clip(images[:n] / np.float32(127.5) - 1 + moved['by'], -1, 1),
    }
    scored_steps(code, capsys, **yours)


def test_the_loop_of_pytorch_runs_with_its_loader(capsys):
    torch = pytest.importorskip('torch')
    _, _, code = blocks(METRICS)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    digits = data.load('digits', size=8)
    x = torch.from_numpy(digits.images.transpose(0, 3, 1, 2).copy()) / 255
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.from_numpy(digits.labels)), 500)
    moved = {'by': 2.0}
    yours = {
        'loader': loader,
        'train': lambda step: moved.update(by=moved['by'] / 2),
        'generator': lambda z: (2 * x[: len(z)] - 1 + moved['by']).clamp(-1, 1),
    }
    scored_steps(code, capsys, **yours)


def test_the_penalty_that_the_page_adds_works_as_a_flag():
    (code,) = (block for block in blocks(LIBRARY) if 'def zero_centred' in block)
    found = dict(vars(penalties))
    exec(code, found)
    table = type(penalties.PENALTIES)('penalty', {**penalties.PENALTIES, 'zero_centred': found['zero_centred']})
    penalty = build(table, 'zero_centred:weight=2')
    slope = jnp.array([3.0, 4.0])
    values = penalty(lambda x: x @ slope, jnp.zeros((5, 2)), jnp.ones((5, 2)), jax.random.key(0))
    np.testing.assert_allclose(values, np.full(5, 2 * 25.0), rtol=1e-6)  # |grad D|^2 = 3^2 + 4^2
    with pytest.raises(ValueError, match='weight'):
        build(table, 'zero_centred:weight=-1')


def test_the_unroll_of_your_own_discriminator_is_its_updates():
    (code,) = (block for block in blocks(LIBRARY) if 'def discriminator_loss' in block)
    real, fake = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    start = jnp.ones(3)
    found = {'gan_jax': gan_jax, 'jax': jax, 'jnp': jnp, 'params': start, 'optimizer': optax.sgd(0.5), 'real': real}
    exec(code, found := found | {'key': jax.random.key(0)})

    def by_hand(fake):
        params = start
        for _ in range(5):
            params = params - 0.5 * jax.grad(found['d_loss'])(params, fake, real)
        return -jnp.mean(jax.nn.log_sigmoid(fake @ params))

    got, wanted = (jax.value_and_grad(f)(jnp.asarray(fake)) for f in (found['g_loss'], by_hand))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), got, wanted)


def test_the_quoted_experiment_is_the_files():
    file = (ROOT / 'experiments/dcgan/__main__.py').read_text()
    quoted = blocks(EXPERIMENTS)
    assert len(quoted) == 2
    for code in quoted:
        assert code.strip() in file, 'quote experiments/dcgan/__main__.py again'


def test_the_quoted_game_has_its_fields():
    (code,) = (block for block in blocks(LIBRARY) if 'class Game' in block)
    assert re.findall(r'^    (\w+): ', code, re.MULTILINE) == list(importlib.import_module('gan_jax').Game._fields)


# Commands.


def commands() -> list[str]:
    """Every command line in a fence."""
    lines = [line for page in PAGES.values() for block in blocks(page, '') for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith('python -m ')})


@pytest.mark.parametrize('line', commands())
def test_commands_parse(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, name, *flags = shlex.split(line)
    if name == 'gan_jax.data.tfds':  # argparse's
        source = (ROOT / 'gan_jax/data/tfds/__main__.py').read_text()
        assert all(f"'{flag}'" in source for flag in flags if flag.startswith('--'))
    else:
        tyro.cli(module_of(name).Config, args=flags)


def test_modules_and_flags_in_the_text_exist():
    for page in PAGES.values():
        for name in set(re.findall(r'python -m ((?:experiments|gan_jax)(?:\.\w+)*)', page)) - {'experiments.NAME'}:
            path = ROOT / name.replace('.', '/')
            assert path.with_suffix('.py').exists() or (path / '__main__.py').exists(), name
    known = {name for module in every_module() for name in (field.name for field in dataclasses.fields(module.Config))}
    others = {'manual_dir', 'help'}
    for name, page in PAGES.items():
        if name != 'CHANGELOG.md':
            for flag in set(re.findall(r'`(--[a-z0-9-]+)', page)):
                assert flag[2:].replace('-', '_').removeprefix('no_') in known | others, f'{name}: {flag}'


def every_module() -> list:
    files = [*(ROOT / 'experiments').glob('[!_]*.py'), *(ROOT / 'experiments').glob('*/__main__.py')]
    listed = [path.stem if path.stem != '__main__' else path.parent.name for path in files]
    extra = ['experiments.dcgan.analyse', 'experiments.text_to_image.say', 'gan_jax.metrics']
    return [module_of(name) for name in (*(f'experiments.{name}' for name in listed), *extra)]


OF_TABLES = [line for row in rows(FRONT, '`python -m experiments.` | time') for line in names(row[0])]
OF_TABLES += [line for row in rows(FRONT, 'result') for line in names(row[1])]


@pytest.mark.parametrize('command', sorted(set(OF_TABLES)))
def test_commands_of_the_tables_parse(command):
    name, *flags = shlex.split(command)
    tyro.cli(module_of(f'experiments.{name}').Config, args=flags)


# Tables.

TABLES = {
    'objectives.OBJECTIVES': objectives.OBJECTIVES,
    'divergences.DIVERGENCES': divergences.DIVERGENCES,
    'penalties.PENALTIES': penalties.PENALTIES,
    'augmentations.AUGMENTATIONS': augmentation_tables.AUGMENTATIONS,
    'augmentations.TRANSFORMS': augmentation_tables.TRANSFORMS,
    'pipeline.STAGES': pipeline.STAGES,
    'features.FEATURES': features.FEATURES,
    'regularizers.REGULARIZERS': regularizers.REGULARIZERS,
    'networks.layers.NORMALIZATIONS': layers.NORMALIZATIONS,
    'networks.layers.MINIBATCH_LAYERS': layers.MINIBATCH_LAYERS,
    'networks.STACKED_MNIST': stacked_mnist.STACKED_MNIST,
    'optimizers.OPTIMIZERS': optimizers.OPTIMIZERS,
    'optimizers.SCHEDULES': optimizers.SCHEDULES,
    'schedules.ANNEALED': schedules.ANNEALED,
    'codes.CODES': codes.CODES,
    'networks.r3gan_presets.R3GAN_STAGES': r3gan_presets.R3GAN_STAGES,
    'boosting.REWEIGHTINGS': boosting.REWEIGHTINGS,
    'boosting.MIXINGS': boosting.MIXINGS,
    'data.mixtures.MIXTURES': mixtures.MIXTURES,
    'data.mixtures.FACTORIES': mixtures.FACTORIES,
}
NOT_MEMBERS = {'smoothing', 'gmm:modes=5,seed=1', '+'}
"""Words in backquotes that are settings."""


def test_every_table_of_the_library_has_a_row_and_every_row_a_table():
    found = [names(row[1])[0] for row in rows(LIBRARY, 'flag |')]
    assert found == list(dict.fromkeys(found)) and set(found) == set(TABLES)
    declared = set()
    for path in (ROOT / 'gan_jax').rglob('*.py'):
        if 'metrics' not in path.parts:
            declared |= set(re.findall(r'^([A-Z_]+)(?:: Table\[.*\])? = Table\(', path.read_text(), re.MULTILINE))
    assert declared <= {name.rpartition('.')[2] for name in TABLES}


@pytest.mark.parametrize('row', rows(LIBRARY, 'flag |'), ids=lambda row: names(row[1])[0])
def test_members_are_those_of_the_table(row):
    found = [name for name in names(row[2]) if not name.startswith('--') and name not in NOT_MEMBERS]
    assert sorted(found) == sorted(TABLES[names(row[1])[0]])


def test_norms_say_who_can_have_them():
    table = {names(row[0])[0]: row[3:] for row in rows(LIBRARY, 'name | what it normalises')}
    assert set(table) == set(layers.NORMALIZATIONS)
    for name, (in_g, in_d) in table.items():
        assert in_g == 'yes'
        try:
            discriminator_normalization(name)
        except ValueError:
            assert in_d == 'refused'
        else:
            assert in_d == 'yes'


def test_games_are_those_of_the_package():
    found = [names(row[0])[0] for row in rows(LIBRARY, '`gan_jax.games` | paper')]
    assert sorted(found) == sorted(games.__all__)


def test_layers_are_those_that_are_checked():
    found = [set(names(row[0])) for row in rows(LIBRARY, 'row | what it is')]
    assert found == LAYERS


def test_protocols_say_what_they_fix():
    table = {names(row[0])[0]: row for row in rows(METRICS, 'protocol | measure')}
    assert list(table) == list(metrics.PROTOCOLS)
    for name, protocol in metrics.PROTOCOLS.items():
        _, _, features_cell, real, generated = table[name]
        resize = dict([protocol.extractor.partition(':')[2].split('=')] if ':' in protocol.extractor else []).get('resize', 'tf1')
        assert names(features_cell)[-1] == resize
        count = 'none' if protocol.measure.real is None else f'{protocol.reals:,}' if protocol.reals else 'all'
        assert real == (count if count == 'none' else f'{count} of `{protocol.split}`')
        assert generated == f'{protocol.fakes:,}'


@pytest.mark.parametrize(
    ('head', 'table'),
    [('`--measures`', metrics.MEASURES), ('`--extractor`', metrics.EXTRACTORS), ('`resize=` of `inception`', RESIZES)],
    ids=('measures', 'extractors', 'resizes'),
)
def test_tables_of_the_metrics_have_every_member(head, table):
    assert sorted(names(row[0])[0] for row in rows(METRICS, head)) == sorted(table)


def test_modules_of_the_metrics_are_listed():
    listed = [name for row in rows(METRICS, 'module of') for name in names(row[0])]
    folder = ROOT / 'gan_jax/metrics'
    there = {path.stem for path in folder.glob('[!_]*.py')} | {path.parent.name for path in folder.glob('*/__init__.py')}
    assert sorted(listed) == sorted(there)


def test_the_catalogue_has_every_experiment():
    listed = [name for row in rows(EXPERIMENTS, '`python -m experiments.` | paper') for name in names(row[0])]
    there = {path.stem for path in (ROOT / 'experiments').glob('[!_]*.py')}
    there |= {path.parent.name for path in (ROOT / 'experiments').glob('*/__main__.py')}
    assert sorted(listed) == sorted(there)


def fields_of(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}


CLASSES = {
    'runs.Options': runs.Options,
    'runs.TrainOptions': runs.TrainOptions,
    'runs.MethodOptions': runs.MethodOptions,
    'runs.GameOptions': runs.GameOptions,
    'runs.DataOptions': runs.DataOptions,
    'image_gan.ImageOptions': ImageOptions,
}


def test_flags_are_the_fields_of_the_options():
    table = {names(row[0])[0]: names(row[2]) for row in rows(EXPERIMENTS, 'options | what they say')}
    assert list(table) == list(CLASSES)
    for name, options in CLASSES.items():
        inherited = {
            field.name for base in options.__bases__ if dataclasses.is_dataclass(base) for field in dataclasses.fields(base)
        }
        own = {field.name for field in dataclasses.fields(options)} - inherited
        assert sorted(table[name]) == sorted(f'--{field.replace("_", "-")}' for field in own)


def test_fields_of_a_study_are_described():
    listed = [name for row in rows(EXPERIMENTS, 'field | what it is') for name in names(row[0])]
    assert listed == list(runs.Study._fields)


# Links.


def text(page: str) -> str:
    """A page without the code in its fences."""
    return re.sub(r'^```.*?^```$', '', page, flags=re.DOTALL | re.MULTILINE)


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    return {slug(title) for title in re.findall(r'^#+ (.*)$', text(page), re.MULTILINE)}


def slug(title: str) -> str:
    return re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')


@pytest.mark.parametrize('name', PAGES)
def test_links_lead_somewhere(name):
    for target in re.findall(r'\]\(([^)]+)\)', text(PAGES[name])):
        if target.startswith('https://'):
            continue
        file, _, anchor = target.partition('#')
        path = ((ROOT / name).parent / file).resolve() if file else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text()), target


def test_headline_results_are_those_of_the_ledger():
    """The number stands in the section that the row links to."""
    page = (ROOT / 'experiments/RESULTS.md').read_text()
    sections = {slug(part.partition('\n')[0]): part for part in re.split(r'^## ', page, flags=re.MULTILINE)[1:]}
    found = rows(FRONT, 'result')
    assert len(found) == 8
    for title, _, _, here, _ in found:
        number = re.match(r'-?[\d.,e-]*\d( ± [\d.]+)?', here).group()
        assert number in sections[re.search(r'RESULTS.md#([\w-]+)', title).group(1)], title


def test_what_readers_look_for_is_linked_from_the_front_page():
    """Each within one step: how to add a penalty, what a norm is, which FID, how to resume elsewhere, what CycleGAN costs."""
    looked_for = {
        'gan_jax/README.md#adding-a-penalty', 'gan_jax/README.md#norms---d-norm-and---g-norm',
        'gan_jax/metrics/README.md#which-fid-this-is', '#resuming-and-moving-to-another-machine',
        '#experiments-what-each-costs-and-scores',
    }  # fmt: skip
    assert looked_for <= set(re.findall(r'\]\(([^)]+)\)', FRONT))
    costs = {names(row[0])[0].split()[0]: row[1] for row in rows(FRONT, '`python -m experiments.` | time')}
    assert re.fullmatch(r'\d+ min \d+ s', costs['cyclegan'])


def test_files_in_the_text_exist():
    for name, page in PAGES.items():
        if name != 'CHANGELOG.md':
            for file in re.findall(r'`((?:networks|games|shared|tests)/[\w/]+\.py)`', page):
                folder = {'shared': 'experiments', 'tests': '.'}.get(file.partition('/')[0], 'gan_jax')
                assert (ROOT / folder / file).exists(), file


def test_compilation_is_what_the_page_says():
    """`compilation.jit`, `options` and `configure` are the three ways that the page on the library names."""
    for name in set(re.findall(r'`(?:gan_jax\.)?compilation\.(\w+)', LIBRARY)) - {'py'}:
        assert callable(getattr(compilation, name))
