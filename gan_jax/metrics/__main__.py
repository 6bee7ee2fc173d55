"""Scores generated images against real ones from the command line.

    python -m gan_jax.metrics REAL FAKE --protocol fid50k_full is50k
    python -m gan_jax.metrics mnist:test runs/dcgan --extractor classifier:dataset=mnist
    python -m gan_jax.metrics photos/ samples.npz --extractor pixels --measures frechet kernel

REAL and FAKE are folders of images, `.npz` or `.npy` files of images, run directories, `digits`, or TFDS names. `NAME:SPLIT` is a
split of a data set, or of a folder that contains the folders `train` and `test`. REAL may also be an `.npz` file of statistics
(`mu`, `sigma`). Images that differ in size or channels cannot be compared; `--resize` and `--channels` convert them to a common
form.
"""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from gan_jax.commandline import run, table
from gan_jax.errors import InputError
from gan_jax.files import array_names, write_whole
from gan_jax.metrics import sources
from gan_jax.metrics.extractors import EXTRACTORS
from gan_jax.metrics.measures import HELD_OUT, MEASURES
from gan_jax.metrics.moments import FeatureMoments, Gaussian, load
from gan_jax.metrics.protocols import PROTOCOLS, ImageSet, Protocol, Score, evaluate
from gan_jax.ranges import BatchSize, Checked, Compared, DataDir, FileToWrite, Names, Seed, Side, Text
from gan_jax.registry import build


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Scores of generated images against real ones."""

    real: Annotated[Text, tyro.conf.Positional]
    """A folder of images, an .npz file of images or of statistics, a data set (NAME or NAME:SPLIT), or a run directory."""
    fake: Annotated[Text, tyro.conf.Positional]
    """A folder of images, an .npz file of images, a run directory, or a data set."""
    protocol: Names = ()
    """Protocols to compute, by name. Each fixes the features, the numbers of images, the split and the resize: fid50k_full,
    fid50k_full_clean, fid10k_test, fid5k, fid_infinity50k, sfid50k_full, mind5k, is50k, is_infinity50k, kid50k_full, kid100x1000,
    pr50k3, prdc10k5, clipped10k5."""
    measures: Names = ()
    """Without a protocol: any of frechet, frechet_infinity, kernel:sigma=10, kernel_subsets:subsets=100,size=1000, cmmd,
    monge:directions=1000, prdc:k=5,strict=True, clipped:k=5, vendi:order=1, score:splits=10, score_infinity, authenticity,
    copying and likelihood, computed on --samples images. The last three look for copies of the train split, and the last two
    require a test split,
    too. The default is frechet, kernel and prdc."""
    extractor: str | None = None
    """Without a protocol: inception (inception:path=FILE,resize=clean), dinov2_vitl14:weights=FILE (also vitb14, vits14),
    clip_vitb32:weights=FILE, clip_vitl14:weights=FILE, vgg16:weights=FILE, lpips:weights=FILE,linear=FILE,
    classifier:dataset=NAME, squeezenet:path=FILE, pixels, or custom:function=package.module.name. The default is inception."""
    samples: Compared | None = None
    """Without a protocol: the number of images of FAKE. The default is all of them, or 10,000 of a run."""
    reals: Compared | None = None
    """Without a protocol: the number of images of REAL. The default is all of them."""
    split: str = 'train'
    """Without a protocol: the split to use if the name of a data set does not specify one."""
    resize: Side | None = None
    """Before anything else, crop images to their central square and resize it to this height and width."""
    channels: Literal[1, 3] | None = None
    """Convert all images to grey (1) or RGB (3). By default they are left unchanged."""
    skip_broken: bool = False
    """Skip unreadable images and report how many were skipped."""
    batch_size: BatchSize = 64
    seed: Seed = 0
    """Seed of the samples of a run, and of the choice of images when more are available than requested."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets, including those that extractors use. The default is TFDS_DATA_DIR."""
    json: Annotated[str, FileToWrite()] | None = None
    """Write the scores to this file as JSON, or, if it is -, to standard output instead of the table."""


def main(config: Config) -> list[Score]:
    """Computes, prints and saves the scores."""
    opened: list[sources.OpenedImages] = []

    def images(text: str, split: str) -> sources.OpenedImages:
        opened.append(
            sources.open_source(
                text,
                split=split,
                size=config.resize,
                channels=config.channels,
                data_dir=config.data_dir,
                skip_broken=config.skip_broken,
                seed=config.seed,
            )
        )
        return opened[-1]

    def real(split: str) -> sources.OpenedImages:
        check_split(config)
        if split == HELD_OUT and any(build(MEASURES, text).held_out for text in config.measures):
            # The split that REAL names is the one that the measure is defined on.
            return images(config.real if pathlib.Path(config.real).exists() else sources.named_split(config.real)[0], split)
        return images(config.real, split)

    scores = scored(config, real, images(config.fake, 'test'))
    report(scores, config.json, opened)
    return scores


