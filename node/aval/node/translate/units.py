"""A unit with its published figures, as a message: exact, and with what the house keeps inside left out for others."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from aval.kernel.need import Feature
from aval.kernel.statuses import freshness_of
from aval.node import availability
from aval.node import model as m
from aval.node.published import Published
from aval.node.translate.outward import Reader, interval, mandate, wire_hours
from aval.node.translate.words import (
    ANSWERING,
    CLOSURE_KINDS,
    CLOSURE_REASONS,
    CONFLICT_CAUSES,
    COUNTINGS,
    DISCIPLINES,
    FEATURES,
    FRESHNESS,
    GENDERS,
    HORIZONS,
    MODES,
    SHOWN,
    SOURCE_KINDS,
    STATUSES,
    Names,
    duration,
    timestamp,
)
from aval.v1 import availability_pb2 as pb
from aval.v1 import terms_pb2


class UnitWriter:
    """Writes units for one reader, at one instant of the node."""

    def __init__(self, published: Published, names: Names, reader: Reader, now: datetime) -> None:
        self._published = published
        self._names = names
        self._reader = reader
        self._now = now

    def message(self, unit_id: str) -> pb.Unit:
        """A unit that there is."""
        unit, shown = self._published.units[unit_id], self._published.figures[unit_id]
        message = pb.Unit(
            name=self._names.unit(unit_id),
            display_name=unit.display_name,
            discipline=DISCIPLINES.wire(unit.discipline),
            counting=COUNTINGS.wire(unit.counting),
            shown=pb.SHOWN_EXACT,
            as_of=timestamp(shown.as_of),
            declared=_declared(unit),
            counts=[
                pb.Count(
                    status=STATUSES.wire(one.status),
                    horizon=HORIZONS.wire(one.horizon),
                    gender=GENDERS.wire(one.gender),
                    count=one.count,
                )
                for one in shown.counts
            ],
            grantable=[
                pb.Grantable(horizon=HORIZONS.wire(one.horizon), gender=GENDERS.wire(one.gender), count=one.count)
                for one in shown.grantable
            ],
            classes=[_class(one) for one in shown.classes],
            policy=_policy(shown.policy),
            sources=[self._source(source, unit_id) for source in self._winning_first(unit)],
            features=_features(unit.features),
            unverified=self._published.ledger.book(unit_id).reconciling is not None,
        )
        if unit.ages is not None:
            message.ages.CopyFrom(pb.AgeRange(min_years=unit.ages.min_years, max_years=unit.ages.max_years))
        self._add_age(unit, message)
        if self._reader.inside:
            self._add_inside(unit, shown, message)
        return message

    def _add_age(self, unit: m.Unit, message: pb.Unit) -> None:
        winning = self._winning(unit)
        if winning is None:
            message.freshness = pb.FRESHNESS_STALE
            return
        source, age = winning
        fresh = freshness_of(age, source.fresh_max, source.stale_min)
        message.freshness = pb.FRESHNESS_STALE if message.unverified else FRESHNESS.wire(fresh)
        if age is not None:
            message.age.FromTimedelta(age)

    def _winning(self, unit: m.Unit) -> tuple[m.Source, timedelta | None] | None:
        """The source whose word stands, and its age: the first that is not stale, for then a lower one is heard."""
        ages = [(source, self._published.age(source.id, self._now)) for source in unit.sources]
        alive = ((source, age) for source, age in ages if age is not None and age <= source.stale_min)
        return next(alive, ages[0] if ages else None)

    def _winning_first(self, unit: m.Unit) -> list[m.Source]:
        """The sources as the contract has them: the winning one, then the others in their declared precedence."""
        winning = self._winning(unit)
        return sorted(unit.sources, key=lambda source: winning is None or source is not winning[0])

    def _add_inside(self, unit: m.Unit, shown: availability.UnitFigures, message: pb.Unit) -> None:
        rule = unit.visibility
        message.closures.extend(self._closure(closure) for closure in shown.closures)
        message.conflicts.extend(self._conflict(conflict) for conflict in shown.conflicts)
        message.disagreements.extend(_disagreement(one) for one in shown.disagreements)
        message.visibility.CopyFrom(
            pb.VisibilityRule(
                ght=SHOWN.wire(rule.ght), partner=SHOWN.wire(rule.partner), everyone=SHOWN.wire(rule.everyone)
            )
        )

    def _source(self, of: m.Source, unit: str) -> pb.Source:
        age = self._published.age(of.id, self._now)
        message = pb.Source(
            id=of.id,
            kind=SOURCE_KINDS.wire(of.kind),
            fresh_max=duration(of.fresh_max),
            stale_min=duration(of.stale_min),
        )
        if age is not None:
            message.age.FromTimedelta(age)
            message.observe_time.FromDatetime(self._published.proofs[of.id])
        word = self._published.ledger.book(unit).words.get(of.id)
        if word is not None and self._reader.inside:
            message.by = word.by
        return message

    def _closure(self, of: m.Closure) -> pb.Closure:
        return pb.Closure(
            id=of.id,
            beds=[self._names.bed(of.unit, bed) for bed in of.beds],
            places=sum(places for _, places in of.places),
            interval=interval(of.start, of.end),
            kind=CLOSURE_KINDS.wire(of.kind),
            reason=CLOSURE_REASONS.wire(of.reason),
            by=mandate(of.by),
            reopening_asked=of.reopening_asked,
        )

    def _conflict(self, of: m.Conflict) -> pb.Conflict:
        return pb.Conflict(
            name=self._names.conflict(of.key),
            reservation=self._names.reservation(of.reservation),
            cause=CONFLICT_CAUSES.wire(of.cause),
            interval=interval(of.start, of.end),
            create_time=timestamp(of.arisen),
        )


def _declared(unit: m.Unit) -> list[pb.DeclaredFigures]:
    """What the unit declares; nothing declared means everything, written out so that a reader need not know."""
    declared = unit.declared or tuple((status, tuple(HORIZONS.words())) for status in STATUSES.words())
    return [
        pb.DeclaredFigures(status=STATUSES.wire(status), horizons=[HORIZONS.wire(one) for one in horizons])
        for status, horizons in declared
    ]


def _features(of: Iterable[Feature]) -> list[terms_pb2.Feature.ValueType]:
    return sorted(FEATURES.wire(feature) for feature in of)


def _class(of: availability.PlaceClass) -> pb.PlaceClass:
    return pb.PlaceClass(
        gender=GENDERS.wire(of.gender),
        features=_features(of.features),
        steps=[pb.Step(time=timestamp(time), free=free) for time, free in of.steps],
    )


def _disagreement(of: availability.Disagreement) -> pb.Disagreement:
    message = pb.Disagreement(source=of.source, free=of.free, winning_free=of.winning_free, reason=_why(of))
    if of.until is not None:
        message.until.FromDatetime(of.until)
    if of.made is not None:
        message.correct_time.FromDatetime(of.made)
    return message


def _why(of: availability.Disagreement) -> str:
    """Who corrected, and why: in no language's typography, for who reads it may read another."""
    return f"{of.by} ({of.reason})" if of.by and of.reason else of.reason or of.by


def _policy(of: availability.PolicySummary) -> pb.PolicySummary:
    message = pb.PolicySummary(
        answering=ANSWERING.wire(of.answering), modes=[MODES.wire(mode) for mode in of.modes], ttl=duration(of.ttl)
    )
    if of.next_answer is not None:
        message.next_answer_time.FromDatetime(of.next_answer)
    if of.next_admission is not None:
        message.next_admission_time.FromDatetime(of.next_admission)
    message.admission_hours.hours.extend(wire_hours(of.admission_hours))
    message.admission_hours.closed_days.extend(day.isoformat() for day in of.closed_days)
    return message
