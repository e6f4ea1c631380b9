"""What the hub needs of the world: a store, links to nodes, a word on who calls, meters. Each is faked by hand.

Beside the kernel's ports of time and chance these are the only ways in and out of the hub's code, so that the same code
runs over gRPC and SQLite, and in tests and simulations over neither.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol, TypeVar, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from aval.hub.model import (
    Answer,
    ChangePart,
    Cursor,
    Description,
    KnownReservation,
    OutboxRow,
    Progress,
    RequestFile,
    SnapshotPart,
    Unit,
)
from aval.kernel.identity import CallerKind, Identity
from aval.kernel.lifecycle import RequestState
from aval.kernel.reasons import Reason, Refusal

T = TypeVar("T")

# --- who calls -------------------------------------------------------------------------------------------------------


class PeerCertificate(Protocol):
    """The certificate of a caller."""

    @property
    def not_after(self) -> datetime:
        """When it ends."""
        ...


class Caller(Protocol):
    """Who makes the call being served, from its certificate."""

    @property
    def identity(self) -> Identity:
        """The identity in the certificate."""
        ...

    @property
    def kind(self) -> CallerKind:
        """What it is for this hub."""
        ...

    @property
    def peer(self) -> PeerCertificate:
        """The certificate that it calls with."""
        ...

    @property
    def actor(self) -> bytes | None:
        """What a desk says of the person signed in there (an encoded `Actor`); None from anyone else."""
        ...

    @property
    def request_id(self) -> str:
        """Under which the call is logged."""
        ...


CurrentCaller = Callable[[], Caller]
"""Gives the caller of the call in which it is asked."""


class Meters(Protocol):
    """What the hub counts. `aval.adapters.telemetry` satisfies it."""

    def queue_length(self, queue: str, length: int) -> None:
        """How many items wait in a named queue."""
        ...

    def committed(self, commands: int, seconds: float) -> None:
        """One commit has succeeded, of so many works."""
        ...

    def commit_failed(self) -> None:
        """One commit has failed; nothing was stored."""
        ...

    def refused(self, reason: str) -> None:
        """A node refused a command."""
        ...

    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None:
        """A source gave a proof of life so long ago."""
        ...

    def source_gone(self, establishment: str, source: str) -> None:
        """A source is no longer followed."""
        ...

    def reservations(self, count_by_state: Mapping[str, int]) -> None:
        """How many reservations of live requests are known in each state."""
        ...


# --- the store -------------------------------------------------------------------------------------------------------


class RequestFilter(Struct, frozen=True):
    """Which requests: of one member (a FINESS), in these states (none: any), of one reference, after a name, so many.

    `live`: only those that are not over (final, or archived). `archived`: archived ones too.
    """

    on_behalf_of: str = ""
    states: frozenset[RequestState] = frozenset()
    reference: str = ""
    live: bool = False
    archived: bool = False
    after: str = ""
    limit: int = 1000


class CommandRecord(Struct, frozen=True, omit_defaults=True):
    """An act of a caller, kept so that the same again gets the first answer: content's hash, answer or refusal.

    With neither it was answered so long ago that the answer has been dropped.
    """

    caller: str
    id: str
    content: bytes
    stored_at: datetime
    answer: bytes = b""
    refused: Reason | None = None
    metadata: dict[str, str] = {}


class PictureHead(Struct, frozen=True):
    """Where the stored figures of an establishment stand, and what its node says of it."""

    cursor: Cursor
    description: Description
    past_incarnations: frozenset[int] = frozenset()


class Announcement(Struct, frozen=True, omit_defaults=True):
    """What a node last said of itself."""

    establishment: str
    address: str
    version: str = ""
    contract_version: str = ""
    verbs: tuple[str, ...] = ()


class Origin(Struct, frozen=True, omit_defaults=True):
    """Which history of the hub this database is; see `setback`. `restored_at`: put back by command, then.

    `marked`: its requests bear since that nobody has looked at them; `listed` are the houses whose reservations were
    all heard since.
    """

    incarnation: int
    restored_at: datetime | None = None
    marked: bool = False
    listed: tuple[str, ...] = ()

    def has_listed(self, establishment: str) -> bool:
        """Whether commands may go to that house."""
        return self.restored_at is None or establishment in self.listed

    def with_requests_marked(self) -> "Origin":
        """Once all requests are marked."""
        return replace(self, marked=True)

    def with_listed(self, establishment: str) -> "Origin":
        """Once a house is listed."""
        return replace(self, listed=tuple(sorted({*self.listed, establishment})))


class RequestBook(Protocol):
    """Requests with all that hangs on them. Requests and reservations go by their resource names."""

    def request(self, name: str) -> RequestFile | None:
        """The file of a request."""
        ...

    def request_of(self, reservation: str) -> str | None:
        """The name of the request that a reservation belongs to."""
        ...

    def requests_asking(self, establishment: str) -> list[str]:
        """Names of the requests, not archived, that have asked that establishment (FINESS)."""
        ...

    def requests(self, wanted: RequestFilter) -> list[RequestFile]:
        """Those that fit, in the order of names."""
        ...

    def save(self, file: RequestFile, before: RequestFile | None) -> None:
        """Keeps a file; `before` is what this transaction read, None for a new one. Rows that it lacks are struck."""
        ...

    def reference_is_taken(self, reference: str) -> bool:
        """Whether a request that is not over bears that spoken reference."""
        ...

    def live_count(self) -> int:
        """How many requests are not over."""
        ...

    def old_requests(self, before: datetime, limit: int, *, linked: bool) -> list[str]:
        """Names of archived requests last changed before that, the oldest first, so many at most.

        `linked`: only those that bear an external reference.
        """
        ...

    def forget_request(self, file: RequestFile) -> None:
        """Drops a request that is archived, with its asks."""
        ...

    def asks_since(self, instant: datetime) -> Mapping[str, int]:
        """How many asks each establishment (FINESS) got since then."""
        ...


class Outbox(Protocol):
    """Commands on their way to nodes, in the order stored. `RequestBook.save` puts and strikes them."""

    def outbox(self, establishment: str, limit: int) -> list[OutboxRow]:
        """The oldest rows for one establishment (FINESS), after those that go ahead of all.

        A store that several hubs share gives, within `run`, the first row of each reservation only, and none that
        another transaction is changing: what it gives may be sent.
        """
        ...

    def waiting(self) -> Mapping[str, int]:
        """How many rows wait, by establishment (FINESS)."""
        ...


class CommandLog(Protocol):
    """What callers have asked already."""

    def command(self, caller: str, command_id: str) -> CommandRecord | None:
        """The record of that id of that caller."""
        ...

    def keep_command(self, record: CommandRecord) -> None:
        """Keeps a record; the id is new."""
        ...

    def forget_answers(self, before: datetime, limit: int) -> int:
        """Drops the answers of records older than that, so many at most; how many. Ids and content's hashes stay."""
        ...

    def forget_commands(self, before: datetime, limit: int) -> int:
        """Drops records older than that, so many at most; how many."""
        ...


