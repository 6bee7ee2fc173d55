"""The test images that classifiers get wrong, during training and at its end."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import numpy as np

import gan_jax
from experiments.semi_supervised.few_labels import few_labels, supervised
from experiments.shared import labelled
from gan_jax import compilation, data, finite, runs
from gan_jax.games.semi_supervised import classify
from gan_jax.runs import pictures
from gan_jax.typing import Array, Key

PUBLISHED = {20: '1677 +- 452', 50: '221 +- 136', 100: '93 +- 6.5', 200: '90 +- 4.2'}
"""Number of labels -> errors of 10,000 with feature matching: mean and standard deviation of 10 runs (Salimans et al. 2016, table
1)."""
LOG = 'errors.jsonl'


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """Test errors of a seed's classifier, and of the classifier trained on the seed's labels alone."""
    config: Any = trained.config
    found: labelled.LabelledData = trained.study.data
    classifier, feed = config.classifier(len(found.train.classes)), few_labels(config, found.train, 1)
    optimizer = dataclasses.replace(config, steps=config.baseline_steps).players().discriminator

    def alone(key: Key, own: Any) -> gan_jax.Player:
        return supervised(classifier, optimizer, lambda step: feed.draw((), own, step), config.baseline_steps, key)

    fit = trained.programs.setdefault('labels alone', compilation.jit(alone))
    count = trained.programs.setdefault('errors', compilation.jit(functools.partial(errors, classifier)))
    baseline = fit(trained.key('labels alone'), trained.study.feed.own(trained.number, trained.key('data'))['labelled'])
    finite.check_state(baseline, config.baseline_steps, 'training on the labels alone')
    players = {'semi_supervised': trained.state.discriminator, 'labels_alone': baseline}
    results = {name: int(count(player, found.test.images, found.test.labels)) for name, player in players.items()}
    if trained.first:
        figure = learning_curve(config, trained.read_log(LOG), results['labels_alone'])
        pictures.save_figure(trained.path / 'errors.png', figure)
    known = config.dataset == 'mnist' and config.objective_weight == 0
    table = [
        ('errors', f'of {len(found.test.images)}', 'published'),
        (f'{config.labels} labels alone', results['labels_alone'], ''),
        ('and unlabelled images', results['semi_supervised'], PUBLISHED.get(config.labels, '') if known else ''),
    ]
    trained.tell(runs.table(table, title=f'{config.dataset}, one seed, {trained.steps} steps'))
    return results


def beside_published(config: Any, results: dict[str, Any]) -> str:
    """Means and standard deviations over the seeds, as the paper reports them."""
    known = config.dataset == 'mnist' and config.objective_weight == 0
    rows: list[tuple] = [('errors', 'mean +- standard deviation', 'published')]
    for name, title in (('labels_alone', f'{config.labels} labels alone'), ('semi_supervised', 'and unlabelled images')):
        counts = [figures[name] for figures in results['seeds'] if figures is not None]
        deviation = f' +- {np.std(counts, ddof=1):.1f}' if len(counts) > 1 else ''
        published = PUBLISHED.get(config.labels, '') if known and name == 'semi_supervised' else ''
        rows.append((title, f'{np.mean(counts):.1f}{deviation}', published))
    return runs.table(rows)


def errors(classifier: nn.Module, player: gan_jax.Player, images: Array, labels: Array) -> Array:
    """The number of images that the classifier's averaged parameters misclassify."""
    return (classify(classifier, player, data.to_float(images)).argmax(-1) != labels).sum()


def errors_over_training(config: Any, classifier: nn.Module, test: labelled.Labelled, run: runs.RunDirectory) -> runs.Callback:
    """A callback that logs and draws the errors of every seed on the test images."""
    count = functools.partial(errors, classifier)
    every = runs.over_seeds(count, config.seeds, side_by_side=False) if config.seeds > 1 else compilation.jit(count)
    names = [f'seed {config.seed + i}' for i in range(config.seeds)]

    def call(step: int, state: gan_jax.TrainState) -> None:
        found = np.ravel(every(state.discriminator, test.images, test.labels)).tolist()
        alive = finite.by_seed(state) if config.seeds > 1 else (True,)
        run.log(step, {name: n for name, n, ok in zip(names, found, alive, strict=True) if ok}, LOG)
        pictures.save_figure(run.path / 'errors.png', learning_curve(config, run.read_log(LOG)))

    return runs.Callback(config.evaluate_every, call)


def learning_curve(config: Any, rows: list[dict[str, float]], alone: float | None = None) -> Any:
    """A figure of the errors of each seed over training; `alone` adds a line at the errors with the labels alone."""
    title = f'{config.dataset}, {config.labels} labels: errors on the test images'
    figure = pictures.curves(rows, [[name for name in rows[0] if name != 'step']], title=title)
    (ax,) = figure.axes
    if alone is not None:
        ax.axhline(alone, color='0.5', ls='--', lw=1, label='labels alone, first seed')
    ax.set_yscale('log')
    ax.legend(frameon=False, fontsize=7)
    return figure
