"""A node's settings: read whole or refused in a sentence that names the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from aval.node.settings import PROGRESS_SECONDS, SettingsInvalid, read_settings

SOUND = """
territory = "ge-10.aval.internal"
finess = "540000023"
identity = "identity"
listen = "127.0.0.1:0"
database = "data/node.db"
"""


def test_paths_are_relative_to_the_file_and_the_rest_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(SOUND + '[hub]\naddress = "10.0.0.1:5000"\n')
    settings = read_settings(path)
    assert settings.database == tmp_path / "data" / "node.db"
    assert settings.identity == tmp_path / "identity"
    assert settings.hub_address == "10.0.0.1:5000"
    assert settings.progress_seconds == PROGRESS_SECONDS
    assert (settings.metrics_port, settings.announce_address, settings.deny_list) == (0, None, None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('finess = "540000024"', "check digit"),
        ("finess = 540000023", "finess"),
        ('territory = "GE 10"', "lower-case DNS name"),
        ('colour = "blue"', "colour"),
        ("metrics_port = 70000", "metrics_port"),
        ('listen = "127.0.0.1"', "listen must be host:port"),
        ('announce_address = "nowhere"', "announce_address must be host:port"),
        ("progress_seconds = 0", "progress_seconds"),
        ("progress_seconds = ", "Invalid value"),
        ('listen = "0.0.0.0:5001"\n[hub]\naddress = "hub:1"', "announce_address must say what the hub dials"),
        ('listen = "[::]:5001"\n[hub]\naddress = "hub:1"', "announce_address must say what the hub dials"),
        ('[hub]\naddress = "nowhere"', "hub.address must be host:port"),
    ],
)
def test_what_cannot_be_used_is_told_by_name(tmp_path: Path, line: str, words: str) -> None:
    name = line.partition(" ")[0]
    kept = [old for old in SOUND.splitlines() if not old.startswith(f"{name} ")]
    path = tmp_path / "node.toml"
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(SettingsInvalid) as refused:
        read_settings(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert words in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"node\.toml: No such file"):
        read_settings(tmp_path / "node.toml")
