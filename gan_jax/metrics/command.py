"""Scores generated images against real ones from the command line.

    python -m gan_jax.metrics REAL FAKE --protocol fid50k_full is50k
    python -m gan_jax.metrics mnist:test runs/dcgan runs/wgan_gp --extractor classifier:dataset=mnist --seeds 5
    python -m gan_jax.metrics photos/ samples.npz --extractor pixels --measures frechet kernel --save-reference photos.npz
    python -m gan_jax.metrics --reference photos.npz samples.npz --extractor pixels --measures frechet kernel
    python -m gan_jax.metrics --list

REAL and FAKE are folders of images, `.npz` or `.npy` files of images, run directories, `digits`, or TFDS names. `NAME:SPLIT` is a
split of a data set, or of a folder that contains the folders `train` and `test`. If all images of a folder are in sub-folders,
these are its classes. REAL may also be a file of statistics: one that `--save-reference` has written, or an `.npz` file of `mu`
and `sigma`. Images that differ in size or channels cannot be compared; `--resize` and `--channels` convert them to a common form.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import tyro

from gan_jax.errors import InputError
from gan_jax.metrics import sources
from gan_jax.metrics.catalogue import listing
from gan_jax.metrics.extractors import EXTRACTORS, Extractor
from gan_jax.metrics.imagesets import image_set, reference_statistics
from gan_jax.metrics.measures import HELD_OUT, MEASURES
from gan_jax.metrics.protocols import PROTOCOLS, Protocol, Score, evaluate_each, groups
from gan_jax.metrics.reporting import over_seeds, report
from gan_jax.metrics.statistics import Statistics, is_statistics, load_statistics, save_statistics
from gan_jax.ranges import BatchSize, Checked, Compared, DataDir, FileToWrite, Names, Seed, SeedCount, Side, Text, check_seeds
from gan_jax.registry import build


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Scores of generated images against real ones."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar='REAL FAKE [FAKE ...]')] = ()
    """REAL: a folder of images, an .npz file of images or of statistics, a data set (NAME or NAME:SPLIT), or a run directory; not
    with --reference. FAKE: a folder of images, an .npz file of images, a run directory, or a data set. Several are scored in one
    table."""
    reference: Text | None = None
    """A file of statistics in place of REAL, written by --save-reference or, as mu and sigma, by TTUR or pytorch-fid."""
    save_reference: Annotated[str, FileToWrite()] | None = None
    """Write what the measures require of REAL to this .npz file, with a record of the images and the extractor. FAKE may
    then be left out."""
    protocol: Names = ()
    """Protocols to compute, by name. Each fixes the features, the numbers of images, the split and the resize: fid50k_full,
    fid50k_full_clean, fid10k_test, fid5k, fid_infinity50k, sfid50k_full, mind5k, is50k, is_infinity50k, kid50k_full, kid100x1000,
    pr50k3, prdc10k5, clipped10k5."""
    measures: Names = ()
    """Without a protocol: any of frechet, frechet_infinity, kernel:sigma=10, kernel_subsets:subsets=100,size=1000, cmmd,
    monge:directions=1000, prdc:k=5,strict=True, clipped:k=5, vendi:order=1, score:splits=10, score_infinity, intra_class,
    accuracy:steps=N, authenticity, copying and likelihood, computed on --samples images. intra_class and accuracy require images
    with classes, and accuracy those of the test split. The last three look for copies of the train split, and the last two
    require a test split, too. The default is frechet, kernel and prdc."""
    extractor: str | None = None
    """Without a protocol: inception (inception:path=FILE,resize=clean), dinov2_vitl14:weights=FILE (also vitb14, vits14),
    clip_vitb32:weights=FILE, clip_vitl14:weights=FILE, vgg16:weights=FILE, lpips:weights=FILE,linear=FILE,
    classifier:dataset=NAME, squeezenet:path=FILE, pixels, or custom:function=package.module.name. The default is inception."""
    samples: Compared | None = None
    """Without a protocol: the number of images of FAKE. The default is all of them, or 10,000 of a run."""
    reals: Compared | None = None
    """Without a protocol: the number of images of REAL. The default is all of them."""
    split: Text | None = None
    """Without a protocol: the split to use if the name of a data set, or of a folder of splits, does not specify one. The default
    is train."""
    resize: Side | None = None
    """Before anything else, crop images to their central square and resize it to this height and width."""
    channels: Literal[1, 3] | None = None
    """Convert all images to grey (1) or RGB (3). By default they are left unchanged."""
    skip_broken: bool = False
    """Skip unreadable images and report how many were skipped."""
    batch_size: BatchSize = 64
    seed: Seed = 0
    """Seed of the samples of a run, and of the choice of images when more are available than requested."""
    seeds: SeedCount = 1
    """Draw the samples of runs with this many seeds, counted from --seed, and show the mean and half of its 95 % interval."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets, including those that extractors use. The default is TFDS_DATA_DIR."""
    json: Annotated[str, FileToWrite()] | None = None
    """Write the scores to this file as JSON, or, if it is -, to standard output instead of the table."""
    list: bool = False
    """List every protocol and measure with what it fixes, and do nothing else."""

    @property
    def real(self) -> str:
        """REAL; empty with a file in its place."""
        return '' if self.reference is not None else self.images[0]

    @property
    def fakes(self) -> tuple[str, ...]:
        """FAKE ..."""
        return self.images if self.reference is not None else self.images[1:]


