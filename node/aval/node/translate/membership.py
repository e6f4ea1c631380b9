"""What a node says to its hub of itself: an Announce."""

from importlib.metadata import version

import grpc.aio

from aval.node.history import Cursor
from aval.node.translate import outward
from aval.node.translate.words import Names
from aval.v1 import link_pb2, membership_pb2, membership_pb2_grpc

CONTRACT_VERSION = "1"
"""Of `aval.v1` as this node serves it."""

ANNOUNCE_SECONDS = 10.0
"""Deadline of one Announce: a hub that takes longer is tried again."""


class Announcements:
    """Sends them over a channel to the hub."""

    def __init__(self, channel: grpc.aio.Channel, names: Names, address: str) -> None:
        self._membership = membership_pb2_grpc.MembershipServiceStub(channel)
        self._names = names
        self._address = address

    async def send(self, at: Cursor) -> None:
        """Sends one: the address to dial, and where the history stands. Raises `grpc.aio.AioRpcError`."""
        verbs = link_pb2.Command.DESCRIPTOR.oneofs_by_name["verb"].fields
        request = membership_pb2.AnnounceRequest(
            address=self._address,
            cursor=outward.cursor(at, self._names),
            version=version("aval-federation"),
            contract_version=CONTRACT_VERSION,
            verbs=[verb.name for verb in verbs],
        )
        await self._membership.Announce(request, timeout=ANNOUNCE_SECONDS)
