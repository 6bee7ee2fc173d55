"""An experiment as one value, trained by one function, which gives all experiments the same capabilities.

An experiment defines which game is played on which data, how it is observed (`Study`), and its figures (`evaluate`). Everything
else is provided here and in the loop: several seeds in one program, several devices, data on the device or streamed, resumption,
pictures, scores during training, the final sampler, and the mean and interval in the final table.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gan_jax import compilation, finite, hosts, parallel, placement
from gan_jax.commandline import table
from gan_jax.data.feeds import Feed, Joined, Stream, to_float, to_uint8
from gan_jax.errors import Diverged, InputError
from gan_jax.files import write_json
from gan_jax.keys import named, roots
from gan_jax.metrics import moments
from gan_jax.metrics.extractors import Extractor
from gan_jax.runs import pictures, samples, seeds
from gan_jax.runs.checkpoints import newest_state
from gan_jax.runs.directory import RunDirectory, read_log
from gan_jax.runs.generators import (
    Generator,
    Translator,
    describe,
    draw_latents,
    experiment_of,
    save_generator,
    save_translator,
)
from gan_jax.runs.loop import CALL_STEPS, Advance, Callback, fit
from gan_jax.runs.options import MethodOptions, TrainOptions, check_fit
from gan_jax.runs.scores import sample_scores
from gan_jax.runs.weights import start_from
from gan_jax.training import Game, Trainer, TrainState, many_steps, sample
from gan_jax.typing import AnyArray, Array, Batch, Key, Metrics

BLOCK = 500
"""Number of examples that are drawn at a time."""
SHOWN = 64
"""Number of images in a picture, unless a study defines its pictures."""


class Judge(NamedTuple):
    """What scores a run during training."""

    extractor: Extractor
    reference: moments.FeatureMoments | moments.Gaussian
    """Moments of the features of real images."""


class Study(NamedTuple):
    """Everything that defines a run, created before anything is written."""

    game: Game | None
    """None for models other than games, which are trained in the same way."""
    trainer: Trainer
    feed: Feed | Stream | Joined
    """Data on the device, or read as required."""
    example: Batch
    """A minibatch, or some of its rows, with which the players are initialised."""
    generator: Generator | Translator | None = None
    """How the final sampler draws images; also used for pictures and scores by default."""
    known: Mapping[str, Any] = {}
    """The values, as JSON, that the configuration's `generator` requires to recreate the generator without the data."""
    show: Callable[[TrainState, Key], Any] | None = None
    """Computes the content of a picture and is compiled; by default 64 images of the generator."""
    picture: Callable[[Any], Any] | None = None
    """Maps that content, as NumPy arrays, to a uint8 image `[h, w, c]` or a matplotlib figure; by default a grid."""
    judge: Callable[[], Judge] | None = None
    """Creates the judge for --score-every, which may take a minute. Only for generators of images."""
    notes: tuple[Callable[[RunDirectory], Callback], ...] = ()
    """Creates further callbacks. For several seeds, they receive states with a leading axis of seeds."""
    data: Any = None
    """Data for `evaluate`, and for actions on the finished run."""
    side_by_side: bool = False
    """Whether several seeds are mapped over at once even on a CPU, which is best for small networks without convolutions."""


