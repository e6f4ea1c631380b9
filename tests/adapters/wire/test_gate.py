"""The gate: what every call goes through before its handler, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aval.adapters.wire import PeerLimits, WireServer, refusal_of
from aval.adapters.wire.gate import ACTOR_KEY
from aval.kernel.identity import Adapter, EstablishmentDesk, HubReplica, Identity, Node, Staff
from aval.kernel.reasons import Reason, Refusal
from tests.adapters.wire.conftest import LogLines
from tests.adapters.wire.house import (
    EXCHANGE,
    FEED,
    HERE,
    HUB,
    LUNEVILLE,
    MARIE,
    NANCY,
    NODE,
    READ,
    WATCH,
    House,
    Serving,
    ShiftedClock,
    clock,
    no_bed,
    refusal,
    rng,
)
from tests.waiting import PATIENCE_SECONDS, until

STREAMS_END_AFTER = timedelta(seconds=600)
"""More than a stream may last."""


async def shifted(house: House) -> tuple[Serving, ShiftedClock]:
    """A server and its clock, which a test sets forward once a stream is where it is to be when its time is over."""
    hand = ShiftedClock()
    return await house.server(clock=hand), hand


async def time_is_over(hand: ShiftedClock) -> None:
    """Sets the clock forward, and returns once the server has looked at its streams since."""
    hand.ahead += STREAMS_END_AFTER
    before = hand.looks
    await until(lambda: hand.looks >= before + 2, "the server has looked at its streams")


async def test_the_handler_knows_its_caller(house: House) -> None:
    serving = await house.server()
    for identity in (HUB, MARIE, Adapter(HERE, NANCY, "dpi"), EstablishmentDesk(HERE, NANCY)):
        assert await house.channel(serving, identity).read() == str(identity)


async def test_all_four_shapes_of_a_method_pass(house: House) -> None:
    serving = await house.server()
    client = house.channel(serving)
    watch = client.watch("units")
    assert (await watch.read()).value == f"units seen by {HUB}"
    exchange = client.exchange()
    for word in ("one", "two"):
        await exchange.write(StringValue(value=word))
        assert (await exchange.read()).value == word
    await exchange.done_writing()
    assert await exchange.read() is grpc.aio.EOF
    feed = house.channel(serving, MARIE).channel.stream_unary(
        "/aval.v1.CensusService/ApplyMovements", StringValue.SerializeToString, StringValue.FromString
    )()
    for word in ("in", "out"):
        await feed.write(StringValue(value=word))
    await feed.done_writing()
    assert (await feed).value == "in out"
    watch.cancel()
    await until(lambda: serving.answers.watching == 0, "the watch's handler ended")


@pytest.mark.parametrize(
    ("caller", "reason"),
    [
        (MARIE, Reason.METHOD_NOT_ALLOWED),
        (Adapter(HERE, NANCY, "dpi"), Reason.METHOD_NOT_ALLOWED),
        (Staff(HERE, LUNEVILLE, "marie"), Reason.NOT_YOUR_ESTABLISHMENT),
        (Node(HERE, LUNEVILLE), Reason.NOT_YOUR_ESTABLISHMENT),
    ],
)
async def test_who_may_not_call_is_refused_before_the_handler(house: House, caller: Identity, reason: Reason) -> None:
    serving = await house.server()
    exchange = house.channel(serving, caller).exchange()
    assert (await refusal(exchange.read())).reason is reason
    assert serving.answers.asked == []
    assert serving.refused(reason) == 1


async def test_a_method_that_nobody_has_is_refused(house: House) -> None:
    serving = await house.server()
    for method in ("/aval.v1.CensusService/Erase", "/nothing/at all", "/aval.v1.LinkService/"):
        call = house.channel(serving).channel.unary_unary(method)(b"", timeout=PATIENCE_SECONDS)
        assert (await refusal(call)).reason is Reason.NOT_SERVED


async def test_a_method_that_the_table_lacks_is_refused_even_where_it_is_served(house: House) -> None:
    serving = await house.server()

    async def leak(_request: bytes, _context: object) -> bytes:
        raise AssertionError("reached")

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(leak)
    serving.wire.server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("new.Service", {"Leak": handler}),)
    )
    call = house.channel(serving).channel.unary_unary("/new.Service/Leak")(b"", timeout=PATIENCE_SECONDS)
    assert (await refusal(call)).reason is Reason.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("seconds", "reason"), [(None, Reason.DEADLINE_REQUIRED), (90.0, Reason.DEADLINE_TOO_LONG), (60.0, None)]
)
async def test_a_unary_call_has_a_deadline_of_a_minute_at_most(
    house: House, seconds: float | None, reason: Reason | None
) -> None:
    serving = await house.server()
    call = house.channel(serving).read("x", seconds=seconds)
    if reason is None:
        assert await call == str(HUB)
    else:
        assert (await refusal(call)).reason is reason


async def test_a_refusal_comes_back_as_it_was_raised(house: House) -> None:
    serving = await house.server()

    async def refuse() -> str:
        raise no_bed()

    serving.answers.behaviours["refuse"] = refuse
    found = await refusal(house.channel(serving).read("refuse"))
    assert found.reason is Reason.NO_BED
    assert found.code == "FAILED_PRECONDITION"
    assert found.metadata == {"unit": "smr-1"}
    assert found.final
    state = StringValue()
    assert isinstance(found.subject, AnyMessage)
    assert found.subject.Unpack(state)
    assert state.value == "the state found"
    assert serving.refused(Reason.NO_BED) == 1


async def test_a_fault_says_nothing_of_itself(house: House, log_lines: LogLines) -> None:
    serving = await house.server()

    async def fail() -> str:
        raise ValueError("Mme Canari, née le 1er avril")

    serving.answers.behaviours["fail"] = fail
    client = house.channel(serving)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await client.read("fail")
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "Canari" not in repr(failed.value)
    assert refusal_of(failed.value).reason is Reason.INTERNAL
    await until(lambda: bool(log_lines.of("rpc")), "the call is logged: its caller hears of it first")
    (fault,) = log_lines.of("rpc")
    assert fault["exception"] == "ValueError"
    assert "test_gate.py" in fault["frames"]
    assert fault["request_id"] == refusal_of(failed.value).metadata["request_id"]
    assert "Canari" not in log_lines.text


async def test_a_line_for_each_call_and_one_id_over_the_hops(house: House, log_lines: LogLines) -> None:
    """hub → node: the node's line bears the id that came to the hub."""
    node = await house.server(NODE)
    hub = await house.server(HUB)
    to_node = house.channel(node, HubReplica(HERE, 2))

    async def forward() -> str:
        return await to_node.read("onward")

    hub.answers.behaviours["forward"] = forward
    assert await house.channel(hub, MARIE).read("forward") == str(HubReplica(HERE, 2))
    await until(lambda: len(log_lines.of("rpc")) == 2, "both calls are logged: their callers hear of them first")
    told = log_lines.of("rpc")
    assert {line["caller"] for line in told} == {str(HubReplica(HERE, 2)), str(MARIE)}
    assert len({line["request_id"] for line in told}) == 1
    for line in told:
        assert line["method"] == READ
        assert line["code"] == "OK"
        assert line["duration_ms"] > 0
        assert line["peer"].startswith("ipv4:127.0.0.1")
    labels = {"method": READ, "code": "OK"}
    await until(lambda: node.telemetry.value("aval_rpc_seconds_count", labels) == 1, "the call is counted")


