"""Saving and loading text encoders."""

import io
import os
import pathlib

import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import load_arrays, write_whole
from gan_jax.text.encoders import TextEncoder, bag_of_words_in, precomputed_vectors
from gan_jax.text.joint import joint_from_arrays
from gan_jax.text.words import Vocabulary


def save(file: str | os.PathLike, encoder: TextEncoder) -> None:
    """Writes an encoder to a `.npz` file. Raises `OSError` if the file cannot be written."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **encoder.arrays)
    write_whole(pathlib.Path(file), out.getvalue())


def load(file: str | os.PathLike) -> TextEncoder:
    """Reads an encoder written by `save`. Raises `InputError` if the file does not hold one."""
    arrays = load_arrays(file)
    kind = str(arrays.get('kind'))
    try:
        if kind == 'bag_of_words':
            return bag_of_words_in(Vocabulary(tuple(map(str, arrays['words']))))
        if kind == 'precomputed':
            return precomputed_vectors(arrays['captions'], arrays['vectors'], str(arrays['source']))
        if kind == 'joint':
            return joint_from_arrays(arrays)
    except KeyError as error:
        raise InputError(f'{file} does not hold a text encoder: it lacks the array {error}') from error
    raise InputError(f'{file} does not hold a text encoder')
