"""The ledger: the committed rows and page, the intervals, and recording and verifying with commands that are played."""

import ast
import dataclasses
import itertools
import json
import math
import os
import pathlib
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from experiments.results import __main__ as ledger
from experiments.results import columns, comparison, page, rows, runner, storage
from experiments.results.protocol import PROTOCOL
from experiments.results.rows import Column, Figure, Line, Origin, Picture, Row
from experiments.results.sections import SECTIONS
from gan_jax import runs
from gan_jax.commandline import module_of
from gan_jax.errors import InputError, Interrupted

TWO = (Column('loss', 'loss', '', 'lower', digits=2), Column('right', 'right', '%', 'higher', digits=0))


def recorded(*values, **changes) -> Row:
    """A row of one figure with these values, of seeds 0, 1, ..."""
    line, column = Line(path='x'), Column('loss', 'loss', '', 'lower')
    figures = {'': {'loss': rows.figure_of(values)}} if values else {}
    made = Row('toy', 'dcgan', 'toy', 'python -m experiments.ring', (column,), (line,), tuple(range(max(1, len(values)))))
    return dataclasses.replace(made, **{'figures': figures, 'origin': Origin() if values else None, **changes})


# What is committed.


def test_the_page_is_that_of_the_rows():
    assert page.page(storage.read_all()) == page.FILE.read_text(), 'run python -m experiments.results, and commit RESULTS.md'


def test_every_committed_row_is_sound():
    found = storage.read_all()  # checks each, means and intervals recomputed
    assert len(found) > 40
    for row in found.values():
        assert row.section in SECTIONS, row.name
        assert row.figures, f'{row.name} has no figures'
        for picture in row.pictures:
            assert (storage.PICTURES / picture.file).is_file(), f'{row.name} shows {picture.file}, which is not there'
        text = (storage.FOLDER / f'{row.name}.json').read_text()
        assert text == f'{storage._text(storage._encode(row))}\n', f'{row.name} is not written as storage.write does'


def test_what_is_to_be_run_is_a_command(monkeypatch, tmp_path):
    """Every option exists, and what is chosen goes together."""
    (tmp_path / 'facades').mkdir()  # the folder of the authors' archive
    monkeypatch.chdir(tmp_path)
    for row in PROTOCOL.values():
        rows.check(row, row.name)
        assert row.section in SECTIONS
        module = runner.experiment(row)
        monkeypatch.setattr('sys.argv', row.command.split()[2:])
        configs = []
        runs.run_main(lambda config, configs=configs: configs.append(config), module.Config)
        if hasattr(configs[0], 'check'):
            configs[0].check()
        assert runner.seeded(row) == (row.seeds is not None), row.name
        if row.baseline:
            assert SECTIONS[row.section].compared in {column.title for column in row.columns}, row.name


# Intervals.


def test_intervals_are_students():
    figure = rows.figure_of([1.0, 2.0, 3.0, 4.0])
    deviation = math.sqrt(5 / 3)
    # 3.1824 is the .975 quantile of Student's t for 3 degrees of freedom, and 5.8409 the .995 quantile, from tables.
    assert figure.mean == 2.5 and math.isclose(figure.interval, 3.1824 * deviation / 2, rel_tol=1e-4)
    assert math.isclose(rows.prediction(figure), 3.1824 * deviation * math.sqrt(1.25), rel_tol=1e-4)
    assert math.isclose(rows.prediction(figure, 0.99), 5.8409 * deviation * math.sqrt(1.25), rel_tol=1e-4)
    assert rows.prediction(rows.figure_of([1.0])) is rows.prediction(rows.figure_of([1.0, None])) is None
    summary = rows.Figure(2.5, figure.interval, None, deviation / 2, 4)
    assert math.isclose(rows.prediction(summary), rows.prediction(figure), rel_tol=1e-12)


