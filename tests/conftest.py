"""What all tests share: which of them may be left out, the figures that they print, and how Hypothesis draws.

A test is left out in one way only. It asks for something that not every machine has through ``shared_dir`` or ``tool``,
and it stands in ``not_run.toml`` with its reason, which is printed when it is left out. Any other skip, and any xfail,
fails the session: a suite that says "passed" has run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Never

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED = CHECKOUT.parent / "shared"
"""Material for the project's developers that lies beside their checkout and is no part of it."""

NOT_RUN = "not run"
"""Under this key a report carries its reason, from xdist's workers to the session that prints it."""

FIGURE = "figure"
"""Under this key a report carries what its test has measured."""

# A machine that builds something else meanwhile is slow without a fault of ours: no deadline on an example. `make test`
# tries the same examples each time, so that what it says of a commit stays so; `make hunt` tries others.
settings.register_profile("aval", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("hunt", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("AVAL_EXAMPLES", "aval"))


def listed_reasons() -> dict[str, str]:
    """``not_run.toml`` as test → reason."""
    entries = tomllib.loads((CHECKOUT / "tests" / "not_run.toml").read_text()).get("not_run", [])
    return {entry["what"]: entry["why"] for entry in entries}


def _reason(item: pytest.Item) -> str | None:
    return listed_reasons().get(item.nodeid.partition("[")[0])


def _leave_out(request: pytest.FixtureRequest, absent: str) -> Never:
    item: pytest.Item = request.node
    reason = _reason(item)
    if reason is None:
        pytest.fail(f"{absent} is absent and tests/not_run.toml does not name this test", pytrace=False)
    item.user_properties.append((NOT_RUN, reason))
    pytest.skip(reason)


@pytest.fixture
def shared_dir(request: pytest.FixtureRequest) -> Path:
    """The folder ``shared`` beside the checkout; the test is left out where there is none."""
    if not SHARED.is_dir():
        _leave_out(request, "the folder `shared` beside the checkout")
    return SHARED


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> Callable[[str, int], Path]:
    """Finds a program of the machine, of a major version or a later one; the test is left out where there is none."""

    def find(name: str, major: int) -> Path:
        found = shutil.which(name)
        if found is None or _major(found) < major:
            _leave_out(request, f"the program `{name}` {major}")
        return Path(found)

    return find


def _major(program: str) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    said = re.search(r"\d+", done.stdout)
    return int(said[0]) if said else 0


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says what a test has measured, in a sentence that the session prints at its end."""
    item: pytest.Item = request.node
    return lambda sentence: item.user_properties.append((FIGURE, sentence))


LONGEST = ("tests/simulation/test_simulation", "tests/scenarios/", "tests/hub/shell/test_several_hubs")
"""Files of a minute or more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses, even where nothing is absent, a test that could be left out and is not named in ``not_run.toml``.

    The longest files go first: whole files are given to workers, and one that begins last is waited for alone.
    """
    items.sort(key=lambda item: min((i for i, one in enumerate(LONGEST) if item.nodeid.startswith(one)), default=99))
    for item in items:
        if {"shared_dir", "tool"} & set(getattr(item, "fixturenames", ())) and _reason(item) is None:
            raise pytest.UsageError(f"{item.nodeid} can be left out: tests/not_run.toml must say so, and why")


class LeftOut:
    """Follows the reports of one session: what was left out with a reason, what without, and what was measured."""

    def __init__(self) -> None:
        self.with_reason: dict[str, str] = {}
        self.without: set[str] = set()
        self.figures: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for each phase of each test, on the controller for the workers' tests too."""
        if report.when == "teardown":
            self.figures += [str(sentence) for key, sentence in report.user_properties if key == FIGURE]
        if hasattr(report, "wasxfail"):
            self.without.add(report.nodeid)
        elif report.skipped:
            reason = dict(report.user_properties).get(NOT_RUN)
            if reason is None:
                self.without.add(report.nodeid)
            else:
                self.with_reason[report.nodeid] = str(reason)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file can be skipped while it is collected."""
        if report.skipped:
            self.without.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A skip that nobody answers for fails a session that would have passed."""
        if self.without and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says what was measured, and what was left out, each with its reason."""
        for sentence in sorted(self.figures):
            terminalreporter.write_line(f"measured: {sentence}")
        for test, reason in sorted(self.with_reason.items()):
            terminalreporter.write_line(f"not run: {test}: {reason}")
        for test in sorted(self.without):
            terminalreporter.write_line(f"skipped or xfailed without standing in tests/not_run.toml: {test}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """One follower a session."""
    config.pluginmanager.register(LeftOut(), "left-out")
