"""What the documents tell people to type is typed: `docs/deploy.md`, from first to last command, in a new folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aval.adapters.demo.building import free_ports
from tests.conftest import CHECKOUT

DEPLOY = CHECKOUT / "docs" / "deploy.md"
SECONDS_MAX = 240.0
"""Alone it takes a tenth of it."""

READY = re.compile(r"^(aval (?:hub|node) serve --config (\S+)) &$", re.MULTILINE)


def commands(path: Path) -> str:
    """The shell blocks of a document, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks, path
    return "\n".join(blocks)


def waiting(script: str) -> str:
    """The same, waiting where a person reads: until a server is ready, until the hub has heard of the unit."""
    waited = READY.sub(r'\1 2>> servers.log &\nuntil test -e "$(dirname \2)"/*.ready.json; do sleep 0.1; done', script)
    assert waited.count("until test") == 3
    connected = "until aval hub nodes > /dev/null 2>&1; do sleep 0.2; done\naval hub nodes"
    waited = waited.replace("\naval hub nodes", f"\n{connected}")
    heard = "until aval units list 2> /dev/null | grep -q U201; do sleep 0.2; done\naval find"
    return waited.replace("\naval find", f"\n{heard}")


@pytest.mark.timeout(SECONDS_MAX + 20)
def test_the_commands_of_the_deployment_deploy(tmp_path: Path) -> None:
    """A territory of one hub and two nodes, by the document alone; its three ports are changed for free ones."""
    script = commands(DEPLOY)
    for written, free in zip(("7400", "7401", "7402"), free_ports(3), strict=True):
        assert f"127.0.0.1:{written}" in script
        script = script.replace(f"127.0.0.1:{written}", f"127.0.0.1:{free}")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "fr_FR.UTF-8",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    typed = f"set -euxo pipefail\nexport PS4='$ '\n{waiting(script)}\n"
    with (folder / "shown").open("w") as shown_to, (folder / "typed").open("w") as typed_to:
        # Into files: the servers hold them too, and a pipe would only end with them.
        process = subprocess.Popen(
            ["bash", "-c", typed], cwd=folder, env=environment, stdout=shown_to, stderr=typed_to, start_new_session=True
        )
        try:
            code = process.wait(SECONDS_MAX)
        finally:
            _end_group(process)
    shown, told = (folder / "shown").read_text(), (folder / "typed").read_text()
    log = folder / "servers.log"
    assert code == 0, shown + told + (log.read_text() if log.exists() else "")
    assert "540003043/U201" in shown
    assert re.search(r"^1\t540003043/U201\t.*\t3\t", shown, re.MULTILINE), shown
    assert "2 sur 2 établissements reliés" in told


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """The servers are the shell's children: they end with its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if number is signal.SIGTERM:
            subprocess.run(["sleep", "0.5"], check=True)
    process.wait()


def test_each_setting_that_is_told_is_one() -> None:
    """A name in the tables of settings is a field of the settings, and none is left out."""
    text = DEPLOY.read_text(encoding="utf-8")
    told: dict[str, set[str]] = {}
    for server in ("hub", "node"):
        table = text.split(f"| setting of `{server}.toml` | meaning |\n|---|---|\n")[1].split("\n\n")[0]
        first = [line.split("|")[1] for line in table.splitlines()]
        told[server] = {name for cell in first for name in re.findall(r"`\[?(\w+)", cell)}
    known = {
        server: set(re.findall(r"^    (\w+): ", (CHECKOUT / path).read_text(encoding="utf-8"), re.MULTILINE))
        for server, path in (("hub", "hub/aval/hub/settings.py"), ("node", "node/aval/node/settings.py"))
    }
    for server in told:
        assert told[server] <= known[server] | {"hub"}, server


def test_each_metric_that_is_told_is_served() -> None:
    """The names in the table of metrics are those of the exporter."""
    text = DEPLOY.read_text(encoding="utf-8")
    told = set(re.findall(r"`(aval_\w+)`", text))
    code = (CHECKOUT / "adapters/aval/adapters/telemetry.py").read_text(encoding="utf-8")
    assert told
    assert {name.removesuffix("_total") for name in told} <= set(re.findall(r'"(aval_\w+)"', code))