def test_prediction_intervals_hold_one_more_seed():
    draws = np.random.default_rng(0).normal(3, 2, (1500, 4)).tolist()
    figures = [rows.figure_of(first) for *first, _ in draws]
    inside = [abs(row[-1] - f.mean) < rows.prediction(f, 0.8) for row, f in zip(draws, figures, strict=True)]
    assert abs(np.mean(inside) - 0.8) < 0.035  # 3 standard deviations of 1,500 tosses


# Files.


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'mean': 2.0}, 'has the mean 2.0, and its values give 1.5'),
        ({'interval': None}, 'has the interval None'),
        ({'values': [1.0]}, 'has 1 values for 2 seeds'),
        ({'values': None}, 'must say how many'),
        ({'values': ['a', 1.0]}, "values must be a number, not 'a'"),
        ({'mode': 1}, r"not \['mode'\]"),
        ({'standard_error': 0.1}, 'a standard error'),
    ],
)
def test_a_wrong_figure_is_refused(tmp_path, monkeypatch, changes, says):
    monkeypatch.setattr(storage, 'FOLDER', tmp_path)
    path = storage.write(recorded(1.0, 2.0))
    value = json.loads(path.read_text())
    assert storage.read(path) == recorded(1.0, 2.0)
    value['figures']['']['loss'] |= changes
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=says):
        storage.read(path)


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'lines': (Line(published='1'),)}, 'both a published value and its source'),
        ({'columns': TWO[1:]}, r"has no columns \['loss'\]"),
        ({'columns': (TWO[0], TWO[0])}, 'one title each'),
        ({'lines': (Line('other'),)}, r"there are no lines \[''\]"),
        ({'references': (rows.Reference('real', {'lost': 1.0}),)}, r"has no columns \['lost'\]"),
        ({'seeds': (1, 1)}, 'different numbers'),
        ({'origin': None}, 'figures and origin stand together'),
    ],
)
def test_a_wrong_row_is_refused(changes, says):
    with pytest.raises(InputError, match=says):
        rows.check(recorded(1.0, 2.0, **changes), 'toy')


def test_a_page_says_what_a_row_has():
    row = recorded(0.5, 0.7, None, note='A note.', pictures=(Picture('x.png', 'Points'),))
    row = dataclasses.replace(row, origin=Origin('f' * 40, True, {'jax': '0.10.2'}, '', 'a CPU', 2, 3700.0))
    text = page.page({'toy': row, 'other': recorded()})
    # 12.7062, the .975 quantile of Student's t for 1 degree of freedom, times the standard error .1, to two digits.
    assert '| [toy](results/toy.json) | 0.6 ± 1.3 (2 of 3) | 0 to 2 |' in text
    assert 'python -m experiments.ring --seeds 3 --seed 0' in text and '![Points](pictures/x.png)' in text
    assert f'commit {"f" * 12} with uncommitted changes, jax 0.10.2, a CPU, 2 cores, 1 h 1 min. A note.' in text
    assert text.count('## ') == 1  # no section without rows
    assert '<sup>' not in text and 'seeds' in text and 'Environments' not in text
    same = page.page({'toy': recorded(0.1, 0.1, 0.1)})
    assert '0.1 ±' in same and '000000' not in same  # an interval of rounding


def test_rows_of_one_environment_name_it_by_a_letter_and_stand_in_the_order_of_the_protocol():
    origin = Origin('f' * 40, False, {'jax': '0.10.2'}, '--xla_flag', 'a CPU', 1, 5.0)
    names = ('later', 'limited_1000_ada', 'limited_1000_none')
    known = {name: dataclasses.replace(recorded(0.5, 0.7), name=name, label=name, origin=origin) for name in names}
    text = page.page(known)
    assert text.count('`XLA_FLAGS=--xla_flag`') == 1 and 'A: jax 0.10.2, `XLA_FLAGS=--xla_flag`' in text
    assert text.count(f'commit {"f" * 12}, A, a CPU, 1 core, 5 s.') == 3
    assert text.index('[limited_1000_none]') < text.index('[limited_1000_ada]') < text.index('[later]')
    alone = page.page({'later': known['later']})
    assert f'commit {"f" * 12}, jax 0.10.2, `XLA_FLAGS=--xla_flag`, a CPU' in alone


