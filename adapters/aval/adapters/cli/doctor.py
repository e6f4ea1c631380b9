"""`aval doctor`: why does it not work? One check after another, from this machine outwards, each naming its cause.

Clock, certificate, DNS, port, TLS chain, the hub's own answer; with `--config`, the disk and the listening port of a
server too. A check that an earlier failure makes meaningless is not made. Exit 10 when something is wrong.
"""

import asyncio
import shutil
import socket
import ssl
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2

from aval.adapters.cli.command import verb
from aval.adapters.cli.contexts import Context, chosen
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import enum_name, finess_of
from aval.adapters.cli.servers import read_ready
from aval.adapters.cli.session import certificate_of, quiet_logs
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import now, say, speech, why
from aval.adapters.dial import Caller, ask, pages
from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE
from aval.adapters.wire import BundleUnusable
from aval.adapters.wire.credentials import identity_of, read_bundle
from aval.kernel.declared import declared
from aval.kernel.finess import FinessET
from aval.kernel.identity import Identity, hub_dns_name, node_dns_name
from aval.kernel.reasons import Refusal
from aval.v1 import availability_pb2, membership_pb2

CLOCK_SKEW_MAX = timedelta(seconds=60)
"""Certificates begin five minutes before they are issued: a minute harms nothing yet, and is worth a word."""

EXPIRES_SOON = timedelta(days=7)
"""A certificate of 30 days is renewed at two thirds: with a week left nobody has."""

DISK_FREE_MIN = 200 * 1024 * 1024
"""Bytes: less than this and a node soon refuses to write."""

CONNECT_SECONDS = 4.0
"""How long a connection may take: a machine of the same network answers in milliseconds."""

CLOCK_UNITS_MAX = 200
"""Units read to learn the territory's time; their median needs no more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well (None: not checked), what was found, what to do."""

    check: str
    well: bool | None
    what: str
    remedy: str = ""


@verb(
    "doctor",
    key="help.doctor",
    examples=("aval doctor", "aval doctor 540000023", "aval doctor --config node.toml --json check,well,what"),
    reads=("check", "well", "what", "remedy"),
)
@click.argument("node", required=False)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="opt.config")
def doctor(terminal: Terminal, node: str | None, config: Path | None) -> None:
    """Looks for the cause of what does not work, or why a node is silent; exit 10 when one is found."""
    finess = str(FinessET(node)) if node else ""
    quiet_logs(terminal)
    found: list[Finding] = []
    if config is not None:
        found += local_findings(config)
        context, bundle = context_of(config)
    else:
        _, context, bundle = chosen(terminal.context)
    found += examine(context, bundle, now)
    if finess and all(one.well is not False for one in found):
        found += asyncio.run(node_findings(context, bundle, finess))
    if terminal.is_json:
        terminal.objects([{"check": f.check, "well": f.well, "what": f.what, "remedy": f.remedy} for f in found])
    else:
        words = {True: ("✓", "doctor.ok"), False: ("✗", "doctor.bad"), None: ("–", "doctor.skipped")}
        for one in found:
            mark, key = words[one.well]
            shown = say("doctor.line", mark=mark, check=say(f"doctor.{one.check}"), state=say(key), what=one.what)
            terminal.line(shown)
            if one.remedy:
                terminal.line(f"  → {one.remedy}")
    if any(one.well is False for one in found):
        click.get_current_context().exit(Exit.PROBLEM_FOUND)
    terminal.tell(say("doctor.all.good"))


def examine(context: Context, bundle: Path, clock: Callable[[], datetime]) -> list[Finding]:
    """All checks of a context, in order; the network is not asked with a certificate that nobody would accept."""
    found = own_findings(bundle, clock())
    if any(one.well is False for one in found):
        return found
    identity = read_bundle(bundle, clock()).identity
    address = context.hub or context.node
    if not address:
        return found
    authority = context.authority or authority_of(identity, context)
    host, _, port = address.rpartition(":")
    checks: tuple[Callable[[], Finding], ...] = (
        lambda: dns_finding(host),
        lambda: port_finding(host, int(port)),
        lambda: tls_finding(host, int(port), authority, bundle),
    )
    for check in checks:
        finding = check()
        found.append(finding)
        if finding.well is False:
            return found
    return [*found, *asyncio.run(rpc_findings(address, authority, bundle, clock))]


