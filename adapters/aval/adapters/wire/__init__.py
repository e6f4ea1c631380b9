"""gRPC between the members of a territory: mutual TLS both ways, and what every call goes through.

A server (`server.WireServer`) listens with the certificate of its bundle (`credentials`), asks each client for one, and
lets each RPC through one gate (`gate`): who calls (`peers`), how much (`limits`), whether it may
(`aval.kernel.access`), by when. What its handlers refuse becomes a status with details, and back (`errors`). A client
(`channel.PeerChannel`) dials an address and asks for the DNS name derived from the identity it means to speak to. All
limits of gRPC stand in `options`.
"""

from aval.adapters.wire.channel import PeerChannel
from aval.adapters.wire.credentials import BundleUnusable, Credentials
from aval.adapters.wire.errors import RemoteRefusal, refusal_of
from aval.adapters.wire.limits import PeerLimits
from aval.adapters.wire.options import hub_service_config
from aval.adapters.wire.peers import Caller, FileDenyList, Peer, current_caller, set_current_caller
from aval.adapters.wire.server import WireServer, stop_on_signals

__all__ = [
    "BundleUnusable",
    "Caller",
    "Credentials",
    "FileDenyList",
    "Peer",
    "PeerChannel",
    "PeerLimits",
    "RemoteRefusal",
    "WireServer",
    "current_caller",
    "hub_service_config",
    "refusal_of",
    "set_current_caller",
    "stop_on_signals",
]
