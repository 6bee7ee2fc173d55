"""Reads the constants of a TensorFlow graph (`GraphDef`) without TensorFlow.

A protocol buffer is a row of fields: number, wire type, value. The few needed here are numbered as in TensorFlow's
`graph.proto`, `node_def.proto`, `attr_value.proto`, `tensor.proto` and `tensor_shape.proto`.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan_jax.errors import InputError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH_NODE = 1
_NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 5
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_TENSOR = 8
_TENSOR_TYPE, _TENSOR_SHAPE, _TENSOR_CONTENT, _TENSOR_FLOATS = 1, 2, 4, 5
_SHAPE_DIMENSION, _DIMENSION_SIZE = 2, 1
_FLOAT = 1


def read_constants(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The float32 constants of a graph by the names of their nodes.

    `name` is what messages call the file. Raises `InputError` for a file that is damaged or no graph.
    """
    try:
        nodes = (_node(value) for number, value in _fields(memoryview(data)) if number == _GRAPH_NODE)
        arrays = ((node, _array(tensor)) for node, tensor in nodes if tensor is not None)
        return {node: array for node, array in arrays if array is not None}
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f'cannot read {name} as a TensorFlow graph: {error}') from error


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: integers as such, strings and messages as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f'no field begins at byte {at}')
        if at + size > len(data):
            raise ValueError(f'a field is of {size} bytes and {len(data) - at} are left: the file is truncated or damaged')
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The integer that begins at a byte, seven bits to a byte and the lowest first; and where the next value begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError(f'an integer of more than 64 bits ends at byte {at}')


def _node(data: memoryview) -> tuple[str, memoryview | None]:
    """A node's name, and the tensor it holds if it is a constant."""
    name, constant, tensor = '', False, None
    for number, value in _fields(data):
        if number == _NODE_NAME:
            name = bytes(value).decode()
        elif number == _NODE_OP:
            constant = value == b'Const'
        elif number == _NODE_ATTRIBUTE:
            entry = dict(_fields(value))
            if entry.get(_ENTRY_KEY) == b'value':
                tensor = dict(_fields(entry[_ENTRY_VALUE])).get(_VALUE_TENSOR)
    return name, tensor if constant else None


def _array(tensor: memoryview) -> np.ndarray | None:
    """A float32 tensor; its numbers are one block of bytes, or a list of which the last fills the rest of the shape."""
    fields = dict(_fields(tensor))
    if fields.get(_TENSOR_TYPE) != _FLOAT:
        return None
    dimensions = (dict(_fields(value)) for number, value in _fields(fields.get(_TENSOR_SHAPE, b'')) if number == _SHAPE_DIMENSION)
    shape = [dimension.get(_DIMENSION_SIZE, 0) for dimension in dimensions]
    if _TENSOR_CONTENT in fields:
        return np.frombuffer(fields[_TENSOR_CONTENT], '<f4').reshape(shape)
    numbers = np.frombuffer(b''.join(value for number, value in _fields(tensor) if number == _TENSOR_FLOATS), '<f4')
    return np.pad(numbers, (0, math.prod(shape) - len(numbers)), mode='edge').reshape(shape)