class Heard(Protocol):
    """What nodes have said, so that a hub that starts shows it at once, unheard, and resumes from its cursor."""

    def pictures(self) -> list[tuple[PictureHead, tuple[Unit, ...]]]:
        """All of them."""
        ...

    def save_picture(self, head: PictureHead, changed: Iterable[Unit], removed: Iterable[str], *, whole: bool) -> None:
        """Keeps what has changed of an establishment; `whole`: these are all its units."""
        ...

    def announcements(self) -> list[Announcement]:
        """What each node last said of itself."""
        ...

    def save_announcement(self, announcement: Announcement) -> None:
        """Keeps it."""
        ...

    def cursors_heard(self) -> list[Cursor]:
        """Of each node, the highest cursor that an answer of it bore."""
        ...

    def save_cursor_heard(self, cursor: Cursor) -> None:
        """Keeps it: with it a node that was set back is found out, even if its watch had not brought so much."""
        ...


class Restored(Protocol):
    """What a hub knows of having been put back to an earlier state."""

    def origin(self) -> Origin | None:
        """Which history this is; None before the first start."""
        ...

    def save_origin(self, origin: Origin) -> None:
        """Keeps it."""
        ...

    def orphans(self, after: str, limit: int) -> list[KnownReservation]:
        """Live reservations of nodes that no request holds, in the order of names after that one, so many at most."""
        ...

    def save_orphan(self, known: KnownReservation) -> None:
        """Keeps one."""
        ...

    def forget_orphan(self, reservation: str) -> None:
        """It is over, or a request holds it."""
        ...


class Transaction(RequestBook, Outbox, CommandLog, Heard, Restored, Protocol):
    """One transaction, synchronous: all that it writes is stored at once, or none of it."""


class Store(Protocol):
    """Where the hub's state rests."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Runs a work that only reads: all that it sees is of one moment, it waits for no other and holds none up.

        Whoever is going to write by what it has read uses `run`. Raises as `run` does.
        """
        ...

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in one transaction and returns what it gave, once that is stored.

        `work` may be run more than once, so it has no effect but through the transaction. What it raises is raised
        here, and nothing that it wrote is stored. Raises `Refusal(STORAGE_UNAVAILABLE)` if nothing could be stored,
        `Refusal(QUEUE_FULL)` if too much waits.
        """
        ...

    def close(self) -> None:
        """Finishes what waits and closes."""
        ...


# --- a store that several hubs share ---------------------------------------------------------------------------------


class Lease(Struct, frozen=True):
    """The right to follow one node and carry its commands. `epoch` is counted up each time that it changes hands."""

    establishment: str
    epoch: int


class LeaseLost(Exception):
    """A write was refused because another hub has taken the lease meanwhile: what it was told by is no longer ours."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"{lease.establishment}: epoch {lease.epoch} is over")
        self.lease = lease


