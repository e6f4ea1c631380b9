"""What a demanding French reader would mark in a text that people are shown: its typography, and English left in."""

from __future__ import annotations

import re

_FAULTS: dict[str, str] = {
    r" [;!?»]|« ": "a plain space where a no-break one belongs",
    r" :(?!\w)": "a plain space before a colon",
    r"(?<=\w)'(?=\w)": "a straight apostrophe",
    r"\.\.\.": "three dots instead of an ellipsis",
    r"\bSSR\b": "SMR by its former name",
    r"\d (?:h|min|s|ms|j|km|Mo)\b": "an amount parted from its unit",
    r"(?<![\d\u202f,.])[01][ \u00a0](?:unités|places|lits|établissements|demandes|conflits)\b": "0 or 1 in the plural",
    r"\b\d{1,2}:\d{2}\b": "an hour that is not written 14 h 32",
    r"\b\d{4}-\d{2}-\d{2}\b": "a date that is not written lun. 23 nov. 2026",
    r"(?i)(?<!\{)\b(?:fresh|stale|ageing|unknown|minutes? \d|limit|held|asked|released|none|true|false)\b": "English",
}


def faults(text: str, *, but: str = r"$^") -> list[str]:
    """Each fault of a French text with the words around it; lines that match `but` are not read."""
    found = []
    for line in text.splitlines():
        if re.search(but, line):
            continue
        for pattern, what in _FAULTS.items():
            found += [f"{what}: {line[max(m.start() - 20, 0) : m.end() + 20]!r}" for m in re.finditer(pattern, line)]
    return found