class Trained(NamedTuple):
    """A trained run of one or several seeds."""

    config: TrainOptions
    study: Study
    run: RunDirectory | None
    """None for a run that was loaded."""
    path: pathlib.Path
    state: TrainState
    """The state, with leaves `[seeds, ...]` for several seeds."""
    roots: Key
    """Root keys `[seeds]`, or a single root key for one seed."""
    finite: tuple[bool, ...]
    """Whether each seed has stayed finite."""
    first: bool = True
    """Whether pictures and tables are of this seed."""
    number: int = 0
    """The number of this seed among those of the run."""
    programs: dict[str, Callable] = {}  # noqa: RUF012  shared by the seeds of one run, so that each is compiled once

    @property
    def steps(self) -> int:
        """The step of the state."""
        return int(np.ravel(np.asarray(self.state.step))[0])

    @property
    def shown(self) -> int:
        """The number of the seed whose pictures are drawn: the first that has not diverged."""
        return self.finite.index(True)

    def seed(self, number: int) -> 'Trained':
        """One of the seeds as a run of one seed."""
        if not self.roots.shape:
            return self
        state = seeds.row(self.state, number)
        first = number == self.shown
        return self._replace(state=state, roots=self.roots[number], finite=(self.finite[number],), first=first, number=number)

    def key(self, use: str) -> Key:
        """A key of one seed for the use of the given name, independent of those for other names."""
        return named(self.roots, use)

    def read_log(self, name: str = 'metrics.jsonl') -> list[dict[str, Any]]:
        """The lines of a log of the run."""
        return hosts.agreed(lambda: read_log(self.path, name))

    def tell(self, *words: object) -> None:
        """Prints; for several seeds, only for the first one."""
        if self.first:
            print(*words)

    def images(self, what: int | AnyArray, use: str = 'table') -> np.ndarray:
        """Draws uint8 images `[n, h, w, c]` from the generator: n of them, or one for each of the given conditions int `[n]`.

        Raises `InputError` for images that are not finite.
        """
        generator = self.study.generator
        assert isinstance(generator, Generator)
        weights = self._program('weights', generator.weights)(self.state.ema)  # once, and not in every block
        ready = self._replace(state=dataclasses.replace(self.state, ema=weights))
        if isinstance(what, int):
            return ready.drawn(_drawn_with(generator), what, use)

        def conditional(state: TrainState, conditions: Array, key: Key) -> Array:
            return generator.generate(state.ema, draw_latents(generator, BLOCK, key)[0], conditions)

        return ready._pixels(self._program('conditional', conditional), what, use)

    def drawn(self, draw: Callable[[TrainState, Key, int], Array], count: int, use: str) -> np.ndarray:
        """Draws `count` images by `draw(state, key, n)`, which returns values in [-1, 1], as uint8 `[count, h, w, c]`.

        Compiled programs are cached by `use`, which must therefore identify `draw`. Raises `InputError` for non-finite images.
        """
        program = self._program(f'drawn {use}', lambda state, _, key: draw(state, key, BLOCK))
        return self._pixels(program, np.zeros(count), use)

    def _pixels(self, program: Callable, batch: AnyArray, use: str) -> np.ndarray:
        """Maps a batch `[n, ...]` in blocks by `program(state, rows, key)` to images in [-1, 1], and converts them to uint8."""
        return self._by_rows(lambda state, rows, key: to_uint8(np.asarray(program(state, rows, key))), batch, use, BLOCK)

    def plays(self, batch: Any, use: str = 'table', *, block: int = BLOCK, ema: bool = True) -> Any:
        """The plays of the game on a batch `[n, ...]`, or n plays of an unconditional game, as NumPy arrays.

        uint8 pixels of the batch are converted to floats.

        Args:
            batch: a batch `[n, ...]`, or the number of plays.
            use: name of the use, which determines the key.
            block: number of examples that are drawn at a time.
            ema: whether the averaged generator plays.
        """

        game = self.study.game
        assert game is not None

        def play(state: TrainState, batch: Any, key: Key) -> Any:
            return sample(game, state, jax.tree.map(to_float, batch), key, ema=ema)

        program = self._program(f'plays {ema}', play)
        return self._by_rows(program, np.zeros(batch) if isinstance(batch, int) else batch, use, block)

    def translated(self, images: AnyArray, use: str = 'table', *, block: int = 50) -> np.ndarray:
        """The translations of images `[n, h, w, c]`, in [-1, 1]; uint8 pixels are converted to floats."""
        translator = self.study.generator
        assert isinstance(translator, Translator)

        def translate(state: TrainState, images: Array, key: Key) -> Array:
            return translator.translate(translator.weights(state.ema), to_float(images), key)

        return self._by_rows(self._program('translated', translate), images, use, block)

    def mapped(self, function: Callable[[TrainState, Any, Key], Any], batch: Any, use: str, *, block: int = BLOCK) -> Any:
        """Maps a batch `[n, ...]` in blocks by `function(state, rows, key)`, as NumPy arrays.

        uint8 pixels of the batch are converted to floats. The function is compiled once for each use and shared by all seeds of
        the run, so anything that it depends on must be in the state.

        Args:
            function: `(state, rows, key) -> outputs [b, ...]`.
            batch: a batch `[n, ...]`.
            use: name of the use, which determines the key and the compiled program.
            block: number of rows that are mapped at a time.
        """
        program = self._program(use, lambda state, rows, key: function(state, jax.tree.map(to_float, rows), key))
        return self._by_rows(program, batch, use, block)

    def _by_rows(self, program: Callable, batch: Any, use: str, block: int) -> Any:
        """Maps a batch `[n, ...]` in blocks by `program(state, rows, key)`."""
        count = len(jax.tree.leaves(batch)[0])
        parts = []
        for number, rows in enumerate(_blocks(count, block)):
            key = jax.random.fold_in(self.key(use), number)
            part = jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], batch)
            parts.append(jax.tree.map(np.asarray, program(self.state, part, key)))
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)

    def _program(self, name: str, function: Callable) -> Callable:
        return self.programs.setdefault(name, compilation.jit(function))