# Comparing rows.


def test_interquartile_means():
    # Without the smallest and the largest of 5, (2 + 3 + 4) / 3; one outlier moves nothing.
    mean = comparison.interquartile_mean([1.0, 2, 3, 4, 1000])
    assert mean.value == 3 and 1 <= mean.low < 3 < mean.high <= 1000
    assert comparison.interquartile_mean([5.0] * 4) == (5, 5, 5)
    assert comparison.interquartile_mean([1.0, 2, 3, math.inf]).value == 2.5


def test_bootstrap_intervals_cover():
    rng = np.random.default_rng(0)
    found = [comparison.interquartile_mean(rng.normal(size=20)) for _ in range(100)]
    # 95 of 100 at infinitely many seeds; of 20 the percentile bootstrap covers some less.
    assert 84 <= sum(low <= 0 <= high for _, low, high in found) <= 99


def test_the_probability_of_improvement_is_mann_and_whitneys():
    from scipy.stats import mannwhitneyu

    x, y = np.random.default_rng(1).integers(0, 6, size=(2, 9)).astype(float)
    wanted = mannwhitneyu(x, y).statistic / 81  # with ties as halves
    assert comparison.probability_of_improvement(x, y, 'higher').value == pytest.approx(wanted)
    assert comparison.probability_of_improvement(x, y, 'lower').value == pytest.approx(1 - wanted)
    assert comparison.probability_of_improvement([3.0, 4], [1.0, 2], 'higher') == (1, 1, 1)


def test_rows_are_compared_with_their_baseline():
    section = next(name for name, section in SECTIONS.items() if section.compared == 'Fréchet distance')
    column = Column('Fréchet distance', 'x', '', 'lower')

    def row(name, *values, baseline='base'):
        made = recorded(*values, name=name, label=name, section=section, columns=(column,), baseline=baseline)
        return dataclasses.replace(made, figures={'': {column.title: rows.figure_of(values)}})

    base, good, bad = row('base', 3.0, 4.0, 5.0), row('good', 1.0, 2.0, 3.5), row('bad', 9.0, None, 8.0)
    text = page.page({each.name: each for each in (base, good, bad, row('alone', 1.0, 2.0, baseline=''))})
    assert '| base | 4 [3, 5] |  |  |' in text
    assert '| good | 2.167 [1, 3.5] | 0.89 [' in text  # 8 of 9 pairs
    assert '| bad | inf [8, inf] | 0.00 [0.00, 0.00] | base |' in text  # a seed that diverged is the worst
    assert text.count('bootstrap') == 1 and '| alone | 1' not in text.split('bootstrap')[1].split('**')[0]
    two = dataclasses.replace(base, lines=(Line('a', 'a'), Line('b', 'b')), baseline='a')
    two = dataclasses.replace(two, figures={'a': base.figures[''], 'b': good.figures['']})
    found = {line: improvement for _, line, _, improvement in comparison.comparisons([two], column.title)}
    assert found['a'] is None and found['b'].value == pytest.approx(8 / 9)


# Reading a run.


def test_figures_of_every_form_of_results():
    judged = {'seeds': [{'a': 1, 'b': {'c': [2.0, 3.0]}}, None], 'figures': {'a': {'mean': 1}}, 'seconds': 5.0}
    assert runner.by_seed({'10': judged}, 2) == {'10/a': [1, None], '10/b/c/0': [2, None], '10/b/c/1': [3, None]}
    listed = {
        'gan': {'last': {'modes': [8.0, None]}, 'over_time': [[1.0, 2.0], [3.0, 4.0]], 'diverged': [False, True], 'value': 7}
    }
    assert runner.by_seed(listed, 2) == {
        'gan/last/modes': [8, None], 'gan/over_time/0': [1, 2], 'gan/over_time/1': [3, 4], 'gan/value': [7, 7],
    }  # fmt: skip
    assert runner.by_seed([{'x': 1.5, 'pair': [1, 2], 'name': 'a', 'null': None}], 1) == {
        '0/x': [1.5], '0/pair/0': [1], '0/pair/1': [2], '0/null': [None],
    }  # fmt: skip


