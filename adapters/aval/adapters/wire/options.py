"""Options of gRPC, each with its reason. gRPC ignores an unknown name in silence: `tests/adapters/wire` proves each
limit.

Names are those of `grpc/impl/channel_arg_names.h`; rows are of the threat table. Left out because they do nothing here:
`grpc.http2.max_frame_size` (grpc 1.85 announces and takes frames of 4 MiB whatever it says; the message's limit holds)
and `grpc.keepalive_timeout_ms` (never triggered, grpc/grpc 39239; `grpc.http2.ping_timeout_ms` is what closes).
"""

import json
from typing import Final

Options = tuple[tuple[str, int | str], ...]
"""As grpc.aio takes them."""

REQUEST_BYTES_MAX: Final = 1 << 20
"""Longest message to a server, 1 MiB: 1,000 units of a house are declared well within it (row 9)."""

RESPONSE_BYTES_MAX: Final = 4 << 20
"""Longest message from a server, 4 MiB: a page of 1,000 units with steps is 1.3 MB; longer things come in parts."""

STREAMS_PER_CONNECTION: Final = 32
"""Streams that one connection may have open (rows 12, 15b): a follower needs two, a page's server some."""

METADATA_BYTES_MAX: Final = 8192
"""Longest metadata (rows 11, 13), as the hard limit: ours is under 1 kB, a status with its details under 6. The soft
one, `grpc.max_metadata_size`, above which gRPC refuses by chance, has the same value by default: both are shown."""

HANDSHAKE_MS_MAX: Final = 2000
"""Longest TLS handshake, 2 s instead of 120 (row 15): a full one takes 6 ms."""

CONNECTION_AGE_MS_MAX: Final = 600_000
"""A connection lives 10 minutes: it bounds what a peer that no check has caught can go on doing."""

CONNECTION_AGE_GRACE_MS: Final = 30_000
"""What is under way when it ends may take 30 s more. Streams have ended at 9 minutes."""

CONNECTION_IDLE_MS_MAX: Final = 300_000
"""A connection without any call is closed after 5 minutes."""

CONNECTIONS_MAX: Final = 512
"""Connections of one server (row 16), to be set to twice the members plus the desks for a large territory."""

SERVER_KEEPALIVE_MS: Final = 60_000
"""A server finds a dead client within 70 s."""

CLIENT_KEEPALIVE_MS: Final = 30_000
"""A client finds a dead server within 40 s, well before « unreachable » at 2 min. It must exceed
PING_INTERVAL_MS_MIN."""

PING_ANSWER_MS_MAX: Final = 10_000
"""How long an answer to a keepalive may take; by default a minute."""

PING_INTERVAL_MS_MIN: Final = 20_000
"""Clients that ping more often are given strikes (row 14)."""

PING_STRIKES_MAX: Final = 2
"""And are cut after that many."""

RECONNECT_FIRST_MS: Final = 500
"""First back-off of a connection."""

RECONNECT_MIN_MS: Final = 1000
"""A try of a connection lasts at least this."""

RECONNECT_MAX_MS: Final = 30_000
"""Back-offs grow to 30 s: below the 2 minutes after which a house is said unreachable."""


READ_TRIES_MAX: Final = 4
"""Tries of a read, on whichever hub answers: with back-offs from 0.2 s they span what a hub's death is felt for."""

READS: Final = {
    "aval.v1.AvailabilityService": ("GetEstablishment", "ListEstablishments", "ListUnits"),
    "aval.v1.RequestService": ("SearchBeds", "GetRequest", "ListRequests", "ListOrphans"),
    "aval.v1.MembershipService": ("ListMembers",),
    "aval.v1.TerritoryService": ("GetCapacity",),
}
"""What a hub serves and no try of which changes anything. Writes are never here: the caller sends them again itself,
with the same id (CONTRACT 19)."""


def hub_service_config() -> str:
    """How a client uses the hubs of a territory: gRPC's own ways, and no loop of ours.

    Every address that the name resolves to is connected, those that say SERVING by the standard health service take
    calls in turn, and reads that found no hub (UNAVAILABLE) are tried again, on the next one.
    """
    again = {
        "maxAttempts": READ_TRIES_MAX,
        "initialBackoff": "0.2s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [{"service": service, "method": method} for service, methods in READS.items() for method in methods]
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": ""},
            "methodConfig": [{"name": names, "retryPolicy": again}],
        }
    )


def server_options(connections_max: int = CONNECTIONS_MAX) -> Options:
    """The options of every server."""
    return (
        ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
        ("grpc.max_send_message_length", RESPONSE_BYTES_MAX),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # identity only: no decompression, so no bomb (row 10)
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS_MAX),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS_MAX),
        ("grpc.max_connection_age_grace_ms", CONNECTION_AGE_GRACE_MS),
        ("grpc.max_connection_idle_ms", CONNECTION_IDLE_MS_MAX),
        ("grpc.keepalive_time_ms", SERVER_KEEPALIVE_MS),
        ("grpc.http2.ping_timeout_ms", PING_ANSWER_MS_MAX),
        ("grpc.keepalive_permit_without_calls", 1),  # a quiet follower is still a live one
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
        ("grpc.http2.max_ping_strikes", PING_STRIKES_MAX),
        ("grpc.so_reuseport", 0),  # two servers on one port must fail, not share its callers
        ("grpc.max_allowed_incoming_connections", connections_max),
        ("grpc.enable_channelz", 0),  # nothing serves it, so it would only cost memory
    )


def client_options(authority: str, service_config: str | None = None) -> Options:
    """The options of a channel. `authority`: the DNS name in the server's certificate, whatever address is dialled.

    `service_config`: of a client of hubs (`hub_service_config`); a channel to a node has none, and tries nothing again.
    """
    config = () if service_config is None else (("grpc.service_config", service_config),)
    return (
        *config,
        ("grpc.default_authority", authority),
        ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
        ("grpc.max_send_message_length", REQUEST_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.keepalive_time_ms", CLIENT_KEEPALIVE_MS),
        ("grpc.http2.ping_timeout_ms", PING_ANSWER_MS_MAX),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # as many as the interval allows: a watch may be silent for minutes
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        ("grpc.enable_retries", 0 if service_config is None else 1),  # of reads: gRPC sends no command twice
        ("grpc.service_config_disable_resolution", 1),  # no DNS record tells a client how to behave
        ("grpc.enable_http_proxy", 0),  # mutual TLS ends at the peer, never at a proxy found in the environment
        (
            "grpc.use_local_subchannel_pool",
            1,
        ),  # a new channel must not reuse a connection made with the old certificate
    )