def own_findings(bundle: Path, instant: datetime) -> list[Finding]:
    """Our own certificate. One that begins in the future says that the clock is late."""
    certificate = certificate_of(bundle)
    if certificate is None:
        text = str(bundle / CERTIFICATE_FILE)
        return [Finding("certificate", False, say("file.absent", path=text), say("doctor.certificate.fix"))]
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if instant < first:
        said = f"{speech().date(instant)} {speech().hour(instant)}"
        what = say("doctor.clock.late", now=said, date=f"{speech().date(first)} {speech().hour(first)}")
        return [Finding("clock", False, what, say("doctor.clock.fix"))]
    if instant >= last:
        what = say("doctor.certificate.expired", date=speech().date(last))
        return [Finding("certificate", False, what, say("doctor.certificate.fix"))]
    try:
        read_bundle(bundle, instant)
        identity = identity_of(certificate)
    except (BundleUnusable, Refusal) as error:
        what = say("doctor.certificate.bad", text=error)
        return [Finding("certificate", False, what, say("doctor.certificate.fix"))]
    end = speech().certificate_end(last, instant)
    if last - instant < EXPIRES_SOON:
        what = say("doctor.certificate.soon", end=end)
        return [Finding("certificate", None, what, say("doctor.certificate.fix"))]
    return [Finding("certificate", True, say("doctor.certificate.good", identity=identity, end=end))]


def authority_of(identity: Identity, context: Context) -> str:
    """The DNS name that the server's certificate must bear."""
    if context.hub:
        return hub_dns_name(identity.territory)
    if identity.establishment is None:
        raise Failure(say("context.no.node", name=""), say("context.no.server.why"), code=Exit.USAGE)
    return node_dns_name(identity.territory, identity.establishment)


def dns_finding(host: str) -> Finding:
    """Whether this machine knows the server's name."""
    try:
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        return Finding("dns", False, say("doctor.dns.bad", host=host), say("doctor.dns.fix"))
    return Finding("dns", True, say("doctor.dns.good", host=host, address=address))


def port_finding(host: str, port: int) -> Finding:
    """Whether something listens there: refused means that nothing does, silence that something stands between."""
    address = f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return Finding("port", False, say("doctor.port.refused", address=address), say("doctor.port.refused.fix"))
    except OSError:
        return Finding("port", False, say("doctor.port.filtered", address=address), say("doctor.port.filtered.fix"))
    return Finding("port", True, say("doctor.port.good", address=address))


def tls_finding(host: str, port: int, authority: str, bundle: Path) -> Finding:
    """Whether each side accepts the other's certificate; a program that does not speak TLS is not a hub."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(bundle / TRUST_FILE))
    context.load_cert_chain(bundle / CERTIFICATE_FILE, bundle / KEY_FILE)
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=authority) as encrypted,
        ):
            # In TLS 1.3 a server refuses a client's certificate after the handshake: only reading tells.
            if encrypted.recv(1) == b"":
                return Finding("tls", False, say("doctor.tls.ours"), say("doctor.tls.fix"))
    except ssl.SSLCertVerificationError as error:
        key = {10: "doctor.tls.theirs.expired", 62: "doctor.tls.name"}.get(error.verify_code, "doctor.tls.theirs")
        return Finding("tls", False, say(key, text=error.verify_message), say("doctor.tls.fix"))
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return Finding("tls", False, say("doctor.tls.ours"), say("doctor.tls.fix"))
        return _other_program(host, port)
    except OSError:
        return _other_program(host, port)
    return Finding("tls", True, say("doctor.tls.good"))


async def rpc_findings(address: str, authority: str, bundle: Path, clock: Callable[[], datetime]) -> list[Finding]:
    """What the server itself answers, and how far our clock is from the territory's."""
    async with Caller(bundle) as caller:
        line = caller.line(address, authority)
        try:
            health = await ask(line.health.Check, health_pb2.HealthCheckRequest(), CONNECT_SECONDS)
            units = await ask(
                line.availability.ListUnits,
                availability_pb2.ListUnitsRequest(parent="establishments/-", page_size=CLOCK_UNITS_MAX),
                CONNECT_SECONDS,
            )
        except Refusal as refusal:
            what = say("doctor.rpc.bad", text=refusal)
            return [Finding("rpc", False, what, say("doctor.port.refused.fix"))]
    status = enum_name(health_pb2.HealthCheckResponse.ServingStatus, health.status, "")
    good = Finding(
        "rpc", health.status == health_pb2.HealthCheckResponse.SERVING, say("doctor.rpc.good", status=status)
    )
    skew = clock_skew(units, clock())
    if skew is None:
        return [good]
    shown = speech().duration(abs(skew))
    if abs(skew) <= CLOCK_SKEW_MAX:
        return [good, Finding("clock", True, say("doctor.clock.good", skew=shown))]
    direction = say("doctor.clock.ahead" if skew > timedelta(0) else "doctor.clock.behind")
    what = say("doctor.clock.skew", skew=shown, direction=direction)
    return [good, Finding("clock", False, what, say("doctor.clock.fix"))]