def test_a_line_or_a_column_that_the_run_does_not_have_is_refused():
    row = recorded(columns=(Column('loss', 'loss'), Column('right', '/{line}_right')))
    figures = runner.figures_of(row, {'x': {'loss': 1.0}, 'x_right': 2}, 1)
    assert figures['']['loss'].values == (1.0,) and figures['']['right'].values == (2.0,)
    with pytest.raises(InputError, match="unknown figure 'x/loss'; did you mean x/lost"):
        runner.figures_of(row, {'x': {'lost': 1.0}}, 1)
    with pytest.raises(InputError, match='no line of the run has the figure'):
        runner.figures_of(row, {'x': {'loss': 1.0}}, 1)


@pytest.mark.parametrize(
    ('command', 'says'),
    [
        ('experiments.ring', 'must begin with python -m experiments.NAME'),
        ('python -m experiments.rang', 'there is no experiments.rang'),
        ('python -m experiments.ring --seed 1', 'must leave --seed to the ledger'),
        ('python -m experiments.ring --name=x', 'must leave --name=x to the ledger'),
        ('python -m experiments.benchmark --suite', 'leaves no run'),
    ],
)
def test_a_command_that_is_not_an_experiment_is_refused(command, says):
    with pytest.raises(InputError, match=says):
        runner.seeded(recorded(command=command))