def scored(
    config: Config, real: Callable[[str], sources.OpenedImages], fake: sources.OpenedImages, **of_extractors: Any
) -> list[Score]:
    """Scores `fake` against real images, or against statistics if REAL is a file of them.

    Raises `InputError` as `chosen` and `evaluate` do.

    Args:
        config: the options of the command.
        real: opens the real images of a split. It is not called if REAL is a file of statistics.
        fake: the generated images.
        of_extractors: settings that are passed to extractors in addition to those in their text.
    """
    context = {'data_dir': config.data_dir, **of_extractors}

    def reference(split: str) -> ImageSet | FeatureMoments | Gaussian:
        path = pathlib.Path(config.real)
        if path.suffix == '.npz' and 'mu' in array_names(path):
            return load(path)
        return as_images(real(split), config.seed)

    return evaluate(
        chosen(config),
        functools.cache(reference),
        as_images(fake, config.seed),
        extractors=functools.cache(lambda text: build(EXTRACTORS, text, **context)),
        batch_size=config.batch_size,
    )


def check_split(config: Config) -> None:
    """Raises `InputError` if REAL names a split other than the one on which the protocols or measures are defined."""
    asked = '' if pathlib.Path(config.real).exists() else sources.named_split(config.real)[1]
    splits: dict[str, str | None] = {name: PROTOCOLS[name].split for name in config.protocol}
    splits |= {text: build(MEASURES, text).split for text in config.measures}
    for text, split in splits.items():
        if split and asked not in ('', split):
            raise InputError(f'{text} is defined on the split {split!r}, not {asked!r}')


def chosen(config: Config) -> dict[str, Protocol]:
    """The protocols requested by name, or one for each measure, built from the other flags.

    Raises `InputError` if both are given, or if a name is unknown.
    """
    if config.protocol:
        free = ('measures', 'extractor', 'samples', 'reals')
        given = [f'--{name}' for name in free if getattr(config, name)]
        if given:
            raise InputError(f'a protocol fixes what {" and ".join(given)} would change: omit one or the other')
        return {name: PROTOCOLS[name] for name in config.protocol}
    extractor = config.extractor or 'inception'
    EXTRACTORS[extractor.partition(':')[0]]
    return {
        text: Protocol(build(MEASURES, text), config.samples, config.reals, config.split, extractor)
        for text in config.measures or ('frechet', 'kernel', 'prdc')
    }


def as_images(source: sources.OpenedImages, seed: int) -> ImageSet:
    """Converts a source to an `ImageSet` that shows a progress bar while it is read."""

    def batches(count: int | None) -> Iterable[np.ndarray]:
        from tqdm import tqdm

        count = 10_000 if count is None and source.size is None else count
        with tqdm(
            total=count or source.size, unit='image', desc=source.name, mininterval=0.2 if sys.stderr.isatty() else 30
        ) as bar:
            for block in sources.batches(source, count, seed=seed):
                yield block
                bar.update(len(block))

    return ImageSet(source.name, batches, source.shape, source.size)


def report(scores: list[Score], file: str | None, opened: list[sources.OpenedImages]) -> None:
    """Prints a table followed by the extractors and any notes, and writes a JSON file; if `file` is '-', prints only the JSON."""
    broken = [name for source in opened for name in source.broken]
    notes = [source.note for source in opened if source.note]
    step = opened[0].step  # the samples are opened first
    rows = [{**score._asdict(), 'skipped': len(broken), 'step': step} for score in scores]
    text = json.dumps(rows, indent=2) + '\n'
    if file == '-':
        print(text, end='')
        for note in notes:
            print(note, file=sys.stderr)
        return
    lines: list[tuple[Any, ...]] = [('metric', 'value', 'spread', 'spread is', 'protocol', 'real', 'generated')]
    for s in scores:
        spread = ('-', '-') if s.spread is None else (s.spread, s.spread_is)
        lines.append((s.name, s.value, *spread, s.protocol, '-' if s.reals is None else s.reals, s.fakes))
    print(table(lines))
    for name in dict.fromkeys(s.extractor for s in scores):
        print(f'features: {name}{"" if name.startswith("inception-2015-12-05") else "; not FID, IS or KID in the usual sense"}')
    if step is not None:
        print(f'the samples are from step {step}')
    for note in notes:
        print(f'note: {note}')
    if broken:
        print(f'skipped {len(broken)} unreadable images, the first of which is {broken[0]}')
    if file:
        write_whole(pathlib.Path(file), text.encode())


if __name__ == '__main__':
    run(main, Config)
