"""Why a unit stands where it does, and why another was left out, for people: the same words in `aval find` and in the
demonstration. The contract carries names and values (`too_far`, `limit_minutes`); here they become a phrase.
"""

from datetime import datetime
from typing import Any

from aval.adapters.french import Speech
from aval.v1 import request_pb2

SURE, ANSWER, WISHES, DISTANCE, FAIRNESS, NAME = (
    request_pb2.RankReason.CRITERION_SURE,
    request_pb2.RankReason.CRITERION_ANSWER,
    request_pb2.RankReason.CRITERION_UNMET_WISHES,
    request_pb2.RankReason.CRITERION_DISTANCE,
    request_pb2.RankReason.CRITERION_FAIRNESS,
    request_pb2.RankReason.CRITERION_NAME,
)


def rank_said(one: request_pb2.RankedUnit, speech: Speech, now: datetime) -> str:
    """The criteria that place a unit before the next one, with what was compared: `chiffre sûr : à jour, …`."""
    colon = "\u00a0: " if speech.french else ": "
    said = []
    for reason in one.reasons:
        if reason.criterion == NAME:
            said.append("à égalité, par nom" if speech.french else "tied, by name")
            continue
        criterion = _short(request_pb2.RankReason.Criterion, reason.criterion, "CRITERION_")
        said.append(speech.state(criterion) + colon + _compared(reason, speech, now))
    return ", ".join(said)


def exclusion_said(one: request_pb2.ExcludedUnit, speech: Speech, now: datetime) -> str:
    """The reason for which a unit was left out, with what was compared: `trop loin (35 min, 30 min au plus)`."""
    word = speech.state(_short(request_pb2.ExclusionReason, one.reason, "EXCLUSION_REASON_"))
    details = _details(dict(one.metadata), speech, now)
    if one.HasField("age"):
        age = speech.age(one.age.ToTimedelta(), now)
        details.append(f"dernier chiffre {age}" if speech.french else f"last figure {age}")
    return f"{word} ({', '.join(details)})" if details else word


def _compared(reason: request_pb2.RankReason, speech: Speech, now: datetime) -> str:
    if reason.criterion == SURE:
        return speech.state(reason.value.upper())
    if reason.criterion == ANSWER:
        return _answered(reason.value, speech, now)
    if reason.criterion == DISTANCE:
        return _length(reason.value, speech)
    return reason.value


def _answered(value: str, speech: Speech, now: datetime) -> str:
    """`oui`, or `pas avant lun. 9 h 00`."""
    if value == "yes":
        return "oui" if speech.french else "yes"
    moment = speech.moment(datetime.fromisoformat(value), now)
    return f"pas avant {moment}" if speech.french else f"not before {moment}"


def _length(value: str, speech: Speech) -> str:
    """`35 min`, `12,3 km`, from what the hub compared."""
    amount, _, unit = value.partition(" ")
    if not unit:
        return ("inconnu" if speech.french else "unknown") if value == "unknown" else value
    return f"{amount.replace('.', ',') if speech.french else amount}\u00a0{unit}"


def _details(compared: dict[str, str], speech: Speech, now: datetime) -> list[str]:
    """What was compared, in words; a value that this version does not know is shown by its name."""
    french, said = speech.french, []
    for unit, measured, limit in (("min", "minutes", "limit_minutes"), ("km", "distance_km", "limit_km")):
        if measured in compared and limit in compared:
            here, most = (_length(f"{compared.pop(key)} {unit}", speech) for key in (measured, limit))
            said.append(f"{here}, {most} au plus" if french else f"{here}, {most} at most")
    if "age_years" in compared:
        age, least, most = compared.pop("age_years"), compared.pop("min_years", "0"), compared.pop("max_years", "")
        until = f"de {least} à {most} ans" if most else f"à partir de {least} ans"
        limits = f"from {least} to {most} years" if most else f"from {least} years on"
        said.append(f"{age}\u00a0ans, admet {until}" if french else f"{age}, admits {limits}")
    for key, words in _INSTANTS.items():
        if key in compared:
            moment = speech.moment(datetime.fromisoformat(compared.pop(key)), now)
            said.append(f"{words[0 if french else 1]} {moment}")
    if "gender" in compared:
        said.append(speech.state(compared.pop("gender").upper()))
    if "feature" in compared:
        said.append(compared.pop("feature").replace(",", ", "))
    if "conflicts" in compared:
        said.append(speech.count(int(compared.pop("conflicts")), *_CONFLICTS[0 if french else 1]))
    return [*said, *(f"{key} = {value}" for key, value in sorted(compared.items()))]


_INSTANTS = {
    "closed_until": ("jusqu’à", "until"),
    "full_from": ("à partir de", "from"),
    "next_admission_time": ("prochaine admission", "next admission"),
}
_CONFLICTS = (("conflit", "conflits"), ("conflict", "conflicts"))


def _short(enum: Any, number: int, prefix: str) -> str:
    """The name of a value, without its prefix; its number where this version does not know it."""
    try:
        return str(enum.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)
