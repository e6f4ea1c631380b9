"""Lists in pages: opaque tokens, bound to the caller and to the filter, good for an hour (CONTRACT 28).

A token says after which item to go on, and is sealed with a key that this process drew at its start: nothing is kept
between two pages, and nobody can make a token that reads what its bearer may not.
"""

import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from aval.kernel.clock import Clock, Rng
from aval.kernel.reasons import Reason, Refusal

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
"""Items in a page: when nothing is asked, and at most (CONTRACT 28)."""

TOKEN_SECONDS_MAX = 3_600.0
"""A token is good for an hour: a list that took longer to read says nothing of the present."""

_KEY_BYTES = 32
_SEAL_BYTES = 16

_T = TypeVar("_T")


class _Token(msgspec.Struct, array_like=True):
    after: tuple[str, ...]
    made_at: float


class Pages:
    """Cuts lists into pages, for one process."""

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock = clock
        self._key = rng.token(_KEY_BYTES)

    def cut(
        self,
        items: Iterable[_T],
        order: Callable[[_T], tuple[str, ...]],
        *,
        size: int,
        token: str,
        bound_to: Sequence[str],
    ) -> tuple[list[_T], str]:
        """One page of `items`, sorted by `order` (unique), and the token of the next, empty on the last.

        `bound_to`: caller, method and filter. Raises `Refusal(PAGE_TOKEN_INVALID)`; a negative size is FIELD_INVALID.
        """
        if size < 0:
            raise Refusal(Reason.FIELD_INVALID, {"field": "page_size", "problem": "must not be negative"})
        size = min(size or PAGE_SIZE, PAGE_SIZE_MAX)
        ordered = sorted(items, key=order)
        if token:
            after = self._open(token, bound_to)
            ordered = [item for item in ordered if order(item) > after]
        page = ordered[:size]
        return page, self._seal(order(page[-1]), bound_to) if len(ordered) > size else ""

    def _seal(self, after: tuple[str, ...], bound_to: Sequence[str]) -> str:
        body = msgspec.json.encode(_Token(after, self._clock.monotonic()))
        return (self._mark(body, bound_to) + body).hex()

    def _open(self, token: str, bound_to: Sequence[str]) -> tuple[str, ...]:
        try:
            raw = bytes.fromhex(token)
            mark, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
            if not hmac.compare_digest(mark, self._mark(body, bound_to)):
                raise ValueError("not ours, or of another list")
            read = msgspec.json.decode(body, type=_Token)
            if self._clock.monotonic() - read.made_at > TOKEN_SECONDS_MAX:
                raise ValueError("too old")
        except ValueError:
            raise Refusal(Reason.PAGE_TOKEN_INVALID) from None
        return read.after

    def _mark(self, body: bytes, bound_to: Sequence[str]) -> bytes:
        return hmac.digest(self._key, msgspec.json.encode(bound_to) + body, "sha256")[:_SEAL_BYTES]
