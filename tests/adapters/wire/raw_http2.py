"""A client that speaks HTTP/2 frame by frame over a TLS socket: it does what gRPC's own client never would.

It resumes TLS sessions, sends headers without a message, floods, and stops half way. It writes what it is told and
reads just enough to know whether an RPC was answered: a DATA frame from the server is an answer, an end of stream
without one is not. Headers are sent without compression (RFC 7541 §6.2.2, literals without indexing).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE
from tests.waiting import PATIENCE_SECONDS

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01"
"""The beginning of a TLS ClientHello."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

SILENCE_SECONDS = PATIENCE_SECONDS
"""How long the server may say nothing before the socket gives up."""

CALL_SECONDS = int(PATIENCE_SECONDS)
"""The deadline that a request bears, unless another is told."""


class Frame(NamedTuple):
    """One frame received."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def _integer(value: int, prefix_bits: int) -> bytes:
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([value])
    encoded, value = bytearray([limit]), value - limit
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    encoded.append(value)
    return bytes(encoded)


def header(name: str, value: str) -> bytes:
    """One header field, uncompressed."""
    return b"\0" + b"".join(_integer(len(part), 7) + part.encode("latin-1") for part in (name, value))


def request_headers(
    path: str, authority: str, extra: tuple[tuple[str, str], ...] = (), seconds: int = CALL_SECONDS
) -> bytes:
    """The header block of a gRPC request."""
    fields = (
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", f"{seconds}S"),
    )
    return b"".join(header(name, value) for name, value in (*fields, *extra))


def message(encoded: bytes, *, compressed: bool = False) -> bytes:
    """A gRPC message's bytes in a DATA frame."""
    return struct.pack(">?I", compressed, len(encoded)) + encoded


def tls_context(
    bundle: Path, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A client's TLS with a bundle's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = minimum, maximum
    context.load_verify_locations(bundle / TRUST_FILE)
    context.load_cert_chain(bundle / CERTIFICATE_FILE, bundle / KEY_FILE)
    context.set_alpn_protocols(["h2"])
    return context


class RawConnection:
    """A connection. All calls block: run them in a thread beside the server's event loop."""

    def __init__(
        self, port: int, context: ssl.SSLContext, authority: str, session: ssl.SSLSession | None = None
    ) -> None:
        """Connects and shakes hands. Raises OSError (ssl.SSLError is one) if refused."""
        self.authority = authority
        plain = socket.create_connection(("127.0.0.1", port), SILENCE_SECONDS)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=authority, session=session)
        except BaseException:
            plain.close()
            raise
        self.answers_pings = True
        self._received = b""
        self.closed_by_peer = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.socket.close()

    def greet(self) -> None:
        """Preface and settings."""
        self.socket.sendall(PREFACE)
        self.send(SETTINGS, 0, 0, b"")

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """One frame."""
        self.socket.sendall(frame(kind, flags, stream, payload))

    def open(
        self, stream: int, path: str, extra: tuple[tuple[str, str], ...] = (), seconds: int = CALL_SECONDS
    ) -> None:
        """The headers of a request."""
        self.send(HEADERS, END_HEADERS, stream, request_headers(path, self.authority, extra, seconds))

    def call(self, stream: int, path: str, encoded: bytes = b"") -> bool:
        """A whole unary request; whether it was answered by a message."""
        self.open(stream, path)
        self.send(DATA, END_STREAM, stream, message(encoded))
        return self.answered(stream)

    def hear(self, seconds: float) -> list[Frame]:
        """All frames until the connection ends, or is silent for that long."""
        self.socket.settimeout(seconds)
        heard = list(self.frames())
        self.socket.settimeout(SILENCE_SECONDS)
        return heard

    def answered(self, stream: int) -> bool:
        """Reads until the stream has a message (True) or ends, or the connection does (False)."""
        for found in self.frames():
            if found.kind == GOAWAY:
                return False
            if found.stream == stream:
                if found.kind == DATA and found.payload:
                    return True
                if found.kind == RST_STREAM or (found.kind == HEADERS and found.flags & END_STREAM):
                    return False
        return False

    def frames(self) -> Iterator[Frame]:
        """Frames as they come, until the connection ends or is silent; settings and pings are answered."""
        while True:
            while len(self._received) >= 9:
                length = int.from_bytes(self._received[:3])
                if len(self._received) < 9 + length:
                    break
                kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
                payload, self._received = self._received[9 : 9 + length], self._received[9 + length :]
                if kind in {SETTINGS, PING} and not flags & ACK and (kind == SETTINGS or self.answers_pings):
                    with contextlib.suppress(OSError):
                        self.send(kind, ACK, 0, payload if kind == PING else b"")
                yield Frame(kind, flags, stream & 0x7FFFFFFF, payload)
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                more = b""
            if not more:
                self.closed_by_peer = True
                return
            self._received += more


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """The bytes of a frame."""
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload
