"""At a terminal the territory stays: status, a killed site, then down; and nothing of it remains on the machine."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aval.adapters.cli.exits import Exit

SECONDS_MAX = 200.0
"""A machine that builds something else meanwhile takes its time; alone it is a dozen seconds."""


def aval(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `aval` in a folder, its output piped."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "aval.adapters.cli", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip


def at_a_terminal(*words: str, folder: Path) -> tuple[int, str]:
    """Runs `aval` as in a terminal's window: its exit code, and what was shown."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm"}
    child = subprocess.Popen(
        [sys.executable, "-m", "aval.adapters.cli", *words],
        cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # Linux: the other side is closed
                break
            if not piece:
                break
            shown += piece
        return child.wait(SECONDS_MAX), shown.decode("utf-8", "replace")
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def listens(address: str) -> bool:
    """Whether anything accepts a connection there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as one:
        one.settimeout(2.0)
        return one.connect_ex((host, int(port))) == 0


@pytest.mark.timeout(SECONDS_MAX + 20)
def test_the_territory_stays_until_it_is_taken_down(tmp_path: Path) -> None:
    code, shown = at_a_terminal("demo", "up", "--sites", "5", "--no-story", folder=tmp_path)
    try:
        assert code == Exit.DONE, shown
        assert "aval demo down" in shown
        for what in ("processus", "ports", "certificats", "bases de données"):
            assert f"5 {what} distinct" in shown
        again = aval("demo", "up", "--sites", "5", folder=tmp_path)
        assert again.returncode == Exit.CONFLICT
        assert "aval demo down" in again.stderr
        rows = json.loads(aval("demo", "status", "--json", "all", folder=tmp_path).stdout)
        nodes = [row for row in rows if row["certificateSerial"] and row["key"] != "hub"]
        assert len(nodes) == 5
        for field in ("pid", "address", "certificateSerial", "database"):
            assert len({row[field] for row in nodes}) == 5, field
        assert all(row["alive"] for row in rows)
        found = aval("find", "--discipline", "smr-geriatrie", "--date", "demain", folder=tmp_path)
        assert found.returncode == Exit.DONE, found.stderr
        killed = aval("demo", "kill-site", nodes[0]["key"], folder=tmp_path)
        assert "SIMULATION" in killed.stdout
        assert aval("demo", "status", folder=tmp_path).returncode == Exit.PARTIAL
        unknown = aval("demo", "kill-site", "750712184", folder=tmp_path)
        assert unknown.returncode == Exit.NOT_FOUND
    finally:
        gone = aval("demo", "down", folder=tmp_path)
    assert gone.returncode == Exit.DONE, gone.stderr
    assert list(tmp_path.iterdir()) == []
    listed = subprocess.run(["ps", "-eo", "command"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if str(tmp_path) in line]
    assert not [row["address"] for row in rows if row["address"] and listens(row["address"])]
    assert aval("demo", "down", folder=tmp_path).returncode == Exit.NOT_FOUND
