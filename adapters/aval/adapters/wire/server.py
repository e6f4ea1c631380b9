"""A server of the territory: mutual TLS, certificates renewed without a restart, one gate, health and reflection, a
drain.

Used by the composition roots of node and hub:

    wire = WireServer(credentials, clock, rng, telemetry, listen="127.0.0.1:0")
    census_pb2_grpc.add_CensusServiceServicer_to_server(Census(...), wire.server)
    port = await wire.start(census_pb2.DESCRIPTOR.services_by_name["CensusService"].full_name)
    await stop_on_signals().wait()
    await wire.stop()
"""

import asyncio
import contextlib
import signal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from aval.adapters.telemetry import Telemetry
from aval.adapters.wire.credentials import POLL_SECONDS, Credentials
from aval.adapters.wire.gate import STREAM_SECONDS_MAX, Gate
from aval.adapters.wire.limits import PeerLimits
from aval.adapters.wire.options import CONNECTIONS_MAX, server_options
from aval.adapters.wire.peers import DenyList, NobodyDenied, Peers
from aval.kernel.access import Server
from aval.kernel.clock import Clock, Rng

LOOK_SECONDS = POLL_SECONDS / 2
"""How often certificates, deny-list and open streams are looked at: a stream ends within about a second of its
reason."""

DRAIN_SECONDS_MAX = 10.0
"""How long a stop waits for the calls under way; unary calls take milliseconds, streams end at once."""


class WireServer:
    """One listening address. Servicers are added to `server` before `start`."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        rng: Rng,
        telemetry: Telemetry,
        *,
        listen: str = "127.0.0.1:0",
        deny_list: DenyList | None = None,
        limits: PeerLimits | None = None,
        connections_max: int = CONNECTIONS_MAX,
        stream_seconds_max: float = STREAM_SECONDS_MAX,
    ) -> None:
        """`listen` is `host:port`, port 0 for a free one. Must be called with an event loop running."""
        self._credentials = credentials
        self._clock = clock
        self._deny_list = deny_list if deny_list is not None else NobodyDenied()
        self._listen = listen
        self._gate = Gate(
            Server.HUB if credentials.identity.establishment is None else Server.NODE,
            Peers(credentials, clock, self._deny_list),
            clock,
            rng,
            telemetry,
            limits if limits is not None else PeerLimits(),
            stream_seconds_max,
        )
        # No maximum_concurrent_rpcs: it is for all peers together, and one could use it up (PLATFORM, fact 5).
        self.server = grpc.aio.server(interceptors=(self._gate,), options=server_options(connections_max))
        self._health = health.aio.HealthServicer()
        self._services: tuple[str, ...] = ()
        self._looking: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, *services: str) -> int:
        """Listens, and says that `services` (full names, for health and reflection) are served. Returns the port.

        Raises OSError if the address cannot be had.
        """
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._services = (*services, health.SERVICE_NAME)
        reflection.enable_server_reflection((*self._services, reflection.SERVICE_NAME), self.server)
        try:
            self.port = self.server.add_secure_port(self._listen, self._credentials.server_credentials())
        except RuntimeError as error:
            await self.server.stop(None)
            raise OSError(
                f"cannot listen on {self._listen}: it is in use, or not an address of this machine"
            ) from error
        await self.server.start()
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        self._looking = asyncio.create_task(self._look())
        return self.port

    async def stop(self, drain_seconds: float = DRAIN_SECONDS_MAX) -> None:
        """Says NOT_SERVING, ends streams in good order, waits for calls under way, closes."""
        await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        # Our own count of calls: grpc.aio's stop(grace) does not wait for a call that has aborted (grpc/grpc 37239).
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gate.drain(), drain_seconds)
        await self.server.stop(0)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    async def _tell_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in (health.OVERALL_HEALTH, *self._services):
            await self._health.set(service, status)

    async def _look(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + LOOK_SECONDS)
            self._credentials.refresh()
            self._deny_list.refresh()
            self._gate.look_again()


def stop_on_signals() -> asyncio.Event:
    """An event set by SIGTERM or SIGINT, through the event loop: a KeyboardInterrupt would break grpc.aio's stop."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event
