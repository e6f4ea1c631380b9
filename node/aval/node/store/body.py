"""A fact as bytes, and back: JSON, fields in the order of their declaration, so that equal facts are equal bytes.

The bytes are what is stored and what the tag of a revision is chained over. A field that a later version adds has a
default, hence older rows still read; a field that changes its meaning needs a migration that rewrites the bodies.
"""

from functools import cache

import msgspec

from aval.node.model import FACT_TYPES, Change, Fact, Kind
from aval.node.ports import Row, Touched

_ENCODER = msgspec.json.Encoder(order="deterministic")
_TOUCHED = msgspec.json.Decoder(Touched)


@cache
def _decoder(kind: Kind) -> msgspec.json.Decoder[Fact]:
    return msgspec.json.Decoder(FACT_TYPES[kind])


def row_of(change: Change) -> Row:
    """The row that a change writes."""
    return Row(change.kind, change.key, None if change.fact is None else _ENCODER.encode(change.fact))


def fact_of(kind: Kind, body: bytes | str) -> Fact:
    """The fact that a body states. Raises `msgspec.ValidationError` for a body that no version of ours wrote."""
    return _decoder(kind).decode(body)


def touched_body(touched: Touched) -> bytes:
    """What a revision touched, as stored beside it."""
    return _ENCODER.encode(touched)


def touched_of(body: bytes | str) -> Touched:
    """The inverse of `touched_body`."""
    return _TOUCHED.decode(body)
