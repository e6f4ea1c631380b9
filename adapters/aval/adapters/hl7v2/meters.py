"""What the adapter counts, for Prometheus: messages by event and outcome, habits of senders, time to an answer."""

import re

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.reading import Habits

_EVENT = re.compile(r"[A-Z][0-9]{2}", re.ASCII)

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
"""From two commits on a good disk to the patience of senders."""


class Meters:
    """The counters of one adapter. Labels are codes of the standard, never what a sender wrote freely."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._messages = Counter("aval_hl7_messages", "Messages by outcome.", ["event", "outcome"], registry=registry)
        self._movements = Counter("aval_hl7_movements", "Movements told, by fate.", ["fate"], registry=registry)
        self._endings = Counter("aval_hl7_line_endings", "Messages by line ending.", ["ending"], registry=registry)
        self._charsets = Counter("aval_hl7_charsets", "Messages by charset.", ["charset"], registry=registry)
        self._passed_over = Counter("aval_hl7_passed_over", "Plans that were unreadable.", ["place"], registry=registry)
        self._unmapped = Counter("aval_hl7_unmapped", "Messages that name an unmapped unit or bed.", registry=registry)
        self._connections = Gauge("aval_hl7_connections", "Connections open.", registry=registry)
        self._closed = Counter("aval_hl7_connections_closed", "Connections ended by us.", ["why"], registry=registry)
        self._seconds = Histogram(
            "aval_hl7_answer_seconds", "From a whole message to its answer.", buckets=SECONDS, registry=registry
        )

    def message(self, event: str, outcome: str, seconds: float = 0.0) -> None:
        """One message is answered: `applied`, `already`, `no-effect`, `too-old`, `AE`, `AR`, `unanswered`."""
        self._messages.labels(event if _EVENT.fullmatch(event) else "other", outcome).inc()
        self._seconds.observe(seconds)

    def movement(self, fate: str) -> None:
        """The node has answered one movement."""
        self._movements.labels(fate).inc()

    def habits(self, habits: Habits) -> None:
        """How a frame was written."""
        for ending, count in habits.endings.items():
            self._endings.labels(ending).inc(count)
        for charset, count in habits.charsets.items():
            self._charsets.labels(charset).inc(count)

    def passed_over(self, fault: Fault) -> None:
        """A field could not be read, and the message was taken without it."""
        self._passed_over.labels(fault.place).inc()

    def unmapped(self) -> None:
        """A message named a unit or a bed that the mapping does not."""
        self._unmapped.inc()

    def connections(self, count: int) -> None:
        """So many connections are open."""
        self._connections.set(count)

    def closed(self, why: str) -> None:
        """A connection was ended by us: `idle`, `slow`, `too-many`, `no-answer`."""
        self._closed.labels(why).inc()
