"""Files: where they are kept, and how they are written."""

import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any) -> None:
    """The same of what JSON has, indented for people."""
    write_whole(path, (json.dumps(value, indent=2) + '\n').encode())


def cache_directory() -> pathlib.Path:
    """Where what is dear to compute is kept (weights, classifiers, reference statistics): GAN_JAX_CACHE, or ~/.cache/gan_jax."""
    return pathlib.Path(os.environ.get('GAN_JAX_CACHE') or pathlib.Path.home() / '.cache' / 'gan_jax')


def fingerprint(*parts: np.ndarray | str) -> str:
    """16 hexadecimal digits that say which arrays (contents, shapes, types) and texts these are."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f'{part.dtype}{part.shape}'.encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(part.encode() + b'\0')
    return digest.hexdigest()[:16]
