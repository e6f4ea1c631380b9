"""What a process says about itself: structured logs with an allow-list of fields, and Prometheus metrics on loopback.

Logs are JSON lines on the standard error. A line holds fields of `LOG_FIELDS` and no other: whatever else is given is
dropped and counted, so that a patient's data cannot reach a log by a slip of the pen. For the same reason exceptions
are logged by type and place, without their message, and what libraries log is written as their message's template,
without its arguments.

Metrics are set through `Telemetry`'s methods. Node and hub declare the small protocol that they need beside themselves
(CHARTER 6), and this class satisfies each of them.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aval.kernel.clock import Clock

LOG_FIELDS = frozenset(
    {
        # of every line
        "event", "level", "process", "timestamp",
        # of an RPC
        "caller", "code", "duration_ms", "method", "peer", "reason", "request_id",
        # of what happens inside
        "address", "age_seconds", "attempt", "authority", "cause", "certificate_serial", "command", "count",
        "database", "days_left", "delay_seconds", "establishment", "exception", "file", "frames", "identity",
        "incarnation", "library", "limit", "link", "mode", "path", "pid", "port", "problem", "queue",
        "request", "reservation", "revision", "seconds", "serial", "service", "signal", "source", "state",
        "territory", "unit", "version", "view",
    }
)  # fmt: skip
"""All that a log line may hold. Names of things and figures; never a need, a person, a comment or a message's
content."""

LOG_VALUE_LENGTH_MAX = 300
"""Longest value of a field: enough for a path or a problem, too short for a dump."""

LOOPBACK = "127.0.0.1"
"""Metrics are for the machine's own collector: they name establishments and show its traffic."""

RPC_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""From one loopback call (about 1 ms) to the longest deadline of a unary call."""

COMMIT_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""One fdatasync is 0.4 ms on a good disk; a disk that takes seconds is to be seen."""

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Commands in one commit."""


class TracingForbidden(RuntimeError):
    """The environment asks gRPC to print what it carries."""


def refuse_tracing(environment: Mapping[str, str]) -> None:
    """Raises `TracingForbidden` if gRPC would print messages or metadata (SECURITY row 20). Called first at start."""
    verbose = environment.get("GRPC_VERBOSITY", "").strip().lower() == "debug"
    if environment.get("GRPC_TRACE", "").strip() or verbose:
        raise TracingForbidden(
            "GRPC_TRACE or GRPC_VERBOSITY=DEBUG is set: gRPC would print what it carries. Unset it, then start again."
        )


def describe_exception(error: BaseException) -> dict[str, str]:
    """Type and places of an exception, without its message: `exception` and `frames` of a log line."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return {"exception": type(error).__name__, "frames": " ".join(frames[-8:])}


