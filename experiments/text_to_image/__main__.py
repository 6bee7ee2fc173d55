"""Text to image: matching-aware GAN-CLS, interpolated GAN-INT, both, or a plain conditional GAN (Reed et al., ICML 2016).

    python -m experiments.text_to_image
    python -m experiments.text_to_image --run runs/text_to_image --say "a large red seven, top left"
    python -m experiments.text_to_image --method gan --name text_gan
    python -m experiments.text_to_image --data path/to/folder --name photos

By default on captioned digits, which need no download: a digit in a colour, a place and a size, some colours of each digit held
out of training. Ends with the share of samples on which a classifier and the pixels find what their caption says, of seen and
of unseen combinations. A folder holds images and a captions.csv with columns `file` and `caption`.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.text_to_image import caption_vectors, report
from gan_jax import compilation, data, games, latents, networks, parallel, runs, text
from gan_jax.data import captioned_digits as scenes
from gan_jax.data.captions import FILE_NAMES
from gan_jax.data.decoding import left_out
from gan_jax.errors import InputError
from gan_jax.games.adversarial import apply_network
from gan_jax.networks.text_to_image import halvings
from gan_jax.ranges import BatchSize, Count, Range, Samples, Share, Side, Text, Width
from gan_jax.registry import Table
from gan_jax.runs import pictures, samples
from gan_jax.runs.checkpoints import newest_state

METHODS: Table[dict[str, Any]] = Table(
    'method',
    {
        'gan': {'mismatch_weight': 0.0, 'interpolation_weight': 0.0},
        'cls': {'mismatch_weight': 0.5, 'interpolation_weight': 0.0},
        'int': {'mismatch_weight': 0.0, 'interpolation_weight': 1.0},
        'cls_int': {'mismatch_weight': 0.5, 'interpolation_weight': 1.0},
    },
)
ENCODER = 'encoder.npz'
_SAID = 1000
"""Training captions that the saved generator knows."""


@dataclasses.dataclass(frozen=True)
class Config(runs.GameOptions):
    """A generator of images from captions."""

    name: str = 'text_to_image'
    say: tuple[str, ...] = ()
    """Draw these captions by the trained --run, and do nothing else."""
    run: Text | None = None
    """The directory of a trained run, for --say."""
    data: Text = 'captioned_digits'
    """'captioned_digits' (offline), a folder of images with a CSV of captions, or caltech_birds2011 or oxford_flowers102."""
    captions: Text | None = None
    """Of a folder: the CSV in it, captions.csv if it is not given. Of a TFDS data set: the folder of its captions, a text
    file for each image."""
    digits: Text = 'digits'
    """What captioned digits are made of: 'digits' (offline), or mnist."""
    scenes: Samples = 20_000
    """How many captioned digits there are to learn from."""
    held_out: Count = 50
    """Labels that are not learned from: images of a folder, classes of a TFDS data set."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    skip_broken: bool = False
    """Leave out the images of a folder that cannot be read, with their captions, and count them."""
    size: Side | None = None
    """Height and width, 4 * 2^n; 64 if it is not given. Captioned digits are of 32."""
    method: str = 'cls'
    """gan (plain conditional), cls (matching-aware), int (interpolated), or cls_int."""
    encoder: str = 'joint'
    """joint (learned together with features of the images, first), bag_of_words, or a file of vectors FILE.npz."""
    encoder_size: Width = 128
    """Of the vectors of a joint encoder."""
    encoder_steps: Count = 1500
    mismatches: str | None = None
    """The false captions of cls and cls_int: any (another image's, the paper's), or near (true but for one attribute), which only
    captioned digits have, by default. Another image's caption is rarely false by the digit alone."""
    averaged: Annotated[int, Range(1, 1000)] = 1
    """How many of an image's captions a step averages into one vector, drawn anew; the authors have 4."""
    steps: Count = 12_000
    batch_size: BatchSize = 16
    """Few images learn faster from many small steps; the paper has 64."""
    width: Width = 32
    """Of the generator: channels at half the image's size, doubled at each halving. The paper's has 128."""
    d_width: Width = 32
    """Of the discriminator; the paper's has 64."""
    text_features: Width = 128
    """What each player makes of a caption's vector."""
    latent_size: Width = 32
    """The paper's is 100."""
    penalties: tuple[str, ...] = ('r1:gamma=0.3',)
    """Any of r1, r2, roth, wgan_gp, dragan. R1 keeps D from winning at once; the paper has none."""
    optimizers: str = 'adam:learning_rate=5e-4,beta1=0,beta2=0.99,discriminator_rate=1e-3'
    """Both players', by paper: adam (whose default is the paper's 2e-4), wgan, wgan_gp, ttur. Without momentum and
    with a slower G strokes change less from step to step, and G's average is sharper."""
    decay: Share = 0.1
    """The learning rates' value at the last step, as a share of the first; a cosine in between, and 1 for none."""
    d_norm: str = 'none'
    """The paper's is batch; with none each image is judged by itself."""
    g_norm: str = 'batch'
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """What the layers compute in; parameters, logits and losses are float32."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """What splits a batch over several devices."""
    evaluate: Samples = 2000
    """Captions in the end table, as many of seen as of unseen combinations."""
    sample_every: Count = 500
    checkpoint_every: Count = 2000

    free: ClassVar[tuple[str, ...]] = ('evaluate', 'sample_every', 'checkpoint_every')

    @property
    def on_digits(self) -> bool:
        return self.data == 'captioned_digits'

    @property
    def near(self) -> bool:
        """Whether false captions are nearly true."""
        return self.mismatches != 'any' and self.on_digits and METHODS[self.method]['mismatch_weight'] > 0

    @property
    def image_size(self) -> int:
        return scenes.CANVAS if self.on_digits else self.size or 64

    def network(self, axis_name: str | None) -> networks.TextGenerator:
        """The generator."""
        dtype = jnp.dtype(self.dtype)
        return networks.TextGenerator(self.image_size, 3, self.width, self.text_features, dtype, axis_name, self.g_norm)

    def generator(self, captions: list[str]) -> runs.Generator:
        """How the trained generator is drawn from: images of these captions, each as often."""
        network = self.network(None)
        vectors = jnp.asarray(text.load(pathlib.Path(self.runs_dir) / self.name / ENCODER).encode(captions))
        generate = lambda weights, z, which: apply_network(network, weights, z, vectors[which], train=False)[0]
        shares = (1 / len(captions),) * len(captions)
        return runs.Generator(latents.normal(self.latent_size), generate, tuple(captions), shares)

    def identity(self) -> dict[str, Any]:
        return {name: value for name, value in super().identity().items() if name not in ('say', 'run')}


def main(config: Config) -> dict[str, Any] | pathlib.Path:
    """Trains, draws and evaluates, and returns the end table's figures; or draws what it is told to say, and returns the file."""
    if config.say or config.run:
        return say(config)
    check(config)
    train, unseen = load(config)
    encoder = fixed_encoder(config, train)
    vectors = encoder and caption_vectors.caption_vectors(encoder, train)
    game, step, init = build(config, encoder.size if encoder else config.encoder_size)
    init = runs.first_state(init, config.init_from, resume=config.resume)
    run = runs.RunDirectory(config)  # once nothing more can be refused
    if encoder is None:
        encoder = learned_encoder(config, run, train)
    text.save(run.path / ENCODER, encoder)
    captions = list(dict.fromkeys(texts[0] for texts in train.captions))[:_SAID]
    runs.describe(run, config, captions=captions)
    caption_vectors.tell_unknown(encoder, [caption for captions in unseen.captions for caption in captions])
    runner, axis_name = parallel.choose(config.runner)
    arrays = {
        'image': train.images,
        'label': train.labels,
        **(vectors or caption_vectors.caption_vectors(encoder, train)),
    }
    feed = data.resident(
        arrays,
        config.batch_size,
        seed=config.seed,
        minibatches=config.minibatches,
        transform=lambda example, key: caption_vectors.one_text(example, key, config.averaged),
        axis_name=axis_name,
    )
    draw = drawer(game, encoder)
    grid_key, table_key = jax.random.split(jax.random.key(config.seed + 1))
    state = runs.fit(
        runs.resident_trainer(step, feed, runner),
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * config.minibatches,
        checkpoint_every=config.checkpoint_every,
        callbacks=[report.samples_of(run, draw, train, unseen, grid_key, every=config.sample_every)],
    )
    runs.save_generator(run, config.generator(captions), state)
    samples.animate(run)
    results = {}
    if config.on_digits:
        results = report.share_right(
            lambda captions, key: draw(state, captions, key),
            config.digits,
            config.evaluate,
            table_key,
            seed=config.seed + 1,
            data_dir=config.data_dir,
            title=f'{config.method} after {config.steps} steps, {config.evaluate} captions of each kind',
        )
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures {run.path}/samples.png, samples.gif, losses.png; numbers {run.path}/results.json')
    print(f'your own: python -m experiments.text_to_image --run {run.path} --say "{train.captions[0][0]}"')
    return results


