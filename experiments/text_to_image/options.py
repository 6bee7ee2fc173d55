"""The options of text to image, and what does not go together."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp

import gan_jax
from gan_jax import games, latents, networks, placement, runs, text
from gan_jax.data import captioned_digits as scenes
from gan_jax.errors import InputError
from gan_jax.games.judgement import apply_network
from gan_jax.networks.text_to_image import halvings
from gan_jax.ranges import BatchSize, Compared, Count, DataDir, Range, Samples, Side, Text, Width, refuse_given
from gan_jax.registry import Table

METHODS: Table[dict[str, Any]] = Table(
    'method',
    {
        'gan': {'mismatch_weight': 0.0, 'interpolation_weight': 0.0},
        'cls': {'mismatch_weight': 0.5, 'interpolation_weight': 0.0},
        'int': {'mismatch_weight': 0.0, 'interpolation_weight': 1.0},
        'cls_int': {'mismatch_weight': 0.5, 'interpolation_weight': 1.0},
    },
)
"""Name -> weights of the losses on mismatched and on interpolated captions."""
ENCODER = 'encoder.npz'


@dataclasses.dataclass(frozen=True)
class CaptionOptions(runs.GameOptions):
    """A generator of images from captions, with an encoder of the captions."""

    name: str = 'text_to_image'
    data: Text = 'captioned_digits'
    """'captioned_digits' (offline), a folder of images with a CSV of captions, or caltech_birds2011 or oxford_flowers102."""
    captions: Text | None = None
    """For a folder, the CSV file in it; by default captions.csv. For a TFDS data set, the folder of its captions, with one text
    file per image."""
    digits: Text = 'digits'
    """Digits of the captioned digits: 'digits' (offline) or mnist."""
    scenes: Samples = 20_000
    """Number of captioned digits to train on."""
    held_out: Count = 50
    """Number of labels held out of training: images of a folder, classes of a TFDS data set."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    skip_broken: bool = False
    """Leave out unreadable images of a folder, with their captions, and report their number."""
    size: Side | None = None
    """Height and width, 4 * 2^n; by default 64. Captioned digits have 32."""
    method: str = 'cls'
    """gan (plain conditional), cls (matching-aware), int (interpolated) or cls_int."""
    encoder: str = 'joint'
    """joint (first trained together with features of the images), bag_of_words, or a file of vectors FILE.npz."""
    encoder_size: Width = 128
    """Size of the vectors of a joint encoder."""
    encoder_steps: Count = 1500
    """Training steps of a joint encoder."""
    mismatches: str | None = None
    """False captions of cls and cls_int: any (another image's, as in the paper) or near (true except for one attribute). The
    default is near for captioned digits, where another image's caption is rarely false in the digit alone; other data support
    only any."""
    averaged: Annotated[int, Range(1, 1000)] = 1
    """Number of an image's captions that a step averages into one vector, drawn anew each time; the authors have 4."""
    steps: Count = 12_000
    batch_size: BatchSize = 16
    """Real examples in a minibatch. Few images are learned faster in many small steps; the paper has 64."""
    width: Width = 32
    """Channels of the generator at half the image's size, doubled at each halving; the paper has 128."""
    d_width: Width = 32
    """The same for the discriminator; the paper has 64."""
    text_features: Width = 128
    """Features that each player extracts from a caption's vector."""
    latent_size: Width = 32
    """Size of the latents, which are standard normal; the paper has 100."""
    penalties: tuple[str, ...] = ('r1:gamma=0.3',)
    """Any of r1, r2, roth, wgan_gp, dragan. R1 keeps D from winning early; the paper has no penalty."""
    optimizers: str = 'adam:learning_rate=5e-4,beta1=0,beta2=0.99,discriminator_rate=1e-3'
    """Optimizers of both players, by paper: adam (whose default is the paper's 2e-4), wgan, wgan_gp, ttur. Without momentum and
    with a slower G, strokes change less from step to step, and G's average is sharper."""
    schedule: str = 'cosine:end=0.1'
    d_norm: str = 'none'
    """Normalization in D. The paper has batch; with none, each image is judged independently."""
    g_norm: str = 'batch'
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """Dtype of the layers' computations; parameters, logits and losses are float32."""
    samples: Compared = 2000
    """Captions in the end table, for seen and for unseen combinations each."""
    sample_every: Count = 500

    renamed: ClassVar[dict[str, str]] = runs.GameOptions.renamed | {
        '--say': 'python -m experiments.text_to_image.say RUN CAPTION ...',
        '--run': 'python -m experiments.text_to_image.say RUN CAPTION ...',
    }

    @property
    def on_digits(self) -> bool:
        """Whether the data are captioned digits."""
        return self.data == 'captioned_digits'

    @property
    def near(self) -> bool:
        """Whether false captions are nearly true."""
        return self.mismatches != 'any' and self.on_digits and METHODS[self.method]['mismatch_weight'] > 0

    @property
    def image_size(self) -> int:
        """Height and width of the images."""
        return scenes.CANVAS if self.on_digits else self.size or 64

    @property
    def encoder_file(self) -> pathlib.Path:
        """The file of the run's encoder."""
        return pathlib.Path(self.runs_dir) / self.name / ENCODER

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        super().check()
        nothing: Any = None  # a game uses its networks only when it is initialised
        self.game(nothing, nothing, nothing, rules=self.matching())
        if self.on_digits and self.size not in (None, scenes.CANVAS):
            raise InputError(f'captioned digits have {scenes.CANVAS} pixels, not {self.size}')
        if self.mismatches not in (None, 'any', 'near') or (self.mismatches == 'near' and not self.on_digits):
            known = 'any, near' if self.on_digits else 'any (near requires captioned digits)'
            raise InputError(f'unknown mismatches {self.mismatches!r}; known: {known}')
        if self.mismatches and not METHODS[self.method]['mismatch_weight']:
            raise InputError(f'--mismatches applies to cls and cls_int, not to {self.method}')
        if self.score_every and not self.on_digits:
            raise InputError('--score-every requires captioned digits, whose digits a classifier learns')
        if self.on_digits:
            of_others = 'applies to a folder or a TFDS name, not to captioned digits'
            refuse_given(self, 'captions', 'skip_broken', 'held_out', because=of_others)
        else:
            refuse_given(self, 'digits', 'scenes', because=f'applies to captioned digits, not to --data {self.data}')
        if self.encoder != 'joint':
            refuse_given(self, 'encoder_size', 'encoder_steps', because=f'applies to the joint encoder, not to {self.encoder}')
        if self.minibatch != 'none':
            raise InputError('the discriminator of images and captions has no --minibatch layer')
        halvings(self.image_size)
        share = self.batch_size // (len(placement.all_devices()) if self.seeds == 1 else 1)
        if METHODS[self.method]['interpolation_weight'] and share % 2:
            raise InputError(f'captions are interpolated in pairs; --batch-size {self.batch_size} leaves one without a partner')
        if self.encoder not in ('joint', 'bag_of_words') and not self.encoder.endswith('.npz'):
            raise InputError(f'unknown encoder {self.encoder!r}; known: joint, bag_of_words, or a file of vectors FILE.npz')

    def matching(self) -> Callable[..., gan_jax.Game]:
        """The game of the method."""
        return functools.partial(games.text_to_image, **METHODS[self.method])

    def make_game(self) -> gan_jax.Game:
        """The game of these options. Raises `InputError`."""
        dtype = jnp.dtype(self.dtype)
        discriminator = networks.TextDiscriminator(self.d_width, self.text_features, dtype, self.d_norm)
        return self.game(self.network(), discriminator, latents.normal(self.latent_size), self.matching())

    def network(self) -> networks.TextGenerator:
        """The generator."""
        dtype = jnp.dtype(self.dtype)
        return networks.TextGenerator(self.image_size, 3, self.width, self.text_features, dtype, self.g_norm)

    def generator(self, captions: list[str], encoder: text.TextEncoder | None = None) -> runs.Generator:
        """How to draw from the trained generator: images of these captions, equally often, by the run's encoder."""
        network, encoder = self.network(), encoder or text.load(self.encoder_file)
        vectors = jnp.asarray(encoder.encode(captions))
        generate = lambda weights, z, which: apply_network(network, weights, z, vectors[which], train=False)[0]
        shares = (1 / len(captions),) * len(captions)
        return runs.Generator(latents.normal(self.latent_size), generate, tuple(captions), shares)