def _blocks(count: int, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Rows in blocks of one size. The last block repeats its rows, because a generator may normalise over the block."""
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        yield np.resize(rows, size)


def train(config: TrainOptions, study: Study, *, run: RunDirectory | None = None) -> Trained:
    """Trains a study as the options specify, with pictures and scores, and saves its sampler.

    With several processes, each of them calls this, and has the whole state at the end.

    `run` is the directory of the run if it is already open. Raises `InputError` as `check` does, before anything is written, and
    otherwise as `RunDirectory` and `fit` do.
    """
    check(config, study)
    keys = roots(config.seed, config.seeds)
    init = first_state(config, study, keys)
    advance = advancing(config, study, keys)
    run = run or RunDirectory(config)  # only after all checks
    if config.init_from is not None and not config.resume:
        init = start_from(init, pathlib.Path(config.init_from))
    if study.generator is not None:
        describe(run, config, **study.known)
    survivors = finite.Survivors(config.seeds, config.seed)
    shown = lambda state: seeds.row(state, survivors.first) if config.seeds > 1 else state
    state = fit(
        advance,
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * study.trainer.minibatches * config.seeds,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        keep=None if isinstance(config, MethodOptions) and config.ema_widths else 3,
        callbacks=[
            *(_callbacks(config, study, run, keys[0], shown) if isinstance(config, MethodOptions) else ()),
            *(note(run) for note in study.notes),
        ],
        survivors=survivors,
    )
    state = placement.local(state)

    def keep() -> None:
        if isinstance(study.generator, Generator):
            save_generator(run, study.generator, shown(state))
        elif isinstance(study.generator, Translator):
            save_translator(run, shown(state))
        samples.animate(run)

    hosts.agreed(keep)
    one = config.seeds == 1
    return Trained(config, study, run, run.path, state, keys[0] if one else keys, survivors.finite, programs={})


def check(config: TrainOptions, study: Study) -> None:
    """Raises `InputError` for incompatible networks, losses and batches, and for a run that cannot serve as a starting point.

    Nothing is compiled.
    """
    if config.seeds == 1:
        placement.check_divisible(config.batch_size)
        rows = config.batch_size // len(placement.all_devices())
    else:
        rows = config.batch_size // seeds_grid(config, study).shape[placement.AXIS]
    parts = config.accumulate if isinstance(config, MethodOptions) else 1
    if rows % parts:
        raise InputError(f'--accumulate {parts} must divide the batch size of a device, {rows}')
    _check_share(study, rows // parts)
    scored = study.judge is not None and isinstance(study.generator, Generator)
    if isinstance(config, MethodOptions) and config.score_every and not scored:
        raise InputError('--score-every requires a run that generates images and has labels to train a classifier on')
    if isinstance(config, MethodOptions) and config.ema_widths and study.generator is None:
        raise InputError('--ema-widths requires a run that generates or translates images, whose averages are used afterwards')
    if config.init_from is not None and not config.resume:
        if study.game is None:
            raise InputError('--init-from requires a game, and this is another model')
        one = jax.eval_shape(study.trainer.init, study.example, jax.random.key(0))
        every = lambda x: jax.ShapeDtypeStruct((config.seeds, *x.shape), x.dtype)
        start_from(one if config.seeds == 1 else jax.tree.map(every, one), pathlib.Path(config.init_from))


def _check_share(study: Study, rows: int) -> None:
    """Raises `InputError` if the game cannot be played on `rows` examples, the share of one device."""
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *np.shape(x)[1:]), jnp.result_type(x)), study.example)
    if study.game is not None:
        leaves, structure = jax.tree.flatten(batch)
        if problem := _problem(study.game, structure, *leaves):
            raise InputError(problem)


@functools.lru_cache(maxsize=16)
def _problem(game: Game, structure: Any, *leaves: jax.ShapeDtypeStruct) -> str | None:
    """Why the game cannot be played on such a batch. Remembered, since a mesh of several seeds asks for the same share again."""
    try:
        check_fit(game, jax.tree.unflatten(structure, leaves))
    except InputError as error:
        return str(error)
    return None


def seeds_grid(config: TrainOptions, study: Study) -> Mesh:
    """The devices of a run of several seeds; with more devices than seeds, several devices share the batch of each seed."""

    def fits(rows: int) -> bool:
        try:
            _check_share(study, rows)
        except InputError:
            return False
        return True

    return placement.grid(config.seeds, config.batch_size, fits)


def first_state(config: TrainOptions, study: Study, keys: Key) -> TrainState:
    """The state at step 0 for root keys `[seeds]`; for several seeds its leaves are `[seeds, ...]`."""
    one = lambda key, example: study.trainer.init(example, named(key, 'init'))
    if config.seeds == 1:
        return compilation.jit(one)(keys[0], study.example)
    # Seeds are initialised one after another, since `vmap` would batch every initialiser.
    return seeds.over_seeds(one, config.seeds, side_by_side=False)(keys, study.example)


def advancing(config: TrainOptions, study: Study, keys: Key) -> Advance:
    """A function that takes training steps, on data that are on the device or read as required."""
    own = [study.feed.own(number, named(keys[number], 'data')) for number in range(config.seeds)]
    how = _resident if isinstance(study.feed, Feed) else _streamed
    return how(config, study, own)


def _resident(config: TrainOptions, study: Study, own: list[Any]) -> Advance:
    feed = study.feed
    assert isinstance(feed, Feed)
    many: Callable = many_steps(study.trainer.step, lambda data, step: feed.draw(data[0], data[1], step), CALL_STEPS)
    if config.seeds == 1:
        one: Callable = parallel.choose(config.runner)(many, batch_axis=None)
        held = placement.placed((feed.data, own[0]))  # once, and not in every call
        take = lambda state, n: one(state, held, n)
    else:
        each = lambda state, own, data, n: many(state, (data, own), n)
        mesh = seeds_grid(config, study)
        how: dict[str, Any] = {'owned': 2, 'side_by_side': _side_by_side(study), 'donate': True, 'mesh': mesh}
        every = seeds.over_seeds(each, config.seeds, **how)
        together, held = seeds.stacked(own), placement.placed(feed.data, mesh)
        take = lambda state, n: every(state, together, held, n)

    def advance(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        state, rows = take(state, jnp.int32(n))
        rows = {name: np.asarray(row) for name, row in placement.local(rows).items()}
        return state, {name: row[:n] if config.seeds == 1 else row[:, :n].T for name, row in rows.items()}

    return advance


def _streamed(config: TrainOptions, study: Study, own: list[Any]) -> Advance:
    """Makes one call per step, without waiting for it."""
    stream = study.feed
    assert isinstance(stream, (Stream, Joined))
    step = lambda state, batch, own: study.trainer.step(state, stream.prepare(batch, own, state.step))
    axis = 0 if stream.minibatches == 1 else 1
    sizes = {'seeds': config.seeds, 'batch_size': config.batch_size}
    if config.seeds == 1:
        share, key = placement.share(None, **sizes), placement.placed(own[0])
        one: Callable = parallel.choose(config.runner)(step, batch_axis=axis)
        take = lambda state, batches: one(state, placement.assembled(batches[0], None, share, **sizes, axis=axis), key)
    else:
        mesh, axis = seeds_grid(config, study), axis + 1
        share = placement.share(mesh, **sizes)
        how: dict[str, Any] = {'owned': 3, 'side_by_side': _side_by_side(study), 'donate': True, 'mesh': mesh, 'split': (1, axis)}
        every = seeds.over_seeds(step, config.seeds, **how)
        together = seeds.stacked(own)
        joined = lambda batches: jax.tree.map(lambda *x: np.stack(x), *batches)
        take = lambda state, batches: every(
            state, placement.assembled(joined(batches), mesh, share, **sizes, axis=axis), together
        )
    reading: list[Iterator[Batch]] = []

    def advance(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        if not reading:
            start = int(np.ravel(np.asarray(state.step))[0])
            reading.extend(stream.batches(mine, start, share.rows) for mine in own[share.seeds])
        rows = []
        for _ in range(n):
            state, metrics = take(state, [next(batches) for batches in reading])
            rows.append(metrics)
        rows = placement.local(rows)
        return state, jax.tree.map(lambda *m: np.stack([np.asarray(x) for x in m]), *rows)

    return advance


def _side_by_side(study: Study) -> bool:
    return study.side_by_side or jax.default_backend() != 'cpu'


def _callbacks(
    config: MethodOptions, study: Study, run: RunDirectory, root: Key, shown: Callable[[TrainState], TrainState]
) -> list[Callback]:
    """Pictures and scores of the seed that is shown."""
    generator = study.generator
    drawn = _drawn(generator) if isinstance(generator, Generator) else None
    show = study.show or (drawn and (lambda state, key: drawn(state, key, SHOWN)))
    found = []
    if show is not None:
        program, key = compilation.jit(show), named(root, 'shown')
        picture = study.picture or samples.grid

        def draw(step: int, state: TrainState) -> None:
            made = picture(jax.tree.map(np.asarray, program(shown(state), key)))
            for path in (samples.frame_path(run, step), run.path / 'samples.png'):
                pictures.save(path, made)

        found.append(Callback(config.sample_every, draw))
    if config.score_every:
        assert study.judge is not None and isinstance(generator, Generator)  # ensured by `check`
        judge = hosts.in_turn(study.judge)
        draw_with, weights = _drawn_with(generator), compilation.jit(generator.weights)
        score = sample_scores(
            run,
            lambda state, key: draw_with(state, key, 100),
            judge.extractor,
            judge.reference,
            named(root, 'scores'),
            every=config.score_every,
            samples=config.samples,
        )

        def call(step: int, state: TrainState) -> None:
            one = shown(state)
            score.call(step, dataclasses.replace(one, ema=weights(one.ema)))  # once, and not in every block

        found.append(score._replace(call=call))
    return found


def _drawn(generator: Generator) -> Callable[..., Array]:
    """`(state, key, n) -> images [n, h, w, c]` in [-1, 1]."""
    draw = _drawn_with(generator)
    return lambda state, key, n: draw(dataclasses.replace(state, ema=generator.weights(state.ema)), key, n)


def _drawn_with(generator: Generator) -> Callable[..., Array]:
    """The same of a state that has the generator's weights in place of its average."""
    return lambda state, key, n: generator.generate(state.ema, *draw_latents(generator, n, key))


Evaluate = Callable[[Trained], dict[str, Any]]
"""Returns the figures of one seed as JSON values; it prints by `Trained.tell`, and draws if the seed is the `first`."""


def conclude(config: TrainOptions, study: Study, evaluate: Evaluate, *, run: RunDirectory | None = None) -> dict[str, Any]:
    """Trains and evaluates a study, prints the final table, writes `results.json`, and returns its contents (see `judged`).

    Raises `InputError` as `train` does.

    Args:
        config: the options.
        study: the experiment.
        evaluate: computes the figures of one seed.
        run: the directory of the run if it is already open.
    """
    return report(train(config, study, run=run), evaluate)


def report(trained: Trained, evaluate: Evaluate) -> dict[str, Any]:
    """Evaluates a trained run as `conclude` does."""
    results = judged(trained, evaluate)

    def write() -> None:
        write_json(trained.path / 'results.json', results)
        found = sorted(path.name for path in trained.path.iterdir() if path.suffix in ('.png', '.gif'))
        print(f'pictures {trained.path}/{", ".join(found)}; numbers {trained.path}/results.json')

    hosts.agreed(write)
    return results


def judged(trained: Trained, evaluate: Evaluate) -> dict[str, Any]:
    """The figures of one seed, or `{'seeds': [figures or null], 'figures': {name: {mean, interval, seeds}}}` of several.

    For several seeds a table is printed, with means and 95 % intervals of the mean by Student's t. A seed that diverged has no
    figures.
    """
    return hosts.agreed(lambda: _judged(trained, evaluate))


def _judged(trained: Trained, evaluate: Evaluate) -> dict[str, Any]:
    if not trained.roots.shape:
        return evaluate(trained)
    each = [evaluate(trained.seed(i)) if ok else None for i, ok in enumerate(trained.finite)]
    found = seeds.summary(each)
    rows: list[tuple] = [('figure', 'mean', '95 % interval', 'seeds')]
    rows += [(name, x['mean'], f'+- {x["interval"]:.2g}' if x['seeds'] > 1 else '', x['seeds']) for name, x in found.items()]
    print(table(rows, title=f'{trained.config.name}, seeds {_range(trained.config)}, step {trained.steps}'))
    return {'seeds': each, 'figures': found}


def means(results: dict[str, Any]) -> dict[str, Any]:
    """Converts the result of `judged` to the form of one seed.

    For several seeds, these are the figures of the first seed that has some, with numbers replaced by their means.
    """
    if 'seeds' not in results:
        return results
    first = next(figures for figures in results['seeds'] if figures is not None)

    def replaced(figures: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
        found = {}
        for name, value in figures.items():
            mean = results['figures'].get(prefix + name)
            found[name] = replaced(value, f'{prefix}{name}.') if isinstance(value, Mapping) else mean['mean'] if mean else value
        return found

    return replaced(first)


def _range(config: TrainOptions) -> str:
    return f'{config.seed} to {config.seed + config.seeds - 1}'


def load(path: pathlib.Path, **changes: Any) -> Trained:
    """Loads the newest checkpoint of a run that has a generator, with its study and its data, for actions that require those.

    `changes` are options that a run does not store, such as `data_dir`. Raises `InputError` for a directory that is not a run, an
    experiment that does not exist, and a run without a checkpoint, and `Diverged` if no seed is finite.
    """
    module = experiment_of(path)
    config = module.Config.at(path, **changes)
    if not (path / 'checkpoints').is_dir():
        raise InputError(f'{path} has no checkpoint yet')
    study = module.study(config)
    keys = roots(config.seed, config.seeds)
    state = newest_state(path, first_state(config, study, keys))
    one = config.seeds == 1
    alive = (finite.is_finite(state),) if one else finite.by_seed(state)
    if not any(alive):
        raise Diverged(f'{path} has diverged: none of its states is finite')
    return Trained(config, study, None, path, state, keys[0] if one else keys, alive, programs={})