def main(config: Config) -> list[Score]:
    """Computes, prints and saves the scores; returns those of all sets of generated images. Raises `InputError` for bad input."""
    if config.list:
        print(listing())
        return []
    check_images(config)
    file = config.reference or (config.real if is_statistics(config.real) else None)
    given = load_statistics(file) if file else None
    protocols = chosen(config, given)
    check_flags(config, given)
    reals: list[sources.OpenedImages] = []

    def opened(text: str, split: str) -> sources.OpenedImages:
        form: Any = {name: getattr(config, name) for name in ('channels', 'data_dir', 'skip_broken', 'seed')}
        return sources.open_source(text, split=split, size=config.resize, **form)

    @functools.cache
    def real(split: str) -> sources.OpenedImages:
        check_split(config)
        text = config.real
        if split == HELD_OUT and any(protocol.measure.held_out for protocol in protocols.values()):
            # The split that REAL names is the one that the measure is defined on.
            text = text if pathlib.Path(text).exists() else sources.named_split(text)[0]
        reals.append(opened(text, split))
        return reals[-1]

    fakes = [opened(text, 'test') for text in config.fakes]
    samples = [each for source in fakes for each in of_seeds(source, config)]
    extractors, notes = extractors_of(config), [*notes_of(given), *notes_of_changes(config)]
    if config.save_reference:
        given = save_reference(config, protocols, real, extractors)
        protocols = chosen(config, given)
        told = f'{given.name} has the {given.contents} of {reals[-1].name}'
        notes = [told, *notes]
        if not fakes:
            print(told)
            return []
    scores = scored(config, protocols, real, samples, extractors, given)
    each = [over_seeds(fake, scores[i * config.seeds : (i + 1) * config.seeds]) for i, fake in enumerate(fakes)]
    report(each, config.json, reals, notes)
    return [score for found in each for score in found.scores]


def scored(
    config: Config,
    protocols: dict[str, Protocol],
    real: Callable[[str], sources.OpenedImages],
    fakes: Sequence[sources.OpenedImages],
    extractors: Callable[[str], Extractor],
    given: Statistics | None = None,
) -> list[list[Score]]:
    """Scores each set of generated images against real images, or against statistics if there are any.

    Raises `InputError` as `evaluate` does.

    Args:
        config: the options of the command.
        protocols: what `chosen` returns.
        real: opens the real images of a split. It is not called if there are statistics.
        fakes: the sets of generated images.
        extractors: what `extractors_of` returns.
        given: statistics of the real images.
    """
    form: Any = {'seed': config.seed, 'resize': config.resize}
    reference = functools.cache(lambda split: given or image_set(real(split), **form))
    sets = [image_set(fake, **form) for fake in fakes]
    return evaluate_each(protocols, reference, sets, extractors=extractors, batch_size=config.batch_size)


def extractors_of(config: Config, **context: Any) -> Callable[[str], Extractor]:
    """A function that builds each extractor once, with settings of the command in addition to those in its text."""
    return functools.cache(lambda text: build(EXTRACTORS, text, data_dir=config.data_dir, **context))


def save_reference(
    config: Config,
    protocols: dict[str, Protocol],
    real: Callable[[str], sources.OpenedImages],
    extractors: Callable[[str], Extractor],
) -> Statistics:
    """Writes what the protocols require of real images to a file, and returns it.

    Raises `InputError` unless all of them require the same images and the same extractor, and for those that require more than
    moments, features and labels.

    Args:
        config: the options of the command, of which `save_reference` names the file.
        protocols: what `chosen` returns.
        real: opens the real images of a split.
        extractors: what `extractors_of` returns.
    """
    members = {name: protocol for name, protocol in protocols.items() if protocol.measure.real}
    alike = {key[:3] for key in groups(members)}
    names = ', '.join(protocols)
    if not members:
        raise InputError(f'{names} compares with no real images, so --save-reference has nothing to write')
    if len(alike) > 1:
        raise InputError(f'--save-reference writes one file, but {names} differ in the extractor, split or number of real images')
    if more := [name for name, protocol in members.items() if protocol.measure.held_out or protocol.measure.real == 'images']:
        raise InputError(f'{more[0]} requires images, which --save-reference does not keep')
    ((text, split, count),) = alike
    found = reference_statistics(
        extractors(text),
        image_set(real(split), seed=config.seed, resize=config.resize),
        {protocol.measure.real for protocol in members.values() if protocol.measure.real},
        labelled=any(protocol.measure.labelled for protocol in members.values()),
        count=count,
        batch_size=config.batch_size,
    )
    assert config.save_reference is not None
    save_statistics(config.save_reference, found)
    return found._replace(name=config.save_reference)


