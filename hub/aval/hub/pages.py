"""Pages of lists: an opaque token says where the next one begins, for the same caller and filter, for an hour.

Lists are in the order of names, so a token needs no more than the last name given; what is inserted meanwhile before it
is not shown, what is inserted after it is.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec import Struct

from aval.kernel.reasons import Reason, Refusal

T = TypeVar("T")

PAGE_SIZE_DEFAULT = 100
"""When nothing is asked for (CONTRACT 28)."""

PAGE_SIZE_MAX = 1000
"""More is coerced to this (CONTRACT 28): a page of 1,000 units is about 1.3 MB."""

TOKEN_LIFE = timedelta(hours=1)
"""A walk through a list takes seconds; a token that is kept is a mistake."""


class _Token(Struct, frozen=True):
    after: str
    issued_at: datetime
    bound_to: bytes


class Page:
    """One page asked for: where it begins, and how long it is."""

    def __init__(self, size: int, token: str, caller: str, words: Iterable[object], now: datetime) -> None:
        """`words` say what list it is of, and its filter. Raises `Refusal(PAGE_TOKEN_INVALID)`."""
        self.size = PAGE_SIZE_DEFAULT if size <= 0 else min(size, PAGE_SIZE_MAX)
        self._now = now
        self._bound_to = sha256(repr((caller, *words)).encode()).digest()[:16]
        self.after = self._read(token) if token else ""

    def cut(self, items: Iterable[T], name: Callable[[T], str]) -> tuple[list[T], str]:
        """The page's items out of those in the order of names; the token of the next page, empty if there is none."""
        kept: list[T] = []
        for item in items:
            if name(item) <= self.after:
                continue
            if len(kept) == self.size:
                return kept, self._token(name(kept[-1]))
            kept.append(item)
        return kept, ""

    def _token(self, after: str) -> str:
        token = msgspec.msgpack.encode(_Token(after, self._now, self._bound_to))
        return base64.urlsafe_b64encode(token).decode()

    def _read(self, text: str) -> str:
        try:
            token = msgspec.msgpack.decode(base64.urlsafe_b64decode(text.encode("ascii")), type=_Token)
        except (ValueError, binascii.Error, msgspec.DecodeError):
            raise Refusal(Reason.PAGE_TOKEN_INVALID, {"problem": "not a token of this server"}) from None
        if token.bound_to != self._bound_to:
            raise Refusal(Reason.PAGE_TOKEN_INVALID, {"problem": "of another list, filter or caller"})
        if not timedelta(0) <= self._now - token.issued_at <= TOKEN_LIFE:
            raise Refusal(Reason.PAGE_TOKEN_INVALID, {"problem": "older than an hour"})
        return token.after
