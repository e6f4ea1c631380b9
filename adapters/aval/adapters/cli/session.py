"""A command's lines to the hub and to its own node, and what becomes of a call that fails."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import grpc
import structlog
from cryptography import x509

from aval.adapters.cli.contexts import Context, chosen, is_demonstration
from aval.adapters.cli.exits import Exit, Failure, exit_of
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import ALL_WORDS, now, say, speech
from aval.adapters.dial import Answered, Asked, Caller, Line, ask
from aval.adapters.pki import CERTIFICATE_FILE
from aval.adapters.wire import BundleUnusable
from aval.kernel.finess import FinessET
from aval.kernel.reasons import Reason, Refusal

Result = TypeVar("Result")

CALL_SECONDS_MAX = 60.0
"""The contract's own bound of a unary call; a command that waits longer waits on a watch."""


class Session:
    """Who calls, and where the servers of its context are. Made by `connected`."""

    def __init__(self, name: str, context: Context, caller: Caller, terminal: Terminal) -> None:
        self.name = name
        self.context = context
        self.caller = caller
        self.terminal = terminal

    @property
    def finess(self) -> str:
        """The establishment of the identity, or that of the context. Raises `Failure`."""
        own = self.caller.identity.establishment
        if own is not None:
            return str(own)
        if not self.context.finess:
            raise Failure(say("context.no.node", name=self.name), say("context.no.server.why"), code=Exit.USAGE)
        return str(FinessET(self.context.finess))

    @property
    def has_hub(self) -> bool:
        """Whether the context names a hub."""
        return bool(self.context.hub)

    def hub(self) -> Line:
        """The line to the hub. Raises `Failure`."""
        if not self.context.hub:
            raise Failure(say("context.no.hub", name=self.name), say("context.no.server.why"), code=Exit.USAGE)
        if self.context.authority:
            return self.caller.line(self.context.hub, self.context.authority)
        return self.caller.hub(self.context.hub)

    def node(self) -> Line:
        """The line to the establishment's own node. Raises `Failure`."""
        if not self.context.node:
            raise Failure(say("context.no.node", name=self.name), say("context.no.server.why"), code=Exit.USAGE)
        return self.caller.node(self.context.node, self.finess)

    def hub_or_node(self) -> Line:
        """The line to the hub, else to the node: both serve availability, with the same messages."""
        return self.hub() if self.has_hub or not self.context.node else self.node()

    async def ask(self, method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Answered]", request: Asked) -> Answered:
        """One call, within the command's own time."""
        return await ask(method, request, min(self.terminal.timeout.total_seconds(), CALL_SECONDS_MAX))


def connected(terminal: Terminal, work: Callable[[Session], Awaitable[Result]]) -> Result:
    """Runs `work` with a session of the chosen context. Raises `Failure` for whatever the network or a peer refuses."""
    quiet_logs(terminal)
    name, context, bundle = chosen(terminal.context)
    if is_demonstration():
        terminal.tell(say("simulation"))

    async def run() -> Result:
        try:
            caller = Caller(bundle)
        except BundleUnusable as error:
            raise bundle_failure(bundle, error) from error
        async with caller:
            return await work(Session(name, context, caller, terminal))

    address = context.hub or context.node
    try:
        return asyncio.run(run())
    except Refusal as refusal:
        raise refusal_failure(refusal, address) from refusal


def quiet_logs(terminal: Terminal) -> None:
    """A command's output is for a person: what the libraries log is shown with `--verbose` only."""
    level = logging.INFO if terminal.verbose else logging.CRITICAL
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    logging.getLogger().setLevel(level)


def certificate_of(bundle: Path) -> x509.Certificate | None:
    """The certificate in a bundle, good or not; None if there is none."""
    try:
        return x509.load_pem_x509_certificate((bundle / CERTIFICATE_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def bundle_failure(bundle: Path, error: Exception, instant: datetime | None = None) -> Failure:
    """Why a bundle cannot be used, for a person."""
    certificate = certificate_of(bundle)
    instant = instant if instant is not None else now()
    if certificate is not None and certificate.not_valid_after_utc <= instant:
        return Failure(
            say("bundle.expired", date=speech().date(certificate.not_valid_after_utc)),
            say("bundle.expired.why"),
            "aval cert show",
            reason=Reason.CERTIFICATE_EXPIRED,
            code=Exit.NOT_AUTHENTICATED,
        )
    if certificate is not None and certificate.not_valid_before_utc > instant:
        return Failure(
            say("bundle.early", date=speech().date(certificate.not_valid_before_utc)),
            say("bundle.expired.why"),
            "aval doctor",
            reason=Reason.CERTIFICATE_NOT_YET_VALID,
            code=Exit.NOT_AUTHENTICATED,
        )
    what = say("bundle.bad", folder=bundle)
    return Failure(what, str(error), "aval pki issue …", reason="BUNDLE_UNUSABLE", code=Exit.NOT_AUTHENTICATED)


def refusal_failure(refusal: Refusal, address: str = "") -> Failure:
    """What a refusal means for a person, and the command to try next."""
    code = exit_of(refusal)
    reason = getattr(refusal, "reason_text", "") or refusal.reason.value
    if refusal.reason is Reason.NODE_UNREACHABLE and not getattr(refusal, "reason_text", refusal.reason.value):
        cause = str(refusal.__cause__ or "")
        refused = any(word in cause for word in ("SSL", "TLS", "handshake", "CERTIFICATE"))
        what = say("handshake" if refused else "unreachable", address=address)
        why = say("handshake.why" if refused else "unreachable.why")
        return Failure(
            what, why, "aval doctor", reason=reason, code=Exit.NOT_AUTHENTICATED if refused else Exit.UNREACHABLE
        )
    text = say(f"reason.{reason}") if f"reason.{reason}" in ALL_WORDS else str(refusal)
    details = "; ".join(f"{key} = {value}" for key, value in refusal.metadata.items())
    following = {
        Exit.NOT_AUTHENTICATED: "aval cert show",
        Exit.NOT_ALLOWED: f"aval policy explain {refusal.metadata.get('method', 'METHOD')}",
        Exit.UNREACHABLE: "aval doctor",
        Exit.NOT_FOUND: "aval units list",
    }.get(code, "")
    return Failure(say("refused", text=text), details, following, reason=reason, code=code)
