"""What a disk does to a file without saying so."""

from __future__ import annotations

from collections.abc import Iterator


def flipped(content: bytes, apart: int) -> Iterator[tuple[int, bytes]]:
    """The same with one bit turned, at places so many bytes apart, with the place; room that nothing fills is left."""
    for position in range(0, len(content), apart):
        if content[position]:
            spoilt = bytearray(content)
            spoilt[position] ^= 1 << position % 7
            yield position, bytes(spoilt)
