"""Scenario 14: the demonstration itself, small, as a newcomer runs it: every claim true, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aval.adapters.cli.exits import Exit
from tests.typography import faults

STORY_SECONDS_MAX = 220.0
"""Alone on two cores it takes a fifth of it; a machine that builds something else meanwhile may need more."""


def aval(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `aval` in a folder, its output piped."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "aval.adapters.cli", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=STORY_SECONDS_MAX, check=False,
    )  # fmt: skip


@pytest.mark.timeout(STORY_SECONDS_MAX + 20)
def test_14_the_demonstration_tells_its_story_and_leaves_nothing(tmp_path: Path) -> None:
    done = aval("demo", "up", "--sites", "6", "--once", folder=tmp_path)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert done.stdout.count("SIMULATION") >= 10
    assert not faults(done.stdout)
    assert not (tmp_path / ".aval" / "demo").exists()
    assert not processes_of(tmp_path)
    gone = aval("demo", "status", "--json", "key", folder=tmp_path)
    assert gone.returncode == Exit.NOT_FOUND
    assert json.loads(gone.stdout or "[]") == []


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    listed = subprocess.run(["ps", "-eo", "command"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]