async def node_findings(context: Context, bundle: Path, finess: str) -> list[Finding]:
    """What the hub knows of a node, and where it is silent, how far one gets to it from here."""
    member: membership_pb2.Member | None = None
    async with Caller(bundle) as caller:
        line = caller.line(context.hub, context.authority or hub_dns_name(caller.identity.territory))
        call = partial(ask, line.membership.ListMembers, seconds=CONNECT_SECONDS)
        async for page in pages(call, membership_pb2.ListMembersRequest()):
            member = next((one for one in page.members if finess_of(one.establishment.name) == finess), None)
            if member is not None:
                break
    if member is None:
        return [Finding("node", False, say("doctor.node.unknown", finess=finess), say("doctor.node.unknown.fix"))]
    link = member.establishment.link
    state = speech().state(enum_name(availability_pb2.Link.State, link.state, "STATE_"))
    silence = speech().age(link.silence.ToTimedelta() if link.HasField("silence") else None, now())
    said = say("doctor.node.link", name=member.establishment.display_name, state=state, silence=silence)
    waiting = say("doctor.node.pending", count=member.pending_commands)
    if link.state == availability_pb2.Link.STATE_CONNECTED:
        return [Finding("node", True, f"{said} {waiting}")]
    found = [Finding("node", False, f"{said} {waiting}", say("doctor.node.fix"))]
    if member.HasField("certificate_end_time") and _utc(member.certificate_end_time, now()) <= now():
        date = speech().date(_utc(member.certificate_end_time, now()))
        found.append(
            Finding("certificate", False, say("doctor.certificate.expired", date=date), say("doctor.node.fix"))
        )
    host, _, port = member.address.rpartition(":")
    if not host:
        return [*found, Finding("port", None, say("doctor.node.nowhere"))]
    name = dns_finding(host)
    return [*found, name] if name.well is False else [*found, name, port_finding(host, int(port))]


def clock_skew(units: availability_pb2.ListUnitsResponse, instant: datetime) -> timedelta | None:
    """How far ahead this machine is. A source's instant by its node's clock plus its age is that node's present."""
    leads = [
        (instant - (_utc(source.observe_time, instant) + source.age.ToTimedelta())).total_seconds()
        for unit in units.units
        for source in unit.sources
        if source.HasField("observe_time") and source.HasField("age")
    ]
    return timedelta(seconds=statistics.median(leads)) if leads else None


def local_findings(config: Path) -> list[Finding]:
    """Of a server's own machine: room on its disk, and its port, unless it is the one that has it."""
    if not config.is_file():
        raise Failure(say("file.absent", path=config), code=Exit.NOT_FOUND)
    listen = str(_table(config).get("listen", "127.0.0.1:0"))
    free = shutil.disk_usage(config.parent).free
    shown = f"{speech().number(free / 1024**3, 1)} Go"
    room = (
        Finding("disk", True, say("doctor.disk.good", free=shown))
        if free >= DISK_FREE_MIN
        else Finding("disk", False, say("doctor.disk.bad", free=shown, folder=config.parent), say("doctor.disk.fix"))
    )
    host, _, port = listen.rpartition(":")
    if read_ready(config) is not None or int(port) == 0:
        return [room]
    try:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, int(port)))
    except OSError:
        taken = say("doctor.port.taken", address=listen)
        return [room, Finding("listen", False, taken, say("doctor.port.taken.fix"))]
    return [room, Finding("listen", True, say("doctor.port.good", address=listen))]


def context_of(config: Path) -> tuple[Context, Path]:
    """The hub that a node's settings name, and the node's own bundle; a hub's settings name no other server."""
    table = _table(config)
    hub = table.get("hub")
    address = str(hub.get("address", "")) if isinstance(hub, dict) else ""
    identity = str(table.get("identity", ""))
    return Context(identity=identity, hub=address), config.parent / identity


def _table(config: Path) -> dict[str, object]:
    try:
        return declared(config, config.read_bytes(), dict[str, object])
    except (OSError, ValueError) as error:
        raise Failure(say("context.unreadable", path=config), why(error), code=Exit.USAGE) from error


def _other_program(host: str, port: int) -> Finding:
    what = say("doctor.port.other", address=f"{host}:{port}")
    return Finding("port", False, what, say("doctor.port.other.fix"))


def _utc(stamp: Timestamp, like: datetime) -> datetime:
    return stamp.ToDatetime(tzinfo=like.tzinfo)
