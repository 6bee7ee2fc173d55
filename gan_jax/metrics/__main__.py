"""Scores of generated images against real ones, from the command line.

    python -m gan_jax.metrics REAL FAKE --protocol fid50k_full is50k
    python -m gan_jax.metrics mnist:test runs/dcgan --extractor classifier:dataset=mnist
    python -m gan_jax.metrics photos/ samples.npz --extractor pixels --measures frechet kernel

REAL and FAKE are folders of images, `.npz` or `.npy` files of images, run directories, `digits`, or TFDS names. `NAME:SPLIT` is a
split of a data set, or of a folder with folders `train` and `test`. REAL may be an `.npz` file of statistics (`mu`, `sigma`).
ImageSet of different sizes or channels are not compared: `--resize` and `--channels` make them one.
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
from gan_jax.metrics.moments import FeatureMoments, Gaussian, load
from gan_jax.metrics.protocols import MEASURES, PROTOCOLS, ImageSet, Protocol, Score, evaluate
from gan_jax.ranges import BatchSize, Checked, Compared, DataDir, FileToWrite, Names, Seed, Side, Text
from gan_jax.registry import build


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Scores of generated images against real ones."""

    real: Annotated[Text, tyro.conf.Positional]
    """A folder of images, an .npz file of images or of statistics, a data set (NAME or NAME:SPLIT), or a run."""
    fake: Annotated[Text, tyro.conf.Positional]
    """A folder of images, an .npz file of images, a run directory, or a data set."""
    protocol: Names = ()
    """What to compute, by name; each fixes features, numbers of images, split and resize: fid50k_full, fid50k_full_clean,
    fid10k_test, fid5k, is50k, kid50k_full, kid100x1000, pr50k3, prdc10k5."""
    measures: Names = ()
    """Without a protocol: any of frechet, kernel, kernel_subsets:subsets=100,size=1000, prdc:k=5,strict=True, score:splits=10, on
    --samples images; frechet, kernel and prdc if nothing is asked for."""
    extractor: str | None = None
    """Without a protocol: inception (inception:path=FILE,resize=clean), classifier:dataset=NAME, squeezenet:path=FILE, pixels,
    or custom:function=package.module.name."""
    samples: Compared | None = None
    """Without a protocol: how many of FAKE; all there are, and 10,000 of a run."""
    reals: Compared | None = None
    """Without a protocol: how many of REAL; all there are."""
    split: str = 'train'
    """Without a protocol: the split of a data set that names none."""
    resize: Side | None = None
    """Crop images to their central square and resize it to this height and width, before anything else."""
    channels: Literal[1, 3] | None = None
    """Make all images grey, or RGB; as they are if it is not given."""
    skip_broken: bool = False
    """Leave unreadable images out, and count them."""
    batch_size: BatchSize = 64
    seed: Seed = 0
    """Of the samples of a run, and of which images are drawn where there are more than asked for."""
    data_dir: DataDir | None = None
    """Where TFDS data sets are prepared, those of extractors too; TFDS_DATA_DIR if it is not given."""
    json: Annotated[str, FileToWrite()] | None = None
    """Write the scores to this file, or with - to standard output instead of the table."""


def main(config: Config) -> list[Score]:
    """Scores, prints and writes."""
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
        check_split(config, split)
        return images(config.real, split)

    scores = scored(config, real, images(config.fake, 'test'))
    report(scores, config.json, opened)
    return scores


def scored(
    config: Config, real: Callable[[str], sources.OpenedImages], fake: sources.OpenedImages, **of_extractors: Any
) -> list[Score]:
    """The scores of a source against what `real` opens of a split, or against the statistics that REAL is a file of.

    `of_extractors` are settings that extractors are told beside their own.
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


def check_split(config: Config, split: str) -> None:
    """Raises `InputError` for a protocol that is defined on another split than REAL names."""
    asked = '' if pathlib.Path(config.real).exists() else sources.named_split(config.real)[1]
    if config.protocol and asked not in ('', split):
        raise InputError(f'{", ".join(config.protocol)} is defined on the split {split!r}, not {asked!r}')


def chosen(config: Config) -> dict[str, Protocol]:
    """The protocols asked for by name, or one made of the other flags. Raises `InputError` if both are."""
    if config.protocol:
        free = ('measures', 'extractor', 'samples', 'reals')
        given = [f'--{name}' for name in free if getattr(config, name)]
        if given:
            raise InputError(f'a protocol fixes what {" and ".join(given)} would change: leave out the one or the other')
        return {name: PROTOCOLS[name] for name in config.protocol}
    extractor = config.extractor or 'inception'
    EXTRACTORS[extractor.partition(':')[0]]
    return {
        text: Protocol(build(MEASURES, text), config.samples, config.reals, config.split, extractor)
        for text in config.measures or ('frechet', 'kernel', 'prdc')
    }


def as_images(source: sources.OpenedImages, seed: int) -> ImageSet:
    """A source whose reading shows a progress bar."""

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
    """A table, with the extractors and what there is to say under it, and a JSON file or the JSON alone."""
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
        print(f'features: {name}{"" if name.startswith("inception-2015-12-05") else "; no FID, IS or KID in the usual sense"}')
    if step is not None:
        print(f'the samples are those of step {step}')
    for note in notes:
        print(f'note: {note}')
    if broken:
        print(f'skipped {len(broken)} unreadable images, {broken[0]} the first')
    if file:
        write_whole(pathlib.Path(file), text.encode())


if __name__ == '__main__':
    run(main, Config)
