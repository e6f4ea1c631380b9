"""MLLP: a message between 0x0B and 0x1C 0x0D (HL7 v2.5 Implementation Guide, appendix C; IHE ITI TF-2 §C.2.1).

Some senders leave out the last 0x0D, put line feeds between frames, or forget 0x0B: what stands outside a frame is
skipped and counted, never read as a message.
"""

START = 0x0B
END = 0x1C
CARRIAGE_RETURN = 0x0D

MESSAGE_BYTES_MAX = 1 << 20
"""Longest frame: an ADT message has some 3 kB, a batch of 300 fits."""


HEAD_BYTES = 1 << 12
"""What is kept of a longer one: MSH, by which it is answered."""


class Overlong(bytes):
    """The beginning of a frame that is longer than is taken. The sender is told, or it would send it for ever."""


class Deframer:
    """Takes bytes as they come, gives whole frames, and `Overlong` for each beyond `bytes_max`.

    `skipped` counts bytes that stood outside any frame.
    """

    def __init__(self, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held = bytearray()
        self._inside = False
        self._overlong = False
        self.skipped = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._inside

    @property
    def held(self) -> int:
        """How many bytes of a frame are kept until it ends."""
        return len(self._held)

    def feed(self, received: bytes) -> list[bytes]:
        """The frames that these bytes complete."""
        frames: list[bytes] = []
        at = 0
        while at < len(received):
            start, end = _first(received, START, at), _first(received, END, at)
            mark = min(start, end)
            self._keep(received[at:mark])
            if mark == len(received):
                break
            if mark == start:  # within a frame: the one before was cut off
                self.skipped += len(self._held)
            elif self._inside:
                frames.append(Overlong(self._held) if self._overlong else bytes(self._held))
            self._held.clear()
            self._overlong = False
            self._inside = mark == start
            at = mark + 1
        return frames

    def _keep(self, received: bytes) -> None:
        if not self._inside:
            self.skipped += len(received.strip(b"\r\n"))
            return
        self._held += received
        if self._overlong or len(self._held) > self._bytes_max:
            self._overlong = True
            del self._held[HEAD_BYTES:]


def _first(received: bytes, mark: int, begin: int) -> int:
    at = received.find(mark, begin)
    return len(received) if at < 0 else at


def framed(message: bytes) -> bytes:
    """A message as one frame."""
    return bytes((START,)) + message + bytes((END, CARRIAGE_RETURN))
