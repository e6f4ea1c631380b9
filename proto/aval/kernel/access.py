"""Who may call what: one table, (server, method) → kinds of caller (DESIGN §9). A method not in it is refused to all.

Kinds are as the server sees them (`aval.kernel.identity.standing`): at a node STAFF, ADAPTER and ESTABLISHMENT_DESK are
the establishment's own. What depends on more than the kind (own establishment, declared units, role of an operator) is
refused by the handler, by name: NOT_YOUR_ESTABLISHMENT, NOT_YOUR_UNIT, ROLE_NOT_ALLOWED.
"""

from enum import StrEnum

from aval.kernel.identity import CallerKind as K


class Server(StrEnum):
    """What serves a method."""

    NODE = "node"
    HUB = "hub"


_OWN_PEOPLE = frozenset({K.STAFF, K.ESTABLISHMENT_DESK})
_OWN = _OWN_PEOPLE | {K.ADAPTER}
_HUB = frozenset({K.HUB_REPLICA})
_CELL = frozenset({K.HUB_OPERATOR, K.HUB_DESK})
_REGULATORS = _OWN_PEOPLE | _CELL
_TERRITORY = _REGULATORS | {K.NODE}
_ALL = frozenset(K)

_V1 = "/aval.v1."


def _methods(service: str, callers: frozenset[K], names: str) -> dict[str, frozenset[K]]:
    return {f"{_V1}{service}/{name}": callers for name in names.split()}


_STANDARD = {
    "/grpc.health.v1.Health/Check": _ALL,
    "/grpc.health.v1.Health/Watch": _ALL,
    "/grpc.health.v1.Health/List": _ALL,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ALL,
}

_READS = "GetEstablishment ListEstablishments ListUnits WatchAvailability"

ACCESS: dict[Server, dict[str, frozenset[K]]] = {
    Server.NODE: {
        **_methods("AvailabilityService", _OWN | _HUB | {K.NODE}, _READS),
        **_methods("CensusService", _OWN, "ApplyMovements ReportAlive ListBeds ListStays"),
        **_methods(
            "CensusService",
            _OWN_PEOPLE,
            "DeclareUnit ConfirmUnit DeclareCounts CorrectFigures SetUnitPolicy GetUnitPolicy SetVisibility"
            " UpdateEstablishment UpdateBed ListParkedMovements SettleMovement AnswerArrivalDoubt ListArrivalDoubts"
            " SettleConflict MoveClaim ListUnverifiedUnits VerifyUnit",
        ),
        **_methods("LinkService", _HUB, "Exchange"),
        **_methods(
            "ReservationService",
            _HUB,
            "CreateReservation ConfirmReservation ReleaseReservation RenewReservation RescheduleReservation"
            " SupplyReservationDetails NoteReservationAnswer ReinstateReservation",
        ),
        **_methods(
            "ReservationService",
            _OWN_PEOPLE,
            "AcceptReservation WaitlistReservation DeclineReservation AskReservationDetails ReofferReservation"
            " WithdrawReservation TickReservationStep MarkReservationSeen AdmitReservation CancelReservationAdmission"
            " SettleReservationNote",
        ),
        **_methods("ReservationService", _OWN_PEOPLE | _HUB, "GetReservation ListReservations"),
        **_STANDARD,
    },
    Server.HUB: {
        **_methods("AvailabilityService", _TERRITORY | {K.FOREIGN_HUB}, _READS),
        **_methods(
            "RequestService",
            _REGULATORS,
            "SearchBeds CreateRequest AskEstablishments UpdateNeed ConfirmRequest TakeBackConfirm RescheduleRequest"
            " ReleaseConfirmed ReleaseAsk RenewHold SupplyDetails NoteAnswer PlaceOutside CancelRequest NotifyWhenFree"
            " TakeOver GetRequest ListRequests WatchRequests",
        ),
        **_methods("RequestService", _CELL, "ListOrphans"),
        **_methods("MembershipService", frozenset({K.NODE}), "Announce Renew"),
        **_methods("MembershipService", _TERRITORY, "ListMembers"),
        **_methods("MembershipService", _CELL, "Revoke"),
        **_methods("MembershipService", frozenset({K.NODE}), "Enrol"),
        **_methods("AttachService", frozenset({K.NODE}), "Attach"),
        **_methods("TerritoryService", _CELL, "GetCapacity"),
        **_STANDARD,
    },
}
"""Enrol will be called without a certificate, which no caller can be today: until that step nodes alone reach it."""


def may_call(server: Server, method: str, caller: K) -> bool:
    """Whether that kind of caller may call `method` (`/package.Service/Method`) at that server."""
    return caller in ACCESS[server].get(method, frozenset())