# Recording and verifying.


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A ledger of its own, whose commands are played: `results[seed]` is what that seed of the run `x` has."""

    class Workshop:
        def __init__(self):
            self.results = {0: 1.0, 1: 2.0, 2: 3.0, 3: 2.5, 9: 40.0}
            self.commit, self.changed, self.code = 'a' * 40, False, 0
            self.launched = []

        def launch(self, arguments):
            self.launched.append(list(arguments))
            flags = dict(itertools.pairwise(arguments))
            folder = pathlib.Path(flags['--runs-dir'], flags['--name'])
            runs.write_json(folder / 'config.json', {})
            seeds = range(int(flags['--seed']), int(flags['--seed']) + int(flags['--seeds']))
            each = [{'x': {'loss': self.results[seed]}} for seed in seeds]
            if not self.code:
                runs.write_json(folder / 'results.json', each[0] if len(each) == 1 else {'seeds': each, 'figures': {}})
                Image.new('RGB', (3, 2), (10, 20, 30)).save(folder / 'samples.png')
            return self.code

        def run(self, **options):
            ledger.main(ledger.Config(runs_dir=str(tmp_path / 'runs'), **options))

        @property
        def row(self):
            return storage.read(tmp_path / 'rows/toy.json')

    made = Workshop()
    (tmp_path / 'rows').mkdir()
    monkeypatch.setattr(storage, 'FOLDER', tmp_path / 'rows')
    monkeypatch.setattr(storage, 'PICTURES', tmp_path / 'pictures')
    monkeypatch.setattr(page, 'FILE', tmp_path / 'RESULTS.md')
    monkeypatch.setattr(runner, 'launch', made.launch)
    monkeypatch.setattr(runner, 'state_of_code', lambda: (made.commit, made.changed))
    monkeypatch.setitem(PROTOCOL, 'toy', recorded(seeds=(0, 1, 2), pictures=(Picture('toy.png', 'Points', 'samples.png'),)))
    return made


def test_a_row_is_recorded_with_all_that_it_depends_on(workshop, tmp_path):
    workshop.run(record='toy')
    assert workshop.launched[0][:2] == ['-m', 'experiments.ring'] and '--resume' not in workshop.launched[0]
    row = workshop.row
    assert row.seeds == (0, 1, 2) and row.figures['']['loss'].values == (1, 2, 3) and row.figures['']['loss'].mean == 2
    assert row.origin.commit == 'a' * 40 and not row.origin.uncommitted and row.origin.hardware and row.origin.cores >= 1
    assert set(row.origin.versions) == {'python', 'jax', 'jaxlib', 'flax', 'optax'} and row.origin.seconds >= 0
    with Image.open(tmp_path / 'pictures/toy.png') as picture:
        assert picture.size == (3, 2) and picture.convert('RGB').getpixel((0, 0)) == (10, 20, 30)
    assert '[toy](results/toy.json) |' in page.FILE.read_text()
    workshop.run(record='toy', seeds=1, seed=9, overwrite=True)
    assert workshop.row.seeds == (9,) and '--overwrite' in workshop.launched[-1]


def test_a_stopped_row_goes_on_with_the_code_that_began_it(workshop):
    workshop.code = 143
    with pytest.raises(InputError, match='--seed 0 ended with exit code 143'):
        workshop.run(record='toy')
    workshop.code, workshop.commit = 0, 'b' * 40
    with pytest.raises(InputError, match='was begun at commit aaaa'):
        workshop.run(record='toy')
    workshop.commit = 'a' * 40
    workshop.run(record='toy')
    assert '--resume' in workshop.launched[-1] and len(workshop.launched) == 2 and not workshop.row.origin.uncommitted


def test_code_that_is_not_committed_is_refused_or_marked(workshop):
    workshop.changed = True
    with pytest.raises(InputError, match='not committed'):
        workshop.run(record='toy')
    assert not workshop.launched
    workshop.run(record='toy', dirty=True)
    assert workshop.row.origin.uncommitted and 'with uncommitted changes' in page.FILE.read_text()


@pytest.mark.parametrize(('options', 'code'), [({}, 0), ({'seed': 9}, 1)])
def test_a_row_is_verified_with_a_seed_that_is_not_in_it(workshop, capsys, options, code):
    workshop.run(record='toy')
    before = workshop.row
    if code:
        with pytest.raises(SystemExit) as stop:
            workshop.run(verify=('toy',), **options)
        assert stop.value.code == code
    else:
        workshop.run(verify=('toy',), **options)
    seed = options.get('seed', 3)
    assert workshop.launched[-1][-4:] == ['--seeds', '1', '--seed', str(seed)] and workshop.row == before
    said = capsys.readouterr().out
    # 2 +- 4.3027 s (1 + 1/3)^(1/2) with s = 1, the quantile from tables
    assert '-2.968 to 6.968' in said and ('OUTSIDE' if code else 'every figure lies inside') in said


def test_many_figures_share_the_five_per_cent(workshop, monkeypatch, capsys):
    lines = (Line('one', 'x'), Line('two', 'x'))
    monkeypatch.setitem(PROTOCOL, 'toy', dataclasses.replace(PROTOCOL['toy'], lines=lines, pictures=()))
    workshop.run(record='toy')
    workshop.run(verify=('toy',))
    # 6.2053 is the .9875 quantile of Student's t for 2 degrees of freedom, from tables
    assert f'{2 - 6.2053 * math.sqrt(4 / 3):.4g} to {2 + 6.2053 * math.sqrt(4 / 3):.4g}' in capsys.readouterr().out


def test_one_seed_verifies_nothing(workshop, capsys):
    workshop.run(record='toy', seeds=1)
    with pytest.raises(SystemExit) as stop:
        workshop.run(verify=('toy',))
    said = capsys.readouterr().out
    assert stop.value.code == 1 and 'has no interval' in said and 'not verified' in said
    assert [word for line in said.splitlines() if line.startswith('loss') for word in line.split()[1:4]] == ['1', '1', '2']


def test_seeds_that_agree_hold_no_other_figure(workshop, capsys):
    workshop.results = {0: 8.0, 1: 8.0, 2: 8.0, 3: 8.0, 9: 7.0}
    workshop.run(record='toy')
    workshop.run(verify=('toy',))
    with pytest.raises(SystemExit):
        workshop.run(verify=('toy',), seed=9)
    said = capsys.readouterr().out
    assert 'has no interval' in said and 'OUTSIDE' not in said


def test_a_figure_that_is_missing_is_not_verified(workshop, monkeypatch, capsys):
    workshop.run(record='toy')
    monkeypatch.setattr(runner, 'figures_of', lambda row, results, seeds: {'': {}})
    with pytest.raises(SystemExit) as stop:
        workshop.run(verify=('toy',))
    assert stop.value.code == 1 and 'missing' in capsys.readouterr().out


@pytest.mark.parametrize('again', [2.0, 2.1])
def test_a_row_without_seeds_is_verified_by_its_own_figures(workshop, monkeypatch, capsys, again):
    workshop.run(record='toy')
    monkeypatch.setattr(runner, 'seeded', lambda row: False)
    done = runner.Finished(pathlib.Path(), {}, workshop.row.origin)
    monkeypatch.setattr(runner, 'run', lambda *_, **__: done)
    monkeypatch.setattr(runner, 'figures_of', lambda row, results, seeds: {'': {'loss': Figure(again)}})
    if again == 2:
        workshop.run(verify=('toy',))
    else:
        with pytest.raises(SystemExit):
            workshop.run(verify=('toy',))
    assert ('OUTSIDE' in capsys.readouterr().out) == (again != 2)


def test_times_are_not_verified(workshop, monkeypatch, capsys):
    both = (Column('loss', 'loss'), Column('time', 'loss', 's', verified=False))
    monkeypatch.setitem(PROTOCOL, 'toy', dataclasses.replace(PROTOCOL['toy'], columns=both, pictures=()))
    workshop.run(record='toy')
    capsys.readouterr()
    workshop.run(verify=('toy',))
    assert 'time' not in capsys.readouterr().out


def test_the_list_has_what_is_recorded_and_what_is_not(workshop, capsys):
    workshop.run(list=True)
    assert 'yet to be run' in next(line for line in capsys.readouterr().out.splitlines() if line.startswith('toy '))
    workshop.run(record='toy')
    capsys.readouterr()
    workshop.run(list=True)
    assert 'aaaaaaaaaaaa' in next(line for line in capsys.readouterr().out.splitlines() if line.startswith('toy '))


def test_a_signal_ends_the_command_too(tmp_path, monkeypatch):
    """The command gets SIGTERM and the time to save."""
    began, saved = tmp_path / 'began', tmp_path / 'saved'
    command = (
        'import pathlib, signal, sys, time\n'
        f'signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.1), pathlib.Path({str(saved)!r}).touch(), sys.exit(3)))\n'
        f'pathlib.Path({str(began)!r}).touch()\n'
        'time.sleep(60)\n'
    )

    def interrupt(signum, frame):
        raise Interrupted(signum)

    def stop():
        while not began.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(Interrupted):
            runner.launch(['-c', command])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert saved.exists()


def test_the_commit_is_that_of_the_checkout():
    commit, changed = runner.state_of_code()
    if not (runner.ROOT / '.git').exists():
        assert (commit, changed) == (None, True)
    else:
        assert len(commit) == 40 and set(commit) <= set('0123456789abcdef')


def test_modules_are_documented_for_the_list_of_experiments():
    doc = ast.get_docstring(ast.parse((storage.FOLDER / '__main__.py').read_text()))
    assert doc.startswith('The ledger of results') and module_of('experiments.results') is ledger
    assert columns.IMAGES[0].path == 'confident'