def check(config: Config) -> None:
    """Refuses what cannot work, before anything is loaded or written."""
    config.check()
    nothing: Any = None  # a game is made of its networks only when it is initialised
    config.game(nothing, nothing, nothing, rules=rules(config))
    if config.on_digits and config.size not in (None, scenes.CANVAS):
        raise InputError(f'captioned digits are of {scenes.CANVAS} pixels, not {config.size}')
    if config.mismatches not in (None, 'any', 'near') or (config.mismatches == 'near' and not config.on_digits):
        known = 'any, near' if config.on_digits else 'any: only captioned digits have near ones'
        raise InputError(f'unknown mismatches {config.mismatches!r}; known: {known}')
    if config.mismatches and not METHODS[config.method]['mismatch_weight']:
        raise InputError(f'--mismatches is of cls and cls_int, not of {config.method}')
    halvings(config.image_size)
    parallel.check_divisible(config.batch_size)
    if METHODS[config.method]['interpolation_weight'] and config.batch_size // jax.local_device_count() % 2:
        raise InputError(f'captions are interpolated in pairs: --batch-size {config.batch_size} leaves one without another')
    if config.encoder not in ('joint', 'bag_of_words') and not config.encoder.endswith('.npz'):
        raise InputError(f'unknown encoder {config.encoder!r}; known: joint, bag_of_words, or a file of vectors FILE.npz')