class _Ages(Collector):
    """Freshness of each source: the age is computed when scraped, from the last proof of life."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.alive_at: dict[tuple[str, str], float] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "aval_source_age_seconds",
            "Seconds since the last proof of life of a source.",
            labels=["establishment", "source"],
        )
        now = self._clock.monotonic()
        for (establishment, source), at in sorted(self.alive_at.items()):
            family.add_metric([establishment, source], max(now - at, 0.0))
        yield family


class Telemetry:
    """The metrics of one process. `registry` is its own, so that tests and several nodes in one process do not meet."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._ages = _Ages(clock)
        self.registry.register(self._ages)
        ProcessCollector(registry=self.registry)
        self._rpcs = Histogram(
            "aval_rpc_seconds",
            "Duration of RPCs served; a stream counts when it ends.",
            ["method", "code"],
            buckets=RPC_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._streams = Gauge("aval_streams_open", "Streams being served.", registry=self.registry)
        self._refusals = Counter("aval_refusals", "Refusals by reason.", ["reason"], registry=self.registry)
        self._queues = Gauge("aval_queue_length", "Items waiting in a queue.", ["queue"], registry=self.registry)
        self._reservations = Gauge(
            "aval_reservations", "Reservations that are not purged, by state.", ["state"], registry=self.registry
        )
        self._commits = Histogram(
            "aval_commit_seconds", "Duration of commits.", buckets=COMMIT_BUCKETS_SECONDS, registry=self.registry
        )
        self._batches = Histogram(
            "aval_commit_batch_size", "Commands in one commit.", buckets=BATCH_BUCKETS, registry=self.registry
        )
        self._failed_commits = Counter("aval_commits_failed", "Commits that the disk refused.", registry=self.registry)
        self._reruns = Counter(
            "aval_transactions_rerun", "Transactions run again, by cause.", ["cause"], registry=self.registry
        )
        self._stale_epochs = Counter(
            "aval_stale_epochs", "Writes refused: another hub has taken the lease.", registry=self.registry
        )
        self._leases = Gauge("aval_leases_held", "Nodes followed by this hub among several.", registry=self.registry)
        self._days_left = Gauge(
            "aval_certificate_days_left", "Days until the certificate served expires.", registry=self.registry
        )
        self._serial = Gauge(
            "aval_certificate_served", "1 for the serial number served now.", ["serial"], registry=self.registry
        )
        self._bundle_bad = Gauge(
            "aval_certificate_bundle_bad",
            "1 while the certificate on disk cannot be used and an older one is served.",
            registry=self.registry,
        )
        self._log_fields_dropped = Counter(
            "aval_log_fields_dropped", "Log fields outside the allow-list.", registry=self.registry
        )
        self._log_lines_lost = Counter(
            "aval_log_lines_lost", "Log lines that could not be written.", registry=self.registry
        )

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """One RPC has ended. `code` is the gRPC status's name."""
        self._rpcs.labels(method, code).observe(seconds)

    def stream_opened(self) -> None:
        """A stream has begun."""
        self._streams.inc()

    def stream_closed(self) -> None:
        """A stream has ended."""
        self._streams.dec()

    def refused(self, reason: str) -> None:
        """Something was refused, in an RPC or inside a stream."""
        self._refusals.labels(reason).inc()

    def source_alive(self, establishment: str, source: str, age_seconds: float = 0.0) -> None:
        """A source has given a proof of life `age_seconds` ago; its freshness is counted from then."""
        self._ages.alive_at[establishment, source] = self._clock.monotonic() - age_seconds

    def source_gone(self, establishment: str, source: str) -> None:
        """A source is no longer followed, or its age is unknown."""
        self._ages.alive_at.pop((establishment, source), None)

    def queue_length(self, queue: str, length: int) -> None:
        """How many items wait in a named queue (`writer`, `outbox:540000023`)."""
        self._queues.labels(queue).set(length)

    def reservations(self, count_by_state: Mapping[str, int]) -> None:
        """How many reservations there are in each state; a state left out keeps its figure."""
        for state, count in count_by_state.items():
            self._reservations.labels(state).set(count)

    def committed(self, commands: int, seconds: float) -> None:
        """One commit has succeeded, of so many commands."""
        self._commits.observe(seconds)
        self._batches.observe(commands)

    def commit_failed(self) -> None:
        """One commit has failed; nothing was stored."""
        self._failed_commits.inc()

    def rerun(self, cause: str) -> None:
        """A transaction is run again."""
        self._reruns.labels(cause).inc()

    def stale_epoch(self) -> None:
        """The database refused a write under a lease that another hub has taken."""
        self._stale_epochs.inc()

    def leases(self, held: int) -> None:
        """How many nodes this hub follows, of those that several hubs share."""
        self._leases.set(held)

    def certificate(self, serial: str, days_left: float) -> None:
        """The certificate served now."""
        self._serial.clear()
        self._serial.labels(serial).set(1)
        self._days_left.set(days_left)

    def certificate_bad(self, bad: bool) -> None:
        """Whether what is on disk cannot be used."""
        self._bundle_bad.set(1 if bad else 0)

    def log_field_dropped(self) -> None:
        """A log field was outside the allow-list."""
        self._log_fields_dropped.inc()

    def log_line_lost(self) -> None:
        """A log line could not be written."""
        self._log_lines_lost.inc()

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float | None:
        """The present value of a sample, as a scrape would give it; None if there is none."""
        return self.registry.get_sample_value(name, dict(labels or {}))

    def serve(self, port: int) -> "MetricsExporter":
        """Serves the metrics on the loopback address; port 0 takes a free one."""
        return MetricsExporter(self.registry, port)


class MetricsExporter:
    """The loopback endpoint that Prometheus reads, `http://127.0.0.1:PORT/metrics`."""

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        self._server, self._thread = start_http_server(port, addr=LOOPBACK, registry=registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops serving and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def log_fields_allowed(dropped: Callable[[], None]) -> structlog.typing.Processor:
    """The processor that keeps `LOG_FIELDS` and shortens long values; `dropped` is called for each field left out."""

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in event.items():
            if name not in LOG_FIELDS:
                dropped()
            elif isinstance(value, bool | int | float) or value is None:
                kept[name] = value
            else:
                kept[name] = str(value)[:LOG_VALUE_LENGTH_MAX]
        return kept

    return keep


def _named(process: str) -> structlog.typing.Processor:
    def name(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return name


def _json(event: object, **_: object) -> str:
    return msgspec.json.encode(event).decode()


class _LibraryLogs(logging.Handler):
    """What libraries log, by template and exception type: their arguments may hold what we may not print."""

    def __init__(self, logger: structlog.typing.WrappedLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        described = describe_exception(error) if error is not None else {}
        template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        self._logger.warning("library", library=record.name, problem=template, **described)


class _Lines:
    """Writes lines. One that cannot be written (a full disk, a pipe that nobody reads) is lost and counted: what a
    server does must not fail because it cannot be told."""

    def __init__(self, stream: TextIO, lost: Callable[[], None]) -> None:
        self._stream = stream
        self._lost = lost

    def msg(self, message: str) -> None:
        """One line, at once."""
        try:
            self._stream.write(f"{message}\n")
            self._stream.flush()
        except OSError:
            self._lost()

    log = debug = info = warn = warning = error = fatal = critical = exception = failure = err = msg


def configure_logs(telemetry: Telemetry, process: str, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Sets up the logs of this process: JSON lines on `stream` (the standard error). `process` is on each line."""
    structlog.configure(
        processors=[
            _named(process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            log_fields_allowed(telemetry.log_field_dropped),
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(stream if stream is not None else sys.stderr, telemetry.log_line_lost),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_LibraryLogs(structlog.get_logger())]
    root.setLevel(logging.WARNING)


def start_telemetry(clock: Clock, process: str, level: int = logging.INFO) -> Telemetry:
    """What a process calls first: refuses tracing, sets up logs, gives its metrics. Raises `TracingForbidden`."""
    refuse_tracing(os.environ)
    telemetry = Telemetry(clock)
    configure_logs(telemetry, process, level=level)
    return telemetry
