"""A channel to one peer, which goes on through renewals of our own certificate.

grpc's client credentials are fixed when a channel is made. `PeerChannel` is a channel over channels: stubs are made
once from it, and each call goes through an inner channel made with the certificate current then. When the certificate
has changed, the next call makes a new inner channel; the old one finishes what it carries (a watch ends by itself
within 9 minutes) and closes.

It also adds to each call the request id of the RPC being served, or a new one, so that one id can be followed over
hops.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from aval.adapters.wire.credentials import Bundle, Credentials
from aval.adapters.wire.gate import REQUEST_ID_KEY, STREAM_SECONDS_MAX
from aval.adapters.wire.options import client_options
from aval.adapters.wire.peers import caller_or_none
from aval.kernel.clock import Rng

OLD_CHANNEL_SECONDS_MAX = STREAM_SECONDS_MAX + 60.0
"""How long an old channel may go on: as long as the longest stream, and a little."""


class _Call:
    """A method of the peer: a callable as generated stubs make them, bound to the channel that is current when
    called."""

    def __init__(self, channel: "PeerChannel", make: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._channel = channel
        self._make = make
        self._arguments = arguments
        self._options = options
        self._inner: grpc.aio.Channel | None = None
        self._callable: Callable[..., Any] | None = None

    def __call__(self, request: Any = None, **options: Any) -> Any:
        inner = self._channel.inner()
        if self._callable is None or inner is not self._inner:
            self._inner = inner
            self._callable = getattr(inner, self._make)(*self._arguments, **self._options)
        options["metadata"] = (*(options.get("metadata") or ()), (REQUEST_ID_KEY, self._channel.request_id()))
        return self._callable(request, **options)


class PeerChannel(grpc.aio.Channel):
    """A channel to `address`, whose server must bear the DNS name `authority` (CONTRACT 2). See the module."""

    def __init__(
        self, credentials: Credentials, rng: Rng, address: str, authority: str, service_config: str | None = None
    ) -> None:
        """`address` is `host:port`, or any target that gRPC resolves, of several hubs; `authority` comes from
        `aval.kernel.identity.node_dns_name` or `hub_dns_name`; `service_config` from `hub_service_config`."""
        self.address = address
        self.authority = authority
        self._credentials = credentials
        self._rng = rng
        self._options = client_options(authority, service_config)
        self._bundle: Bundle = credentials.current
        self._channel = self._make()
        self._closing: set[asyncio.Task[None]] = set()

    def inner(self) -> grpc.aio.Channel:
        """The channel for a call made now."""
        if self._bundle is not self._credentials.current:
            old = self._channel
            self._bundle = self._credentials.current
            self._channel = self._make()
            closing = asyncio.ensure_future(old.close(OLD_CHANNEL_SECONDS_MAX))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._channel

    def request_id(self) -> str:
        """The id to send with a call: that of the RPC being served, or a new one."""
        caller = caller_or_none()
        return caller.request_id if caller is not None else str(self._rng.uuid())

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """See `grpc.aio.Channel`."""
        return _Call(self, "unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """See `grpc.aio.Channel`."""
        return _Call(self, "unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """See `grpc.aio.Channel`."""
        return _Call(self, "stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """See `grpc.aio.Channel`."""
        return _Call(self, "stream_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Closes it, old channels included; calls under way have `grace` seconds."""
        for closing in tuple(self._closing):
            closing.cancel()
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel that a call made now would take."""
        return self.inner().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the state differs from that."""
        await self.inner().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when it is connected."""
        await self.inner().channel_ready()

    async def __aenter__(self) -> "PeerChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _make(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(self.address, self._credentials.channel_credentials(), self._options)
