"""What is noted on a reservation, in words: who read it, what is asked and answered, what was said by telephone."""

from datetime import datetime

from aval.adapters.cli.needs import enum_name
from aval.adapters.cli.words import say, speech
from aval.v1 import reservation_pb2, terms_pb2


def remarks(one: reservation_pb2.Reservation, instant: datetime) -> list[str]:
    """One line for each remark, the ones that wait for somebody first."""
    marks, said = one.marks, []
    if marks.open_questions:
        said.append(say("remark.questions", names=", ".join(_question(number) for number in marks.open_questions)))
    said += [_note(note, instant) for note in one.notes]
    if marks.conflicts:
        said.append(say("remark.conflict"))
    if marks.overdue:
        said.append(say("remark.overdue"))
    if marks.late:
        said.append(say("remark.late"))
    if marks.details:
        said.append(say("remark.details", answers=", ".join(_detail(detail) for detail in marks.details)))
    if marks.HasField("seen_time"):
        moment = speech().moment(marks.seen_time.ToDatetime(tzinfo=instant.tzinfo), instant)
        said.append(say("remark.seen", who=person(marks.seen_by), moment=moment))
    return said


def person(mandate: terms_pb2.Mandate) -> str:
    """Who acted, for people; never empty."""
    return mandate.display_name or mandate.actor.rpartition("/")[2] or "—"


def _note(note: reservation_pb2.Note, instant: datetime) -> str:
    moment = speech().moment(note.say_time.ToDatetime(tzinfo=instant.tzinfo), instant)
    verdict = enum_name(reservation_pb2.Note.Verdict, note.verdict, "VERDICT_")
    reason = enum_name(reservation_pb2.DeclineReason, note.decline_reason, "DECLINE_REASON_")
    said = speech().state(verdict) + (f" ({speech().state(reason)})" if note.decline_reason else "")
    fate = speech().state(enum_name(reservation_pb2.Note.Fate, note.fate, "FATE_"))
    return say("remark.note", said=said, who=note.answered_by or "—", moment=moment, fate=fate, id=note.id)


def _question(number: int) -> str:
    return speech().state(enum_name(reservation_pb2.Question, number, "QUESTION_"))


def _detail(detail: reservation_pb2.Detail) -> str:
    if detail.WhichOneof("answer") == "yes":
        answer = speech().state("YES" if detail.yes else "NO")
    else:
        answer = str(detail.amount)
    return say("remark.detail", question=_question(detail.question), answer=answer)