async def test_only_a_desk_may_name_an_actor(house: House) -> None:
    serving = await house.server()
    named = ((ACTOR_KEY, b"someone"),)
    assert (await refusal(house.channel(serving, MARIE).read(metadata=named))).reason is Reason.ACTOR_NOT_ALLOWED
    assert await house.channel(serving, EstablishmentDesk(HERE, NANCY)).read(metadata=named)


@pytest.mark.parametrize("bytes_sent", [b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\xff" * 40])
async def test_bytes_that_are_no_message_are_refused_by_name(house: House, bytes_sent: bytes) -> None:
    """The first is a string that is not UTF-8."""
    serving = await house.server()
    channel = house.channel(serving).channel
    assert (
        await refusal(channel.unary_unary(READ)(bytes_sent, timeout=PATIENCE_SECONDS))
    ).reason is Reason.FIELD_INVALID
    assert (await refusal(channel.unary_stream(WATCH)(bytes_sent).read())).reason is Reason.FIELD_INVALID
    exchange = channel.stream_stream(EXCHANGE)()
    await exchange.write(bytes_sent)
    assert (await refusal(exchange.read())).reason is Reason.FIELD_INVALID
    assert serving.answers.asked == []
    assert serving.refused(Reason.FIELD_INVALID) == 3
    assert await house.channel(serving).read()


async def test_a_stream_ends_in_good_order_when_its_time_is_over(house: House) -> None:
    serving = await house.server(stream_seconds_max=0.3)
    watch = house.channel(serving).watch()
    await watch.read()
    assert await watch.read() is grpc.aio.EOF
    assert await watch.code() is grpc.StatusCode.OK
    assert serving.answers.watching == 0


async def test_a_stream_that_is_answered_ends_after_the_answers_under_way(house: House) -> None:
    """The time of an exchange is over while a command is being decided: its answer comes, then a normal end."""
    serving, hand = await shifted(house)
    decided = asyncio.Event()

    async def decide() -> str:
        await decided.wait()
        return "decided"

    serving.answers.behaviours["decide"] = decide
    exchange = house.channel(serving).exchange()
    await exchange.write(StringValue(value="decide"))
    await until(lambda: serving.answers.asked == ["decide"], "the command is being decided")
    await time_is_over(hand)
    decided.set()
    assert (await exchange.read()).value == "decided"
    assert await exchange.read() is grpc.aio.EOF
    assert await exchange.code() is grpc.StatusCode.OK


async def test_a_stop_lets_an_exchange_give_its_last_answer(house: House) -> None:
    serving = await house.server()
    decided = asyncio.Event()

    async def decide() -> str:
        await decided.wait()
        return "decided"

    serving.answers.behaviours["decide"] = decide
    exchange = house.channel(serving).exchange()
    await exchange.write(StringValue(value="decide"))
    await until(lambda: serving.answers.asked == ["decide"], "the command is being decided")
    stopping = asyncio.ensure_future(serving.wire.stop())
    reading = asyncio.ensure_future(exchange.read())
    await asyncio.wait((reading,), timeout=0.3)
    assert not reading.done()
    decided.set()
    assert (await reading).value == "decided"
    assert await exchange.read() is grpc.aio.EOF
    assert await exchange.code() is grpc.StatusCode.OK
    await stopping


async def test_a_stream_that_is_read_only_ends_when_its_time_is_over(house: House) -> None:
    """Its requests end: the handler answers what it was told."""
    serving, hand = await shifted(house)
    method = house.channel(serving, MARIE).channel.stream_unary(
        FEED, StringValue.SerializeToString, StringValue.FromString
    )
    feed = method()
    for word in ("in", "out"):
        await feed.write(StringValue(value=word))
    await until(lambda: serving.answers.asked == ["in", "out"], "both are received")
    hand.ahead += STREAMS_END_AFTER
    assert (await asyncio.wait_for(feed, PATIENCE_SECONDS)).value == "in out"
    assert await feed.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("ended_by", ["time", "stop"])
async def test_the_end_of_a_stream_waits_for_the_message_being_written(house: House, ended_by: str) -> None:
    """gRPC refuses a status while a message is on its way, and its client hangs: first the message, then the end."""
    writing = asyncio.Event()

    async def pour(_request: StringValue, _context: object) -> AsyncIterator[StringValue]:
        writing.set()
        while True:
            yield StringValue(value="x" * 1_000_000)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
        pour, StringValue.FromString, StringValue.SerializeToString
    )
    services = {"aval.v1.AvailabilityService": {"WatchAvailability": handler}}
    serving = await house.server(services=services, stream_seconds_max=0.3 if ended_by == "time" else 540.0)
    watch = house.channel(serving).watch()
    await writing.wait()
    stopping = asyncio.ensure_future(serving.wire.stop()) if ended_by == "stop" else None

    async def read_on() -> int:
        read = 0
        while await watch.read() is not grpc.aio.EOF:
            read += 1
        return read

    assert await asyncio.wait_for(read_on(), PATIENCE_SECONDS) >= 1
    assert await watch.code() is grpc.StatusCode.OK
    if stopping is not None:
        await stopping


async def test_a_stop_ends_streams_in_good_order_and_waits_for_calls(house: House) -> None:
    serving = await house.server()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "whole"

    serving.answers.behaviours["slow"] = slow
    client = house.channel(serving)
    watch = client.watch()
    await watch.read()
    call = asyncio.ensure_future(client.read("slow"))
    await begun.wait()
    stopping = asyncio.ensure_future(serving.wire.stop())
    assert await watch.read() is grpc.aio.EOF
    assert await watch.code() is grpc.StatusCode.OK
    assert (await refusal(client.read())).reason is Reason.SHUTTING_DOWN
    assert not stopping.done()
    go_on.set()
    assert await call == "whole"
    await stopping


async def test_health_and_reflection_are_served(house: House) -> None:
    serving = await house.server()
    channel = house.channel(serving, MARIE).channel
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "aval.v1.AvailabilityService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=PATIENCE_SECONDS)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    # The caller hears of it before the call is counted.
    labels = {"method": "/grpc.health.v1.Health/Check", "code": "NOT_FOUND"}
    await until(lambda: bool(serving.telemetry.value("aval_rpc_seconds_count", labels)), "the call is counted")
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert listed == {
        "aval.v1.AvailabilityService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_second_server_on_the_same_port_fails(house: House) -> None:
    serving = await house.server()
    telemetry = serving.telemetry
    second = WireServer(house.credentials(NODE), clock, rng, telemetry, listen=f"127.0.0.1:{serving.wire.port}")
    with pytest.raises(OSError, match="in use"):
        await second.start()


async def test_a_peer_with_too_many_streams_does_not_hurt_another(house: House) -> None:
    limits = PeerLimits(streams=4, unary=4)
    serving = await house.server(limits=limits)
    greedy, other = house.channel(serving, HUB), house.channel(serving, MARIE)
    held = [greedy.watch() for _ in range(4)]
    for watch in held:
        await watch.read()
    again = house.channel(serving, HUB)  # another connection of the same identity is the same peer
    assert (await refusal(again.watch().read())).reason is Reason.TOO_MANY_STREAMS
    assert await again.read()
    assert await other.read()
    held.pop().cancel()
    await until(lambda: serving.answers.watching == 3, "one stream's place is given back")
    watch = again.watch()
    await watch.read()


async def test_unary_calls_at_once_are_bounded_by_peer(house: House) -> None:
    serving = await house.server(limits=PeerLimits(unary=3))
    waiting = asyncio.Event()

    async def wait() -> str:
        await waiting.wait()
        return "done"

    serving.answers.behaviours["wait"] = wait
    client = house.channel(serving)
    calls = [asyncio.ensure_future(client.read("wait")) for _ in range(3)]
    await until(lambda: len(serving.answers.asked) == 3, "three calls are under way")
    assert (await refusal(client.read())).reason is Reason.TOO_MANY_CALLS
    assert await house.channel(serving, MARIE).read()
    waiting.set()
    assert [await call for call in calls] == ["done"] * 3
    assert await client.read()


async def test_calls_in_a_second_are_bounded_by_peer(house: House, log_lines: LogLines) -> None:
    serving = await house.server(limits=PeerLimits(calls_per_second=0.001, calls_burst=5))
    client = house.channel(serving)
    for _ in range(5):
        await client.read()
    begun = clock.monotonic()
    for _ in range(20):
        refused = await refusal(client.read())
        assert refused.reason is Reason.TOO_MANY_CALLS
        assert not refused.final
    assert await house.channel(serving, MARIE).read()
    assert serving.refused(Reason.TOO_MANY_CALLS) == 20
    told = sum(line["reason"] == Reason.TOO_MANY_CALLS.value for line in log_lines.of("rpc"))
    assert told <= 1 + clock.monotonic() - begun, "a flood of calls is not a flood of lines: one a second"


async def test_a_handler_that_refuses_while_streaming_ends_the_stream_by_name(house: House) -> None:
    serving = await house.server()

    async def full() -> str:
        raise Refusal(Reason.QUEUE_FULL)

    serving.answers.behaviours["full"] = full
    exchange = house.channel(serving).exchange()
    await exchange.write(StringValue(value="first"))
    assert (await exchange.read()).value == "first"
    await exchange.write(StringValue(value="full"))
    refused = await refusal(exchange.read())
    assert refused.reason is Reason.QUEUE_FULL
    assert not refused.final
