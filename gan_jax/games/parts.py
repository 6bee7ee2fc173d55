"""Players of several networks: their variables hold those of each network, by name within each collection.

The parameters of the network `encoder` are `variables['params']['encoder']`.
"""

from collections.abc import Mapping

from gan_jax.typing import Variables


def by_collection(parts: Mapping[str, Variables]) -> Variables:
    """Joins the variables of several networks: `{name: {collection: ...}} -> {collection: {name: ...}}`."""
    collections = dict.fromkeys(collection for part in parts.values() for collection in part)  # a dict keeps the order
    return {c: {name: part[c] for name, part in parts.items() if c in part} for c in collections}


def part_of(variables: Variables, name: str) -> Variables:
    """The variables of one network."""
    return {collection: parts[name] for collection, parts in variables.items() if name in parts}


def replaced(variables: Variables, name: str, state: Variables) -> Variables:
    """The variables with some collections of one network replaced by those in `state`."""
    return {c: {**parts, name: state[c]} if c in state else parts for c, parts in variables.items()}


def state_of(variables: Variables) -> Variables:
    """All collections except the parameters."""
    return {name: value for name, value in variables.items() if name != 'params'}