def load(config: Config) -> tuple[data.Captioned, data.Captioned]:
    """What is learned from, and what is held out."""
    if config.on_digits:
        digits = data.load(config.digits, split='train', data_dir=config.data_dir)
        draw = lambda n, **options: data.captioned_scenes(digits, n, seed=config.seed, **options).data
        return draw(config.scenes, wrong=config.near), draw(100, unseen=True)
    if config.data in FILE_NAMES:
        if config.captions is None:
            raise InputError(f'--data {config.data} wants --captions, the folder of its captions')
        source = data.TfdsSource(config.data, 'train', size=config.image_size, data_dir=config.data_dir)
        every = data.captioned_source(source, config.captions, FILE_NAMES[config.data])
    elif data.is_folder(config.data):
        table = config.captions or 'captions.csv'
        every = data.captioned_folder(config.data, config.image_size, captions=table, skip_broken=config.skip_broken)
    else:
        known = ', '.join(('captioned_digits', *FILE_NAMES))
        raise InputError(f'--data {config.data!r} is no folder, and none of {known}')
    labels = np.random.default_rng(config.seed).permutation(np.unique(every.labels))
    if len(labels) <= config.held_out:
        raise InputError(f'--held-out {config.held_out} of {len(labels)} labels leaves nothing to learn from')
    unseen = np.isin(every.labels, labels[: config.held_out])
    count = sum(map(len, every.captions))
    found = f'{len(unseen):,} images with {count:,} captions, of which {unseen.sum():,} images are held out'
    print(f'{config.data}: {found}{left_out(every.broken)}')
    return every.take(np.flatnonzero(~unseen)), every.take(np.flatnonzero(unseen))


def fixed_encoder(config: Config, train: data.Captioned) -> text.TextEncoder | None:
    """An encoder that learns nothing; None if it is one that learns."""
    if config.encoder == 'joint':
        return None
    if config.encoder == 'bag_of_words':
        return text.bag_of_words(caption for captions in train.captions for caption in captions)
    return text.precomputed(config.encoder)