def check_images(config: Config) -> None:
    """Raises `InputError` unless REAL, or a file in its place, and a FAKE are given, which may be missing if REAL is saved."""
    least = 1 if config.reference is not None or config.save_reference else 2
    if len(config.images) < least:
        raise InputError(
            'REAL and at least one FAKE are required: REAL FAKE [FAKE ...], --reference FILE FAKE [FAKE ...], or '
            'REAL --save-reference FILE'
        )
    for i, text in enumerate(config.images):
        if not text.strip():
            raise InputError(f'{"FAKE" if i or config.reference is not None else "REAL"} is empty')


def check_flags(config: Config, given: Statistics | None) -> None:
    """Raises `InputError` for flags that would be ignored."""
    if given:
        for name in ('reals', 'split', 'save_reference'):
            if getattr(config, name):
                raise InputError(
                    f'--{name.replace("_", "-")} cannot be combined with statistics: {given.name} fixes the real images'
                )
        return
    if not config.fakes:
        for name, ignored in (('json', config.json), ('samples', config.samples), ('seeds', config.seeds > 1)):
            if ignored:
                raise InputError(f'--{name} concerns the scores of FAKE, and --save-reference without FAKE has none; omit it')
    asked = '' if pathlib.Path(config.real).exists() else sources.named_split(config.real)[1]
    if config.split and asked not in ('', config.split):
        raise InputError(f'{config.real} names the split {asked!r}, and --split the split {config.split!r}; omit one of them')
    if config.split and not sources.has_splits(config.real, config.data_dir):
        raise InputError(f'{config.real} has no splits of which --split {config.split} could be one; omit it')


def check_split(config: Config) -> None:
    """Raises `InputError` if REAL names a split other than the one on which the protocols or measures are defined."""
    asked = '' if pathlib.Path(config.real).exists() else sources.named_split(config.real)[1]
    splits: dict[str, str | None] = {name: PROTOCOLS[name].split for name in config.protocol}
    splits |= {text: build(MEASURES, text).split for text in config.measures}
    for text, split in splits.items():
        if split and asked not in ('', split):
            raise InputError(f'{text} is defined on the split {split!r}, not {asked!r}')


def chosen(config: Config, given: Statistics | None = None) -> dict[str, Protocol]:
    """The protocols requested by name, or one for each measure, built from the other flags or of the images of statistics.

    Raises `InputError` if both are given, or if a name is unknown.
    """
    if config.protocol:
        free = ('measures', 'extractor', 'samples', 'reals', 'split')
        flags = [f'--{name}' for name in free if getattr(config, name)]
        if flags:
            raise InputError(f'a protocol fixes what {" and ".join(flags)} would change: omit one or the other')
        return {name: PROTOCOLS[name] for name in config.protocol}
    extractor = config.extractor or 'inception'
    EXTRACTORS[extractor.partition(':')[0]]
    reals, split = config.reals, config.split or 'train'
    if given and given.origin:
        reals, split = given.origin.size, given.origin.split or split
    return {
        text: Protocol(build(MEASURES, text), config.samples, reals, split, extractor)
        for text in config.measures or ('frechet', 'kernel', 'prdc')
    }


def of_seeds(source: sources.OpenedImages, config: Config) -> list[sources.OpenedImages]:
    """The samples of each seed. Raises `InputError` for several seeds of fixed images."""
    if config.seeds == 1:
        return [source]
    if source.by_seed is None:
        raise InputError(f'--seeds draws the samples of a run anew, but the images of {source.name} are fixed')
    check_seeds(config.seed, config.seeds)
    return [source.by_seed(config.seed + i) for i in range(config.seeds)]


def notes_of_changes(config: Config) -> list[str]:
    """A remark on protocols that see other images than their names say."""
    changes = [f'resized to {config.resize} pixels'] if config.resize else []
    changes += [f'converted to {config.channels} channels'] if config.channels else []
    return [f'images were {" and ".join(changes)} before the protocol'] if changes and config.protocol else []


def notes_of(given: Statistics | None) -> list[str]:
    """A remark on statistics without a record of their images."""
    if given is None or given.origin:
        return []
    return [
        f'{given.name} does not state which images and features it was computed from; only the number of features was checked'
    ]
