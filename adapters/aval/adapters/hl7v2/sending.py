"""A sender of MLLP, for replays and corrections: one message after the other, each answered before the next is sent."""

import asyncio
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

from aval.adapters.hl7v2.framing import Deframer, Overlong, framed
from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE

ANSWER_SECONDS = 90.0
"""How long an answer is waited for: longer than the server waits for its node."""

READ_BYTES = 1 << 16

_BUNDLE = (CERTIFICATE_FILE, KEY_FILE, TRUST_FILE)


class Unanswered(RuntimeError):
    """The receiver closed the connection, or was silent: whatever was sent last may be sent again."""


class Sender:
    """One connection. `tls`: certificate, key and trust, or a folder of cert.pem, key.pem and trust.pem; None: clear
    text."""

    def __init__(self, host: str, port: int, tls: Path | tuple[Path, Path, Path] | None = None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._deframer = Deframer()
        self._frames: list[bytes] = []
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        """Connects. Raises OSError."""
        context = None if self._tls is None else _client_context(self._tls)
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    async def send(self, message: bytes) -> bytes:
        """The answer to one message. Raises `Unanswered`."""
        if self._reader is None or self._writer is None:
            raise Unanswered("not connected")
        try:
            self._writer.write(framed(message))
            await self._writer.drain()
            while not self._frames:
                received = await asyncio.wait_for(self._reader.read(READ_BYTES), ANSWER_SECONDS)
                if not received:
                    raise Unanswered("the receiver closed the connection")
                self._frames += self._deframer.feed(received)
        except (OSError, TimeoutError) as error:
            raise Unanswered(str(error) or "no answer in time") from error
        answer = self._frames.pop(0)
        if isinstance(answer, Overlong):
            raise Unanswered("the answer is longer than is taken")
        return answer


def code_of(answer: bytes) -> str:
    """MSA-1 of an answer, in the original mode's codes; of a batch, the worst."""
    codes = [part[:2].decode("ascii", "replace").replace("C", "A") for part in answer.split(b"MSA|")[1:]]
    return next((code for code in ("AR", "AE") if code in codes), codes[0] if codes else "")


def _client_context(tls: Path | tuple[Path, Path, Path]) -> ssl.SSLContext:
    """Of a bundle. The receiver's certificate is checked against the bundle's trust, not against a name: an MLLP
    receiver is dialled by its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    certificate, key, trust = tls if isinstance(tls, tuple) else (tls / name for name in _BUNDLE)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(trust)
    return context