def learned_encoder(config: Config, run: runs.RunDirectory, train: data.Captioned) -> text.TextEncoder:
    """The joint embedding of the training captions and images; that of the run, if it goes on."""
    if run.resume and (run.path / ENCODER).exists():
        return text.load(run.path / ENCODER)
    options: dict[str, Any] = {'features': config.encoder_size, 'steps': config.encoder_steps, 'seed': config.seed}
    return text.joint_embedding(train.images, train.captions, train.labels, min_count=1 if config.on_digits else 2, **options)


def rules(config: Config) -> Callable[..., gan_jax.Game]:
    """The game of the method."""
    return functools.partial(games.text_to_image, **METHODS[config.method])


def build(config: Config, text_size: int) -> tuple[gan_jax.Game, Any, gan_jax.TrainState]:
    """The game, its train step, and the state it starts from, for vectors of this size."""
    _, axis_name = parallel.choose(config.runner)
    size, n = config.image_size, config.batch_size // jax.local_device_count()
    texts = dict.fromkeys(('text', 'mismatched'), (n, text_size))
    shapes = {'image': (n, size, size, 3), **texts, 'label': (n,)}
    runs.check_fit(
        make_game(config, None), {name: jnp.zeros(shape, int if name == 'label' else float) for name, shape in shapes.items()}
    )
    game = make_game(config, axis_name)
    step, players = config.train_step(game, axis_name=axis_name), config.players()
    example = {
        'image': jnp.zeros((1, size, size, 3)),
        'text': jax.random.normal(jax.random.key(0), (64, text_size)),
        'label': jnp.zeros(1, jnp.int32),
    }
    init = compilation.jit(lambda key: gan_jax.init(game, players.generator, players.discriminator, example, key))
    return game, step, init(jax.random.key(config.seed))


def make_game(config: Config, axis_name: str | None) -> gan_jax.Game:
    """The game of the method."""
    dtype = jnp.dtype(config.dtype)
    discriminator = networks.TextDiscriminator(config.d_width, config.text_features, dtype, axis_name, config.d_norm)
    return config.game(config.network(axis_name), discriminator, latents.normal(config.latent_size), axis_name, rules(config))


def drawer(game: gan_jax.Game, encoder: text.TextEncoder) -> report.Draw:
    """`(state, captions, key) -> uint8 images [captions, h, w, c]`, in blocks."""
    block = compilation.jit(lambda state, texts, key: gan_jax.sample(game, state, {'text': texts}, key).image)

    def draw(state: gan_jax.TrainState, captions: list[str], key: jax.Array) -> np.ndarray:
        vectors = encoder.encode(captions)
        keys = jax.random.split(key, -(-len(vectors) // 100))
        padded = np.pad(vectors, ((0, -len(vectors) % 100), (0, 0))).reshape(-1, 100, vectors.shape[1])
        parts = [np.asarray(data.to_uint8(block(state, part, key))) for part, key in zip(padded, keys, strict=True)]
        return np.concatenate(parts)[: len(captions)]

    return draw


def say(config: Config) -> pathlib.Path:
    """Draws captions by a trained run, eight samples each."""
    if not (config.say and config.run):
        raise InputError('--say wants a trained --run, and --run something to --say')
    path = pathlib.Path(config.run)
    trained = Config.of_run(path)
    encoder = text.load(path / ENCODER)
    caption_vectors.tell_unknown(encoder, list(config.say))
    vectors = [caption for caption in config.say for _ in range(8)]
    encoder.encode(vectors)  # says what is wrong with a caption before anything is built
    game, _, init = build(trained, encoder.size)
    state = newest_state(path, init)
    images = drawer(game, encoder)(state, vectors, jax.random.key(config.seed))
    sheet = report.figure(config.say, images.reshape(len(config.say), 8, *images.shape[1:]))
    name = re.sub(r'\W+', '_', config.say[0]).strip('_')[:60]
    file = path / 'said' / f'{name}.png'
    pictures.save_figure(file, sheet)
    print(f'drawn by {path} at step {int(state.step)}: {file}')
    return file


if __name__ == '__main__':
    runs.run_main(main, Config)
