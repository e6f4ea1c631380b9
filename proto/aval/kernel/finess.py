"""FINESS numbers: the identity of an establishment (ET) and of a legal entity (EJ).

A FINESS is 9 characters: the département (2, with a leading zero, or `2A`, `2B` for Corsica), a serial number, and a
Luhn check digit. It is text, never a number: `010000024` loses its zero in a spreadsheet, and that is refused here by
name rather than repaired.

**The check digit of Corsica.** In the Luhn sum `A` counts 1 and `B` counts 2, in place (the second character from the
left, which the sum doubles). Measured on the public directories (SAE 2023 sites, CNSA EHPAD): of all values 0 to 19
for the letter, only this one satisfies every Corsican number found (42 with `2A`, 51 with `2B`), as the plain rule
satisfies the other 13,498 numbers (ET and EJ). Replacing the letter by 0, or `2A`/`2B` by 19/18 as social-security
numbers do, satisfies none. `tests/kernel/test_finess.py` measures it again when the directories are at hand.

An establishment and a legal entity are different types: they look the same, and mixing them up would let a whole group
answer for one house.
"""

import re
from typing import ClassVar, Self

from aval.kernel.reasons import Reason, Refusal

LENGTH = 9
"""Characters of a FINESS number, check digit included."""

_SHAPE = re.compile(r"(?:[0-9]{2}|2[AB])[0-9]{7}", re.ASCII)
_LETTER_VALUES = {"A": 1, "B": 2}


def luhn_remainder(text: str) -> int:
    """The Luhn sum of `text` modulo 10 (0 when the last digit checks). `text` holds digits, `A` and `B` only."""
    total = 0
    for place, character in enumerate(reversed(text)):
        digit = _LETTER_VALUES.get(character)
        if digit is None:
            digit = int(character)
        if place % 2 == 1:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10


def check_digit(first_eight: str) -> str:
    """The check digit that completes the first eight characters of a FINESS number."""
    return str(-luhn_remainder(first_eight + "0") % 10)


def _problem(text: str) -> str | None:
    """What is wrong with `text`, and what to do about it; None if it is a FINESS number."""
    if len(text) == LENGTH - 1 and text.isascii() and text.isdigit():
        return "8 digits: a leading zero was probably lost (a spreadsheet does that); write all 9 characters as text"
    if len(text) != LENGTH:
        return f"{len(text)} characters instead of {LENGTH}; copy the number from the FINESS directory"
    if not _SHAPE.fullmatch(text):
        if _SHAPE.fullmatch(text.strip().upper()):
            return "Corsica is written 2A or 2B in capitals"
        return "9 digits are expected, or 2A or 2B then 7 digits; no space, no other letter"
    if luhn_remainder(text) != 0:
        return "its check digit (the last one) does not match: a digit is mistyped or two are exchanged"
    return None


class _Finess(str):
    """What both kinds of FINESS share; never used by itself."""

    __slots__ = ()
    _kind: ClassVar[str]

    def __new__(cls, text: str) -> Self:
        """The number `text` itself, checked. Raises `Refusal(MALFORMED_FINESS)` saying what is wrong and what to do."""
        problem = _problem(text)
        if problem is not None:
            shown = text[: 2 * LENGTH].encode("ascii", "backslashreplace").decode()
            raise Refusal(Reason.MALFORMED_FINESS, {"finess": shown, "kind": cls._kind, "problem": problem})
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The number written in `text`, exactly. Raises `Refusal(MALFORMED_FINESS)`."""
        return cls(text)

    @property
    def departement(self) -> str:
        """The two first characters: `54`, `01`, `2A`. Overseas départements share `97` and `98`."""
        return self[:2]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class FinessET(_Finess):
    """The number of an establishment: a geographic site (« entité géographique »), the grain of Aval's nodes."""

    __slots__ = ()
    _kind = "ET"


class FinessEJ(_Finess):
    """The number of a legal entity (« entité juridique »), which owns one establishment or several."""

    __slots__ = ()
    _kind = "EJ"
