"""Identities: each is read from its URI and written back; nothing else is an identity; who is what for which server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.kernel.finess import FinessET, check_digit
from aval.kernel.identity import (
    Adapter,
    CallerKind,
    EstablishmentDesk,
    HubDesk,
    HubOperator,
    HubReplica,
    Identity,
    Node,
    Staff,
    Territory,
    parse_identity,
    standing,
)
from aval.kernel.reasons import Reason, Refusal

HERE = Territory("ge-10.aval.internal")
THERE = Territory("ge-11.aval.internal")
NANCY = FinessET("540000023")
BASTIA = FinessET("2B0000012"[:8] + check_digit("2B000001"))

TERRITORIES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\.[a-z0-9]{1,5}){0,3}", fullmatch=True).map(Territory)
FINESS = st.from_regex(r"([0-9]{2}|2[AB])[0-9]{6}", fullmatch=True).filter(str.isascii)
ESTABLISHMENTS = FINESS.map(lambda eight: FinessET(eight + check_digit(eight)))
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True)
IDENTITIES: st.SearchStrategy[Identity] = st.one_of(
    st.builds(HubReplica, TERRITORIES, st.integers(0, 999)),
    st.builds(HubOperator, TERRITORIES, NAMES),
    st.builds(HubDesk, TERRITORIES),
    st.builds(Node, TERRITORIES, ESTABLISHMENTS),
    st.builds(Staff, TERRITORIES, ESTABLISHMENTS, NAMES),
    st.builds(Adapter, TERRITORIES, ESTABLISHMENTS, NAMES),
    st.builds(EstablishmentDesk, TERRITORIES, ESTABLISHMENTS),
)


@given(IDENTITIES)
def test_an_identity_is_written_and_read_back(identity: Identity) -> None:
    read = parse_identity(str(identity))
    assert read == identity
    assert type(read) is type(identity)
    assert read.kind is identity.kind


@given(IDENTITIES, IDENTITIES)
def test_two_identities_never_share_a_uri(one: Identity, other: Identity) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(IDENTITIES)
def test_those_who_serve_have_one_dns_name_in_their_territory(identity: Identity) -> None:
    if isinstance(identity, Node | HubReplica):
        name = identity.dns_name
        assert name is not None
        assert name.endswith(f".{identity.territory}")
        assert name == name.lower()
        assert len(name) <= 253
    else:
        assert identity.dns_name is None


@given(st.text(max_size=80))
def test_any_text_is_an_identity_or_is_refused_by_name(text: str) -> None:
    for uri in (text, f"spiffe://{text}", f"spiffe://{HERE}/{text}"):
        try:
            read = str(parse_identity(uri))
        except Refusal as refusal:
            read = refusal.reason
        assert read in {uri, Reason.IDENTITY_MALFORMED, Reason.MALFORMED_FINESS}


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://ge-10.aval.internal/hub/desk",
        "SPIFFE://ge-10.aval.internal/hub/desk",
        "spiffe:///hub/desk",
        "spiffe://GE-10.aval.internal/hub/desk",
        "spiffe://ge-10.aval.internal:443/hub/desk",
        "spiffe://someone@ge-10.aval.internal/hub/desk",
        "spiffe://ge-10..aval/hub/desk",
        "spiffe://-ge.aval/hub/desk",
        "spiffe://ge-10.aval.internal",
        "spiffe://ge-10.aval.internal/",
        "spiffe://ge-10.aval.internal/hub",
        "spiffe://ge-10.aval.internal/hub/",
        "spiffe://ge-10.aval.internal//hub/desk",
        "spiffe://ge-10.aval.internal/hub/desk/",
        "spiffe://ge-10.aval.internal/hub/desk?x=1",
        "spiffe://ge-10.aval.internal/hub/desk#x",
        "spiffe://ge-10.aval.internal/hub/replica/",
        "spiffe://ge-10.aval.internal/hub/replica/01",
        "spiffe://ge-10.aval.internal/hub/replica/-1",
        "spiffe://ge-10.aval.internal/hub/replica/1000",
        "spiffe://ge-10.aval.internal/hub/replica/²",
        "spiffe://ge-10.aval.internal/hub/operator/Marie",
        "spiffe://ge-10.aval.internal/hub/operator/..",
        "spiffe://ge-10.aval.internal/hub/operator/m%61rie",
        "spiffe://ge-10.aval.internal/establishment/540000024",
        "spiffe://ge-10.aval.internal/establishment/2a0000012",
        "spiffe://ge-10.aval.internal/establishment/540000023/operator/",
        "spiffe://ge-10.aval.internal/establishment/540000023/admin/marie",
        "spiffe://ge-10.aval.internal/establishment/540000023/operator/marie/x",
        "spiffe://ge-10.aval.internal/hub/desk\n",
        "spiffe://ge-10.aval.internal\n/hub/desk",
        "spiffe://" + "a" * 201 + "/hub/desk",
    ],
)
def test_a_second_spelling_is_nobody(uri: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_identity(uri)
    assert refused.value.reason in {Reason.IDENTITY_MALFORMED, Reason.MALFORMED_FINESS}


def test_the_names_that_clients_dial() -> None:
    assert Node(HERE, NANCY).dns_name == "540000023.establishment.ge-10.aval.internal"
    assert Node(HERE, BASTIA).dns_name == f"{BASTIA.lower()}.establishment.ge-10.aval.internal"
    assert HubReplica(HERE, 1).dns_name == HubReplica(HERE, 2).dns_name == "hub.ge-10.aval.internal"


def everyone(territory: Territory, finess: FinessET) -> list[Identity]:
    """One identity of each kind."""
    return [
        HubReplica(territory, 1),
        HubOperator(territory, "lea"),
        HubDesk(territory),
        Node(territory, finess),
        Staff(territory, finess, "marie"),
        Adapter(territory, finess, "dpi"),
        EstablishmentDesk(territory, finess),
    ]


def test_at_a_node_only_its_own_house_and_its_hub_are_somebody() -> None:
    server = Node(HERE, NANCY)
    for caller in everyone(HERE, NANCY):
        assert standing(caller, server) is caller.kind
    for caller in everyone(HERE, BASTIA):
        if caller.establishment is None:
            assert standing(caller, server) is caller.kind
        else:
            with pytest.raises(Refusal) as refused:
                standing(caller, server)
            assert refused.value.reason is Reason.NOT_YOUR_ESTABLISHMENT


def test_at_a_hub_every_house_of_the_territory_is_somebody() -> None:
    for finess in (NANCY, BASTIA):
        for caller in everyone(HERE, finess):
            assert standing(caller, HubReplica(HERE, 1)) is caller.kind


@pytest.mark.parametrize("declared", [False, True])
def test_of_another_territory_only_a_declared_hub_is_somebody(declared: bool) -> None:
    foreign = frozenset({THERE}) if declared else frozenset[Territory]()
    for server in (Node(HERE, NANCY), HubReplica(HERE, 1)):
        for caller in everyone(THERE, NANCY):
            if declared and isinstance(caller, HubReplica):
                assert standing(caller, server, foreign) is CallerKind.FOREIGN_HUB
                continue
            with pytest.raises(Refusal) as refused:
                standing(caller, server, foreign)
            assert refused.value.reason is Reason.OTHER_TERRITORY
