"""`aval` as a program: exit codes, three-line errors, pipes, secrets, files and contexts. No server is needed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aval.adapters.cli.exits import BY_CODE, Exit, exit_of
from aval.adapters.pki import init_authority, issue
from aval.adapters.wire.credentials import read_bundle
from aval.kernel.finess import FinessET
from aval.kernel.identity import HubReplica, Node, Staff, Territory
from aval.kernel.reasons import Reason, Refusal

TERRITORY = Territory("essai.aval.internal")
FINESS = FinessET("540000023")


def aval(*words: str, folder: Path, contexts: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `aval` as a shell in a pipe would."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AVAL_CONTEXTS": str(contexts or folder / "none.toml"),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "aval.adapters.cli", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_every_refusal_has_an_exit_code_that_scripts_can_trust() -> None:
    for reason in Reason:
        code = exit_of(Refusal(reason))
        assert code is not Exit.DONE
        if reason.row.code in BY_CODE and reason is not Reason.STORAGE_UNAVAILABLE:
            assert code is BY_CODE[reason.row.code]
    assert exit_of(Refusal(Reason.NO_BED)) is Exit.CONFLICT
    assert exit_of(Refusal(Reason.REQUEST_NOT_FOUND)) is Exit.NOT_FOUND
    assert exit_of(Refusal(Reason.METHOD_NOT_ALLOWED)) is Exit.NOT_ALLOWED
    assert exit_of(Refusal(Reason.CERTIFICATE_EXPIRED)) is Exit.NOT_AUTHENTICATED
    assert exit_of(Refusal(Reason.NODE_UNREACHABLE)) is Exit.UNREACHABLE


def test_a_typo_is_answered_by_three_lines(tmp_path: Path) -> None:
    done = aval("fnd", folder=tmp_path)
    assert done.returncode == Exit.USAGE
    assert done.stdout == ""
    what, why, following = done.stderr.splitlines()
    assert what.startswith("Erreur\u00a0:")
    assert "« find »".replace(" ", "\u202f") in why
    assert following.endswith("aval --help")


def test_english_is_spoken_where_it_is_asked_for(tmp_path: Path) -> None:
    done = aval("fnd", folder=tmp_path, LANG="en_GB.UTF-8")
    assert done.stderr.splitlines()[0] == "Error: unknown command “fnd”"


@pytest.mark.parametrize("words", [("--token", "abc"), ("--key=abc",), ("x", "-----BEGIN EC PRIVATE KEY-----")])
def test_a_secret_in_an_argument_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = aval("node", "init", "540000023", *words, folder=tmp_path)
    assert done.returncode == Exit.USAGE
    assert "SECRET_IN_ARGUMENT" in done.stderr


def test_in_a_pipe_there_is_neither_colour_nor_alignment(tmp_path: Path) -> None:
    done = aval("help", "exit-codes", folder=tmp_path)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [int(row[0]) for row in rows] == [int(one) for one in Exit]
    assert "\x1b" not in done.stdout


def test_without_a_context_it_says_so(tmp_path: Path) -> None:
    done = aval("find", "--discipline", "usld", folder=tmp_path)
    assert done.returncode == Exit.USAGE
    assert "NO_CONTEXT" in done.stderr


def test_an_authority_issues_and_never_replaces_itself(tmp_path: Path) -> None:
    assert aval("pki", "init", TERRITORY, "--dir", "ca", folder=tmp_path).returncode == Exit.DONE
    again = aval("pki", "init", TERRITORY, "--dir", "ca", folder=tmp_path)
    assert again.returncode == Exit.CONFLICT
    identity = str(Node(TERRITORY, FINESS))
    done = aval("pki", "issue", identity, "--dir", "ca", "--out", "node", "--json", "identity", folder=tmp_path)
    assert json.loads(done.stdout) == {"identity": identity}
    assert str(read_bundle(tmp_path / "node", datetime.now(UTC)).identity) == identity
    wrong = aval("pki", "issue", "spiffe://other.place/hub/desk", "--dir", "ca", "--out", "x", folder=tmp_path)
    assert wrong.returncode == Exit.NOT_ALLOWED
    assert "OTHER_TERRITORY" in wrong.stderr


def test_settings_are_written_once(tmp_path: Path) -> None:
    authority = init_authority(tmp_path / "ca", TERRITORY, datetime.now(UTC))
    issue(authority, Node(TERRITORY, FINESS), datetime.now(UTC)).write(tmp_path / "id")
    words = ("node", "init", FINESS, "--identity", "id", "--hub", "127.0.0.1:1", "--listen", "127.0.0.1:0")
    assert aval(*words, folder=tmp_path).returncode == Exit.DONE
    assert aval(*words, folder=tmp_path).returncode == Exit.CONFLICT
    assert aval(*words, "--force", folder=tmp_path).returncode == Exit.DONE
    other = aval("node", "init", "540001138", "--identity", "id", folder=tmp_path)
    assert "NOT_YOUR_ESTABLISHMENT" in other.stderr
    stopped = aval("node", "status", "--config", "node.toml", folder=tmp_path)
    assert stopped.returncode == Exit.UNREACHABLE


def test_an_expired_certificate_is_named_before_anything_is_dialled(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = init_authority(tmp_path / "ca", TERRITORY, now)
    staff = Staff(TERRITORY, FINESS, "cadre")
    issued = issue(authority, staff, now, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    issued.write(tmp_path / "id")
    contexts = tmp_path / "contexts.toml"
    contexts.write_text('current = "moi"\n[contexts.moi]\nidentity = "id"\nhub = "127.0.0.1:1"\n', encoding="utf-8")
    done = aval("units", "list", folder=tmp_path, contexts=contexts)
    assert done.returncode == Exit.NOT_AUTHENTICATED
    assert "CERTIFICATE_EXPIRED" in done.stderr
    shown = aval("cert", "show", "--json", "usable", folder=tmp_path, contexts=contexts)
    assert shown.returncode == Exit.NOT_AUTHENTICATED
    assert json.loads(shown.stdout) == {"usable": False}


def test_a_hub_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    authority = init_authority(tmp_path / "ca", TERRITORY, datetime.now(UTC))
    issue(authority, Staff(TERRITORY, FINESS, "cadre"), datetime.now(UTC)).write(tmp_path / "id")
    contexts = tmp_path / "contexts.toml"
    contexts.write_text('[contexts.moi]\nidentity = "id"\nhub = "127.0.0.1:9"\n', encoding="utf-8")
    done = aval("units", "list", "--context", "moi", "--timeout", "2s", folder=tmp_path, contexts=contexts)
    assert done.returncode == Exit.UNREACHABLE
    assert "aval doctor" in done.stderr
    typo = aval("units", "list", "--context", "mo", folder=tmp_path, contexts=contexts)
    assert typo.returncode == Exit.NOT_FOUND
    assert "moi" in typo.stderr


def test_contexts_are_listed_and_chosen(tmp_path: Path) -> None:
    contexts = tmp_path / "contexts.toml"
    contexts.write_text(
        'current = "a"\n[contexts.a]\nidentity = "x"\nhub = "h:1"\n[contexts.b]\nidentity = "y"\nnode = "n:2"\n',
        encoding="utf-8",
    )
    assert aval("context", "use", "b", folder=tmp_path, contexts=contexts).returncode == Exit.DONE
    listed = aval("context", "list", "--json", "name,current,node", folder=tmp_path, contexts=contexts)
    assert json.loads(listed.stdout) == [
        {"name": "a", "current": False, "node": ""},
        {"name": "b", "current": True, "node": "n:2"},
    ]


def test_a_territory_file_is_checked(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('format = 1\nterritory = "essai.aval.internal"\ntitle = "Essai"\n', encoding="utf-8")
    done = aval("territory", "check", "bad.toml", "--json", "severity,what", folder=tmp_path)
    assert done.returncode == Exit.FAILED
    assert any(row["severity"] == "ERROR" for row in json.loads(done.stdout))
    assert aval("territory", "check", "absent.toml", folder=tmp_path).returncode == Exit.NOT_FOUND


def test_the_access_table_is_explained_from_the_kernel(tmp_path: Path) -> None:
    done = aval("policy", "explain", "Exchange", "--json", "server,callers", folder=tmp_path)
    assert json.loads(done.stdout) == [{"server": "node", "callers": ["hub-replica"]}]
    assert aval("policy", "check", folder=tmp_path).returncode == Exit.DONE
    assert aval("policy", "explain", "Exchang", folder=tmp_path).returncode == Exit.NOT_FOUND


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(tmp_path: Path, shell: str) -> None:
    done = aval("completion", shell, folder=tmp_path)
    assert done.returncode == Exit.DONE
    assert "_AVAL_COMPLETE" in done.stdout


def test_the_replica_of_a_hub_gets_its_settings(tmp_path: Path) -> None:
    authority = init_authority(tmp_path / "ca", TERRITORY, datetime.now(UTC))
    issue(authority, HubReplica(TERRITORY, 0), datetime.now(UTC)).write(tmp_path / "id")
    done = aval("hub", "init", "--territory", "absent.toml", "--identity", "id", folder=tmp_path)
    assert done.returncode == Exit.NOT_FOUND
