"""EDXL-HAVE 1.0, for the fuzz run: good documents with some faults, and their bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from xml.sax.saxutils import escape

from aval.adapters import markup
from aval.adapters.counts.rows import COUNT_MAX
from aval.adapters.edxl import reading
from aval.adapters.edxl.have import HAVE, KNOWN_BED_TYPES, XNL
from aval.adapters.edxl.reading import Mapping
from tests.fuzz.campaign import Parser

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
TYPES = tuple(sorted(KNOWN_BED_TYPES))
MAPPING = Mapping(units={name: f"U{number}" for number, name in enumerate(TYPES)})
STRANGE = ("", "-1", "+3", "2.5", "9" * 400, "x", "\u0663", "1e3", "NotAvailable", "<b/>", "&lt;", "2026-11-24", "Full")
FREE_OF_FAULTS = 0.4


def structured(random: Random) -> bytes:
    """A house's bed types, told by a system that may be wrong."""
    spoilt = random.random() >= FREE_OF_FAULTS

    def text(value: str) -> str:
        return random.choice(STRANGE) if spoilt and random.random() < 0.1 else escape(value)

    def element(name: str, inside: str) -> str:
        if spoilt and random.random() < 0.04:
            return random.choice(("", inside, f"<have:{name}/>", f"<have:{name}>{inside}</have:{name}>" * 2))
        return f"<have:{name}>{inside}</have:{name}>"

    groups = ""
    for name in random.sample(TYPES, random.randrange(1, 6)):
        status = random.choice(("Vacant/Available", "VacantAvailable", "NotAvailable"))
        count = "0" if status == "NotAvailable" else str(random.randrange(40))
        inside = element("BedType", text(name))
        if random.random() < 0.1:
            inside += element("SubCategoryBedType", text("adulte"))
        figures = element("CapacityStatus", text(status)) if random.random() < 0.8 else ""
        figures += element("AvailableCount", text(count)) if random.random() < 0.9 else ""
        figures += element("BaselineCount", text("40"))
        groups += element("BedCapacity", inside + element("Capacity", figures))
    told = NOW - timedelta(minutes=random.choice((5, 60, 600, 600, 3000, -60)))
    name = element(
        "Organization",
        "<have:OrganizationInformation><xnl:OrganisationName><xnl:NameElement>Clinique</xnl:NameElement>"
        "</xnl:OrganisationName></have:OrganizationInformation>",
    )
    beds = element("HospitalBedCapacityStatus", groups)
    hospital = element("Hospital", name + beds + element("LastUpdateTime", text(told.isoformat())))
    whole = f'<have:HospitalStatus xmlns:have="{HAVE}" xmlns:xnl="{XNL}">{hospital}</have:HospitalStatus>'
    if random.random() < 0.3:
        whole = f"<de:EDXL xmlns:de='urn:x'><de:content>{whole}</de:content></de:EDXL>"
    if spoilt and random.random() < 0.05:
        whole = f'<!DOCTYPE a [<!ENTITY x "{"y" * 50}">]>{whole}'
    return whole.encode(random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")), "replace")


def feed(content: bytes) -> bool:
    """Reads it; whether capacities were found in it."""
    rows, problems = reading.read_have(content, MAPPING, NOW)
    assert rows or problems
    assert len({row.unit for row in rows}) == len(rows)
    for row in rows:
        assert row.free is not None
        assert 0 <= row.free <= COUNT_MAX
        assert row.told_at is not None
        assert NOW - timedelta(hours=24) <= row.told_at <= NOW + timedelta(minutes=10)
    return bool(rows)


PARSER = Parser("have", structured, feed, (markup, reading))
