"""A fuzz run over a parser of what strangers send: seeded, bounded, and told in figures.

Two kinds of input, half and half: *structured* ones, drawn by who knows the format, with one to three faults; and
*bytes*, those same inputs cut, flipped, repeated and spliced. A parser may refuse an input in its own way. It may not
raise anything else, nor take long, whatever comes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from random import Random
from types import ModuleType, TracebackType
from typing import Self

from tests.fuzz.branches import Tracer, possible

SLOW_SECONDS = 2.0
"""For one input of some kilobytes: a thousand times what it takes on an idle machine."""

TRACED_EVERY = 100
"""One input in so many runs under the trace, which makes it some 30 times slower."""

REACH_MIN = 0.30
"""Share of structured inputs that reach the meaning: else the run tests error messages only."""


@dataclass(frozen=True)
class Parser:
    """What is fuzzed. `structured` draws an input; `feed` reads one, and says whether it came to be understood.

    `feed` raises only for what is a fault of ours: refusals of the parser are its own to catch.
    """

    name: str
    structured: Callable[[Random], bytes]
    feed: Callable[[bytes], bool]
    modules: Sequence[ModuleType]


@dataclass
class Findings:
    """What a run showed."""

    name: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    slowest: bytes = b""
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    branches: tuple[int, int] = (0, 0)

    @property
    def reach(self) -> float:
        """The share of structured inputs that reached the meaning."""
        return self.counts["structured, understood"] / max(self.counts["structured"], 1)

    def __str__(self) -> str:
        taken, all_of = self.branches
        return (
            f"fuzz {self.name}, seed {self.seed}: {self.counts['structured']} structured inputs"
            f" ({100 * self.reach:.0f} % understood), {self.counts['bytes']} of bytes"
            f" ({self.counts['bytes, understood']} understood); slowest {1000 * self.slowest_seconds:.0f} ms;"
            f" branches {taken} of {all_of} ({100 * taken / max(all_of, 1):.0f} %)"
        )


class _Escape:
    """Takes whatever escapes from a parser, which is what is looked for, and says what it was."""

    def __init__(self) -> None:
        self.why = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.why = f"{type(error).__name__}: {error}"
        return True


FAILURES_MAX = 5
"""After which a run stops: the first tells most."""


def run(parser: Parser, seed: int, seconds: float, most: int, least: int = 0) -> Findings:
    """Fuzzes until so many seconds or inputs have passed; `least` are tried however long they take.

    Seconds are those of the processor that this thread had: what a shared machine does beside it is no finding.
    """
    random = Random(seed)
    findings = Findings(parser.name, seed)
    tracer = Tracer(parser.modules)
    end = time.thread_time() + seconds
    for number in range(most):
        if (time.thread_time() > end and number >= least) or len(findings.failures) >= FAILURES_MAX:
            break
        kind = "structured" if number % 2 else "bytes"
        content = parser.structured(random)
        if kind == "bytes":
            content = spoilt(random, content)
        findings.counts[kind] += 1
        traced = number % TRACED_EVERY < 2
        understood = False
        began = time.thread_time()
        with _Escape() as escape, tracer if traced else nullcontext():
            understood = parser.feed(content)
        if escape.why:
            findings.failures.append((content, escape.why))
            continue
        took = time.thread_time() - began
        if not traced and took > findings.slowest_seconds:
            findings.slowest_seconds, findings.slowest = took, content
        findings.counts[f"{kind}, understood"] += understood
    ways = possible(parser.modules)
    findings.branches = (len(ways & tracer.arcs), len(ways))
    return findings


def spoilt(random: Random, content: bytes) -> bytes:
    """Some bytes changed, without knowing what they mean."""
    body = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at = random.randrange(len(body) + 1)
        match random.randrange(7):
            case 0:
                del body[at:]
            case 1:
                body[at:at] = random.randbytes(random.randrange(1, 9))
            case 2 if body:
                body[at % len(body)] ^= 1 << random.randrange(8)
            case 3:
                del body[at : at + random.randrange(1, 40)]
            case 4:
                body[at:at] = body[at : at + random.randrange(1, 200)] * random.randrange(1, 20)
            case 5:
                body[at:at] = bytes((random.choice(b"\x00\x0b\x1c\r\n|^~\\&<>\"'{}[],;\xff\xef\xbb\xbf"),))
            case _:
                body[at:] = body[: random.randrange(len(body) + 1)]
    return bytes(body[: 1 << 18])
