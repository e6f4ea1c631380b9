"""A node's settings: read whole or refused in a sentence that names the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from aval.kernel.declared import DeclaredFault
from aval.node.settings import PROGRESS_SECONDS, read_settings

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
    ("line", "where", "what"),
    [
        ('finess = "540000024"', "finess", "finess"),
        ("finess = 540000023", "finess", "type-str"),
        ('territory = "GE 10"', "territory", "territory"),
        ('colour = "blue"', "colour", "field"),
        ("database", "database", "absent"),
        ("metrics_port = 70000", "metrics_port", "port"),
        ('metrics_port = "7000"', "metrics_port", "type-int"),
        ('listen = "127.0.0.1"', "listen", "address"),
        ('announce_address = "nowhere"', "announce_address", "address"),
        ("announce_address = 7401", "announce_address", "type-str"),
        ("progress_seconds = 0", "progress_seconds", "above-zero"),
        ('progress_seconds = "often"', "progress_seconds", "type-float"),
        ("progress_seconds = ", "", "toml"),
        ('listen = "0.0.0.0:5001"\n[hub]\naddress = "hub:1"', "announce_address", "announce"),
        ('listen = "[::]:5001"\n[hub]\naddress = "hub:1"', "announce_address", "announce"),
        ('[hub]\naddress = "nowhere"', "hub.address", "address"),
        ('[hub]\nadress = "hub:1"', "hub.adress", "field"),
        ("[hub]", "hub.address", "absent"),
        ('hub = "hub:1"', "hub", "type-object"),
    ],
)
def test_what_cannot_be_used_is_told_by_name(tmp_path: Path, line: str, where: str, what: str) -> None:
    name = line.partition(" ")[0]
    kept = [old for old in SOUND.splitlines() if not old.startswith(f"{name} ")]
    path = tmp_path / "node.toml"
    path.write_text("\n".join([*kept, line if line != name or line.startswith("[") else ""]))
    with pytest.raises(DeclaredFault) as refused:
        read_settings(path)
    assert (refused.value.path, refused.value.where, refused.value.what) == (str(path), where, what)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclaredFault, match=r"node\.toml: unreadable"):
        read_settings(tmp_path / "node.toml")
