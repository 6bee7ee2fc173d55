"""Downloads or converts the weights of the Inception network.

python -m gan_jax.metrics.inception download
python -m gan_jax.metrics.inception convert pt_inception-2015-12-05-6726825d.pth
"""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from gan_jax.commandline import run
from gan_jax.errors import InputError
from gan_jax.metrics.extractors.inception import weights


@dataclasses.dataclass(frozen=True)
class Download:
    """Download the weights, verify their sha256, convert them and keep them."""

    url: str = weights.PYTORCH.url
    """URL of the PyTorch release. The sha256 of the file must be the published one."""
    to: str | None = None
    """Write the converted weights to this .safetensors file; by default, to where the metrics look for them."""


@dataclasses.dataclass(frozen=True)
class Convert:
    """Verify the sha256 of a local file, convert it and keep the result."""

    file: Annotated[str, tyro.conf.Positional]
    """The PyTorch release (.pth), or previously converted weights (.safetensors)."""
    to: str | None = None
    """Write the converted weights to this .safetensors file; by default, to where the metrics look for them."""


def main(config: Download | Convert) -> None:
    """Reads the weights from the source that the command names, and writes them in converted form.

    Raises `InputError` if they cannot be read, verified or written.
    """
    if isinstance(config, Download):
        print(f'{config.url}, sha256 {weights.PYTORCH.sha256}')
        arrays, digest = weights.read(weights.download(config.url), config.url)
    else:
        arrays, digest = weights.read_file(config.file)
    path = pathlib.Path(config.to) if config.to else weights.kept()
    try:
        weights.save(path, arrays, digest)
    except OSError as error:
        raise InputError(f'cannot write {path}: {error}') from error
    print(f'sha256 {digest} verified; converted to {path}')


if __name__ == '__main__':
    run(main, Download | Convert)  # type: ignore[arg-type]
