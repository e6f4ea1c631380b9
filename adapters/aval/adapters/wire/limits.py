"""What one peer may take of a server. gRPC's own limits are for all peers together, so that one could starve the rest.

A peer is an identity, whatever connections it opens: a limit that a second connection escapes is none.
"""

from dataclasses import dataclass

from aval.kernel.identity import Identity
from aval.kernel.reasons import Reason, Refusal

STREAMS_MAX = 24
"""Streams open at once: a hub has two at a node, a page's server one for each house or list that it shows."""

UNARY_MAX = 64
"""Unary calls under way at once: more than one connection's 32 streams, so that a second one helps once."""

CALLS_PER_SECOND = 500.0
"""Calls begun in a second, sustained: about half of what one process serves on two cores, and far above any member's
need."""

CALLS_BURST = 1000
"""Calls begun at once after a rest: two seconds' worth."""

IDLE_SECONDS_FORGOTTEN = 60.0
"""A peer that has done nothing for this long is forgotten; its allowance is full by then."""


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """The limits of a server, for each of its peers."""

    streams: int = STREAMS_MAX
    unary: int = UNARY_MAX
    calls_per_second: float = CALLS_PER_SECOND
    calls_burst: float = CALLS_BURST


class _Meter:
    """One peer's use."""

    __slots__ = ("allowance", "counted_at", "streams", "told_at", "unary")

    def __init__(self, allowance: float, now: float) -> None:
        self.streams = 0
        self.unary = 0
        self.allowance = allowance
        self.counted_at = now
        self.told_at = float("-inf")


class Meters:
    """The use of each peer, counted. Times are monotonic seconds."""

    def __init__(self, limits: PeerLimits) -> None:
        self._limits = limits
        self._meters: dict[Identity, _Meter] = {}

    def begin(self, peer: Identity, now: float) -> None:
        """Counts one call begun. Raises `Refusal(TOO_MANY_CALLS)` above the rate."""
        limits = self._limits
        meter = self._meters.get(peer)
        if meter is None:
            meter = self._meters[peer] = _Meter(limits.calls_burst, now)
        meter.allowance = min(limits.calls_burst, meter.allowance + (now - meter.counted_at) * limits.calls_per_second)
        meter.counted_at = now
        if meter.allowance < 1.0:
            raise Refusal(Reason.TOO_MANY_CALLS, {"calls_per_second": f"{limits.calls_per_second:g}"})
        meter.allowance -= 1.0

    def take(self, peer: Identity, *, stream: bool) -> None:
        """Takes one of the peer's places, which `give_back` returns. Raises TOO_MANY_STREAMS or TOO_MANY_CALLS."""
        meter = self._meters[peer]
        if stream:
            if meter.streams >= self._limits.streams:
                raise Refusal(Reason.TOO_MANY_STREAMS, {"limit": str(self._limits.streams)})
            meter.streams += 1
        else:
            if meter.unary >= self._limits.unary:
                raise Refusal(Reason.TOO_MANY_CALLS, {"limit": str(self._limits.unary)})
            meter.unary += 1

    def give_back(self, peer: Identity, *, stream: bool) -> None:
        """Returns a place that was taken."""
        meter = self._meters[peer]
        if stream:
            meter.streams -= 1
        else:
            meter.unary -= 1

    def may_tell(self, peer: Identity, now: float) -> bool:
        """Whether a refusal by these limits is to be logged: once a second and peer, so that a flood is not a flood of
        lines."""
        meter = self._meters[peer]
        if now - meter.told_at < 1.0:
            return False
        meter.told_at = now
        return True

    def forget_idle(self, now: float) -> None:
        """Drops the peers that are long gone."""
        idle = [
            peer
            for peer, meter in self._meters.items()
            if not meter.streams and not meter.unary and now - meter.counted_at > IDLE_SECONDS_FORGOTTEN
        ]
        for peer in idle:
            del self._meters[peer]
