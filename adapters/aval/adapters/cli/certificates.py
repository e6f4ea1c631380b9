"""`aval pki …` makes a territory's authority and its certificates; `aval cert …` reads them."""

from datetime import timedelta
from pathlib import Path

import click

from aval.adapters.cli.command import Duration, Group
from aval.adapters.cli.contexts import chosen
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.session import bundle_failure, certificate_of, quiet_logs
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import now, say, speech
from aval.adapters.pki import LEAF_LIFE, ROOT_KEY_FILE, init_authority, issue, load_authority
from aval.kernel.identity import Territory, parse_identity

pki = Group("pki", "help.pki")
cert = Group("cert", "help.cert")

ISSUED_FIELDS = ("identity", "folder", "serial", "notBefore", "notAfter")


@pki.verb(
    "init",
    examples=(
        "aval pki init ge-10.aval.internal --dir autorite",
        "aval pki init ge-10.aval.internal --dir autorite --dry-run",
    ),
    writes=True,
)
@click.argument("territory")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("pki"), help="opt.pki-dir")
def init(terminal: Terminal, territory: str, folder: Path) -> None:
    """Makes the authority of a territory: an offline root, and the one that issues."""
    named = Territory(territory)
    if terminal.dry_run:
        terminal.tell(say("dry.run"))
        return
    try:
        init_authority(folder, named, now())
    except FileExistsError as error:
        raise Failure(
            say("pki.exists", folder=folder), say("pki.exists.why"), "aval pki issue --help", code=Exit.CONFLICT
        ) from error
    terminal.line(say("pki.made", territory=named, folder=folder))
    terminal.tell(say("pki.offline", path=folder / ROOT_KEY_FILE))


@pki.verb(
    "issue",
    examples=(
        "aval pki issue spiffe://ge-10.aval.internal/establishment/540000023 --out identite",
        "aval pki issue spiffe://ge-10.aval.internal/hub/operator/cellule --out cellule --days 30d",
    ),
    reads=ISSUED_FIELDS,
    writes=True,
)
@click.argument("identity")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("pki"), help="opt.pki-dir")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="opt.out")
@click.option("--days", "life", type=Duration(), default=None, help="opt.days")
def issue_certificate(terminal: Terminal, identity: str, folder: Path, out: Path, life: timedelta | None) -> None:
    """Issues, or renews, the certificate of an identity: a folder with certificate, key and trust."""
    named = parse_identity(identity)
    try:
        authority = load_authority(folder)
    except (OSError, ValueError) as error:
        raise Failure(
            say("pki.absent", folder=folder), str(error), f"aval pki init {named.territory} --dir {folder}",
            code=Exit.NOT_FOUND,
        ) from error  # fmt: skip
    if terminal.dry_run:
        terminal.tell(say("dry.run"))
        return
    issued = issue(authority, named, now(), life=life or LEAF_LIFE)
    issued.write(out)
    certificate = issued.certificate
    if terminal.is_json:
        terminal.one_object(
            {
                "identity": str(named),
                "folder": str(out),
                "serial": f"{certificate.serial_number:x}",
                "notBefore": certificate.not_valid_before_utc.isoformat(),
                "notAfter": certificate.not_valid_after_utc.isoformat(),
            }
        )
        return
    date = speech().date(certificate.not_valid_after_utc)
    terminal.line(say("pki.issued", identity=named, folder=out, date=date))


@cert.verb(
    "show",
    examples=("aval cert show", "aval cert show identite --json identity,notAfter"),
    reads=(*ISSUED_FIELDS, "daysLeft", "usable"),
)
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def show(terminal: Terminal, folder: Path | None) -> None:
    """The certificate of a bundle, or of the current context; exit 4 if it cannot be used."""
    from aval.adapters.wire.credentials import BundleUnusable, identity_of, read_bundle

    quiet_logs(terminal)
    bundle = folder if folder is not None else chosen(terminal.context)[2]
    certificate = certificate_of(bundle)
    if certificate is None:
        raise Failure(say("file.absent", path=bundle / "cert.pem"), following="aval pki issue …", code=Exit.NOT_FOUND)
    fault: Failure | None = None
    try:
        read_bundle(bundle, now())
    except BundleUnusable as error:
        fault = bundle_failure(bundle, error)
    identity = identity_of(certificate)
    if terminal.is_json:
        terminal.one_object(
            {
                "identity": str(identity),
                "folder": str(bundle),
                "serial": f"{certificate.serial_number:x}",
                "notBefore": certificate.not_valid_before_utc.isoformat(),
                "notAfter": certificate.not_valid_after_utc.isoformat(),
                "daysLeft": round((certificate.not_valid_after_utc - now()).total_seconds() / 86_400, 1),
                "usable": fault is None,
            }
        )
    else:
        end = speech().certificate_end(certificate.not_valid_after_utc, now())
        terminal.line(say("cert.line", identity=identity, serial=f"{certificate.serial_number:x}", end=end))
    if fault is not None:
        raise fault