class Proofs(Struct, frozen=True):
    """When a node was last heard, and its sources' proofs of life: (source, unit) → age, as of being read or saved."""

    establishment: str
    silence: timedelta
    ages: tuple[tuple[str, str, timedelta], ...] = ()


class Tenancy(Struct, frozen=True):
    """What one look at the leases brought. `free_in`: until another hub's lease runs out, None if none will."""

    held: tuple[Lease, ...]
    refused: tuple[Lease, ...]
    spare: tuple[Lease, ...]
    free_in: timedelta | None


class SharedTransaction(Transaction, Protocol):
    """A transaction on a store that several hubs share."""

    def hold(self, lease: Lease) -> None:
        """Nobody takes that lease before this transaction has ended. Raises `LeaseLost` if somebody has already."""
        ...

    def tenancy(self, held: Iterable[Lease], wanted: Iterable[str]) -> Tenancy:
        """Renews what is held, and takes what is free of the establishments wanted, up to a fair share of them.

        `refused` are those that others have taken; `spare` what is held beyond the share, to be given up.
        """
        ...

    def give_up(self, leases: Iterable[Lease]) -> None:
        """Others may take these at once."""
        ...

    def leave(self) -> None:
        """This hub stops: the share of the others grows at once."""
        ...

    def save_proofs(self, proofs: Iterable[Proofs]) -> None:
        """Keeps them for the other hubs."""
        ...

    def proofs(self, but: Iterable[str]) -> list[Proofs]:
        """What other hubs keep, aged by the time since; `but` of these establishments."""
        ...

    def picture(self, establishment: str) -> tuple[PictureHead, tuple[Unit, ...]] | None:
        """What is stored of one establishment."""
        ...

    def heads(self) -> list[PictureHead]:
        """Where each stored picture stands."""
        ...

    def revisions(self) -> Mapping[str, int]:
        """The revision of each request that is not archived, by name."""
        ...


class SharedMeters(Meters, Protocol):
    """What a hub among several counts beside."""

    def rerun(self, cause: str) -> None:
        """A transaction is run again."""
        ...

    def stale_epoch(self) -> None:
        """The database refused a write made under a lease that another hub has taken."""
        ...

    def leases(self, held: int) -> None:
        """How many nodes this hub follows."""
        ...


Told = Callable[[frozenset[str]], None]
"""Is given the names of things that other hubs have changed; none at all: anything may have changed."""


@runtime_checkable
class SharedStore(Protocol):
    """A store that several hubs share."""

    async def read(self, work: Callable[[SharedTransaction], T]) -> T:
        """See `Store.read`."""
        ...

    async def run(self, work: Callable[[SharedTransaction], T]) -> T:
        """See `Store.run`. Raises `LeaseLost` too."""
        ...

    async def look(self, work: Callable[[SharedTransaction], T]) -> T:
        """As `run`, before all works that wait: a lease must not run out behind them."""
        ...

    def listen(self, told: Told) -> None:
        """From now on `told` is called, on the event loop. A word may be lost; it is no more than a reason to look."""
        ...

    def close(self) -> None:
        """See `Store.close`."""
        ...


# --- links to nodes --------------------------------------------------------------------------------------------------

NodeEvent = SnapshotPart | ChangePart | Progress
"""What a node's watch brings."""


class NodeCommand(Struct, frozen=True):
    """A row as it is sent now: `age` since it was stored, and the hub's last cursor of that node."""

    row: OutboxRow
    age: timedelta
    cursor: Cursor | None


class NodeAnswer(Struct, frozen=True):
    """An answer with the node's cursor, which contains the command's effect."""

    answer: Answer
    cursor: Cursor | None


class LinkLost(Exception):
    """A node could not be reached, or a stream broke. `refusal` is what was answered, if anything was."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.value)
        self.refusal = refusal


class Exchange(Protocol):
    """An open stream of commands and answers to one node."""

    async def send(self, command: NodeCommand) -> None:
        """Hands a command to the stream. Raises `LinkLost`."""
        ...

    async def receive(self) -> NodeAnswer | None:
        """The next answer; None when the node has ended the stream in good order. Raises `LinkLost`."""
        ...


class NodeLink(Protocol):
    """The way to one node: what it publishes, and commands."""

    def watch(self, cursor: Cursor | None, heard: Cursor | None = None) -> AsyncIterator[NodeEvent]:
        """Follows the node from a cursor, reservations included, until the stream ends. Raises `LinkLost`.

        `heard`: a later cursor that an answer bore. A node whose history lacks it was restored, and says so.
        """
        ...

    def exchange(self) -> AbstractAsyncContextManager[Exchange]:
        """Opens a stream of commands; leaving the context ends it. Raises `LinkLost`."""
        ...

    async def close(self) -> None:
        """Closes it for good."""
        ...


Connect = Callable[[str, str], NodeLink]
"""Makes the link to a node, by FINESS and address (`host:port`)."""

Spawn = Callable[[Awaitable[None], str], None]
"""Runs a coroutine of the hub for as long as the hub runs; the name is for logs."""
