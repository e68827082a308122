"""The worker's end of a connection, over a real socket, with a fake engine behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from fakes import SEQUENCE_LENGTH, WIDTH, FakeEngine, Orchestrator, expect_refusal, manifest

from chainserve_petals import wire
from chainserve_petals.backend import Refused, ServerLost
from chainserve_petals.node import Node, NodeBounds
from chainserve_petals.wire import GoodbyeCode, RefusalCode

Test = Callable[[Node, FakeEngine, Orchestrator], Awaitable[None]]


@asynccontextmanager
async def connected(engine: FakeEngine, bounds: NodeBounds = NodeBounds()) -> AsyncIterator[tuple[Node, Orchestrator]]:
    node = Node("paris", 1000, engine, bounds)
    orchestrator = await Orchestrator.connect(await node.listen("127.0.0.1", 0))
    try:
        yield node, orchestrator
    finally:
        await node.stop()
        assert not asyncio.all_tasks() - {asyncio.current_task()}, "tasks are left"


def with_loaded(test: Test, *, units: int = 6, bounds: NodeBounds = NodeBounds()) -> None:
    """Runs `test` against a server that hosts blocks 2 to 4 with room for `units`."""

    async def run() -> None:
        engine = FakeEngine(units)
        async with connected(engine, bounds) as (node, orchestrator):
            await orchestrator.introduce()
            loaded = await orchestrator.load(units)
            assert isinstance(loaded, wire.Loaded)
            await test(node, engine, orchestrator)
        assert engine.units_free == units, "a session was left open"

    asyncio.run(run())


def test_introduction_and_load() -> None:
    async def run() -> None:
        engine = FakeEngine()
        async with connected(engine) as (_, orchestrator):
            reply = await orchestrator.introduce()
            assert reply == wire.HelloReply("paris", 1000, False, 4711, 512)
            expect_refusal(await orchestrator.open(1), RefusalCode.NOT_LOADED)
            loaded = await orchestrator.load()
            digest = wire.manifest_checksum(manifest())
            expected = wire.Loaded(1, 2, 3, WIDTH, 6, SEQUENCE_LENGTH, 8, 99, False, False, digest)
            assert loaded == expected
            again = await orchestrator.load()
            assert isinstance(again, wire.Loaded)
            assert again.was_loaded
            assert engine.loads == 1

    asyncio.run(run())


def test_loads_that_are_refused() -> None:
    async def run() -> None:
        engine = FakeEngine()
        async with connected(engine) as (_, orchestrator):
            await orchestrator.introduce()
            expect_refusal(await orchestrator.load(first_block=5), RefusalCode.BAD_MANIFEST)
            expect_refusal(await orchestrator.load(embeddingWidth="wide"), RefusalCode.BAD_MANIFEST)
            engine.load_failure = Refused(RefusalCode.WRONG_MODEL, "another model")
            expect_refusal(await orchestrator.load(), RefusalCode.WRONG_MODEL)
            engine.load_failure = ServerLost("it ended while it started")
            expect_refusal(await orchestrator.load(), RefusalCode.OTHER)
            engine.load_failure = None
            assert isinstance(await orchestrator.load(), wire.Loaded)

    asyncio.run(run())


def test_steps_of_a_job() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        assert await orchestrator.open(7, blocks=2) == wire.Opened(7, 4)
        data = bytes(range(2 * WIDTH * 4))
        result = await orchestrator.ask(orchestrator.piece(7, 1, tokens=2, data=data))
        # The range ends before the model's last block: every row comes back.
        expected = bytes(value + 2 for value in data)
        assert result == wire.StepResult(wire.StepPiece(7, 1, 0, 2, 0, expected))
        result = await orchestrator.ask(orchestrator.piece(7, 2, position=2))
        assert isinstance(result, wire.StepResult)
        assert engine.steps == [(2, 2), (2, 1)]
        pong = await orchestrator.ask(wire.Ping(9))
        health = wire.Health(wire.HealthState.READY, 2, 6, 1, 0, 2)
        assert pong == wire.Pong(9, health)
        assert await orchestrator.ask(wire.Close(7)) == wire.Closed(7, 6)

    with_loaded(test)


def test_last_block_returns_one_row() -> None:
    async def run() -> None:
        engine = FakeEngine()
        async with connected(engine) as (_, orchestrator):
            await orchestrator.introduce()
            assert isinstance(await orchestrator.load(first_block=4), wire.Loaded)
            assert isinstance(await orchestrator.ask(wire.Open(1, 4, 3)), wire.Opened)
            data = bytes(range(2 * WIDTH * 4))
            result = await orchestrator.ask(orchestrator.piece(1, 1, tokens=2, data=data))
            last = bytes(value + 3 for value in data[WIDTH * 4 :])
            assert result == wire.StepResult(wire.StepPiece(1, 1, 0, 1, 0, last))

    asyncio.run(run())


def test_pieces_are_put_together() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        data = bytes(range(2 * WIDTH * 4))
        orchestrator.send(
            orchestrator.piece(1, 5, tokens=2, data=data[:8]),
            orchestrator.piece(1, 5, tokens=2, offset=8, data=data[8:]),
        )
        result = await orchestrator.receive()
        assert isinstance(result, wire.StepResult)
        assert result.piece.hidden == bytes(value + 3 for value in data)
        assert engine.steps == [(3, 2)]

    with_loaded(test)


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        ({"job": 1, "step": 1, "position": 3}, RefusalCode.WRONG_POSITION),
        ({"job": 1, "step": 1, "tokens": 9}, RefusalCode.STEP_TOO_LARGE),
        ({"job": 2, "step": 1}, RefusalCode.JOB_UNKNOWN),
        ({"job": 1, "step": 1, "data": bytes(2 * WIDTH * 4)}, RefusalCode.WRONG_SHAPE),
    ],
)
def test_steps_that_are_refused(piece: dict[str, int], code: RefusalCode) -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        expect_refusal(await orchestrator.ask(orchestrator.piece(**piece)), code)  # type: ignore[arg-type]
        assert isinstance(await orchestrator.ask(orchestrator.piece(1, 9)), wire.StepResult)

    with_loaded(test)


def test_reserved_length_is_kept() -> None:
    async def test(_: Node, __: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        for step in range(2):
            answer = await orchestrator.ask(orchestrator.piece(1, step, position=8 * step, tokens=8))
            assert isinstance(answer, wire.StepResult)
        answer = await orchestrator.ask(orchestrator.piece(1, 3, position=SEQUENCE_LENGTH))
        expect_refusal(answer, RefusalCode.SEQUENCE_TOO_LONG)

    with_loaded(test)


def test_units_are_never_exceeded() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        assert isinstance(await orchestrator.open(1), wire.Opened)
        assert await orchestrator.open(2) == wire.Opened(2, 0)
        # The server is not even asked.
        expect_refusal(await orchestrator.open(3, blocks=1), RefusalCode.CACHE_FULL)
        assert engine.opens == 2
        expect_refusal(await orchestrator.open(2), RefusalCode.JOB_ALREADY_OPEN)
        expect_refusal(await orchestrator.ask(wire.Open(4, 1, 1)), RefusalCode.BLOCKS_NOT_HOSTED)
        expect_refusal(await orchestrator.ask(wire.Open(4, 4, 2)), RefusalCode.BLOCKS_NOT_HOSTED)

    with_loaded(test)


def test_open_waits_for_cache_on_its_way_back() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        await orchestrator.open(2)
        engine.slow_close = 0.05
        orchestrator.send(wire.Close(1), wire.Open(3, 2, 3))
        answers = [await orchestrator.receive(), await orchestrator.receive()]
        assert {type(answer) for answer in answers} == {wire.Closed, wire.Opened}

    with_loaded(test)


def test_a_full_server_is_asked_again_for_a_while() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        engine.refusals_left = 3
        assert isinstance(await orchestrator.open(1), wire.Opened)
        assert engine.opens == 4
        engine.refusals_left = 1000
        expect_refusal(await orchestrator.open(2), RefusalCode.CACHE_FULL)
        engine.refusals_left = 0
        assert await orchestrator.open(3) == wire.Opened(3, 0)

    with_loaded(test, bounds=NodeBounds(cache_return=0.3))


def test_close_in_the_middle_of_a_step() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        engine.gate.clear()
        await orchestrator.open(1)
        orchestrator.send(orchestrator.piece(1, 1))
        assert await orchestrator.ask(wire.Close(1)) == wire.Closed(1, 6)
        assert engine.units_free == 6
        assert await orchestrator.ask(wire.Close(1)) == wire.Closed(1, 6)

    with_loaded(test)


def test_a_slow_job_holds_up_nobody() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        await orchestrator.open(2)
        engine.gate.clear()
        orchestrator.send(orchestrator.piece(1, 1))
        pong = await orchestrator.ask(wire.Ping(1))
        assert isinstance(pong, wire.Pong)
        assert pong.health.queue_depth == 1
        expect_refusal(await orchestrator.ask(orchestrator.piece(1, 2)), RefusalCode.BUSY)
        orchestrator.send(orchestrator.piece(2, 3))
        engine.gate.set()
        results = [await orchestrator.receive(), await orchestrator.receive()]
        assert {result.piece.job for result in results if isinstance(result, wire.StepResult)} == {1, 2}

    with_loaded(test)


def test_a_failed_session_fails_its_job_alone() -> None:
    async def test(_: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        await orchestrator.open(2)
        engine.failure = Refused(RefusalCode.ENGINE, "it failed")
        expect_refusal(await orchestrator.ask(orchestrator.piece(1, 1)), RefusalCode.ENGINE)
        engine.failure = None
        expect_refusal(await orchestrator.ask(orchestrator.piece(1, 2)), RefusalCode.ENGINE)
        assert isinstance(await orchestrator.ask(orchestrator.piece(2, 3)), wire.StepResult)

    with_loaded(test)


def test_a_lost_server_ends_the_connection() -> None:
    async def by_step(node: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        engine.failure = ServerLost("it is gone")
        goodbye = await orchestrator.ask(orchestrator.piece(1, 1))
        assert goodbye == wire.Goodbye(GoodbyeCode.OTHER, "it is gone")
        await orchestrator.hear_end()
        assert node.hosted is None

    async def by_itself(node: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        engine.lose()
        assert isinstance(await orchestrator.receive(), wire.Goodbye)
        await orchestrator.hear_end()
        assert node.hosted is None

    with_loaded(by_step)
    with_loaded(by_itself)


def test_a_lost_server_is_loaded_again() -> None:
    async def run() -> None:
        engine = FakeEngine()
        async with connected(engine) as (node, orchestrator):
            await orchestrator.introduce()
            await orchestrator.load()
            await orchestrator.open(1)
            engine.lose()
            await orchestrator.receive()
            await orchestrator.hear_end()
            assert node._listener is not None
            port = node._listener.sockets[0].getsockname()[1]
            again = await Orchestrator.connect(port)
            await again.introduce()
            loaded = await again.load()
            assert isinstance(loaded, wire.Loaded)
            assert not loaded.was_loaded
            assert await again.open(1) == wire.Opened(1, 3)

    asyncio.run(run())


def test_one_orchestrator_at_a_time() -> None:
    async def run() -> None:
        async with connected(FakeEngine()) as (node, orchestrator):
            await orchestrator.introduce()
            assert node._listener is not None
            other = await Orchestrator.connect(node._listener.sockets[0].getsockname()[1])
            answer = await other.ask(wire.Hello("another"))
            assert isinstance(answer, wire.Goodbye)
            assert answer.code is GoodbyeCode.SEAT_TAKEN
            await other.hear_end()
            assert isinstance(await orchestrator.ask(wire.Ping(1)), wire.Pong)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (wire.encode(wire.Ping(1)), GoodbyeCode.PROTOCOL_VIOLATION),
        (wire.encode(wire.Hello("new", version=9)), GoodbyeCode.VERSION_MISMATCH),
        (b"GET / HTTP/1.1\r\n\r\n", GoodbyeCode.PROTOCOL_VIOLATION),
    ],
)
def test_connections_that_begin_wrongly(first: bytes, code: GoodbyeCode) -> None:
    async def run() -> None:
        async with connected(FakeEngine()) as (_, orchestrator):
            orchestrator.writer.write(first)
            answer = await orchestrator.receive()
            assert isinstance(answer, wire.Goodbye)
            assert answer.code is code
            await orchestrator.hear_end()

    asyncio.run(run())


def test_a_piece_out_of_order_is_a_violation() -> None:
    async def test(_: Node, __: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        orchestrator.send(orchestrator.piece(1, 1, tokens=2, data=bytes(4)))
        answer = await orchestrator.ask(orchestrator.piece(1, 1, tokens=2, offset=8, data=bytes(4)))
        assert isinstance(answer, wire.Goodbye)
        assert answer.code is GoodbyeCode.PROTOCOL_VIOLATION

    with_loaded(test)


def test_a_vanished_orchestrator_frees_everything() -> None:
    async def test(node: Node, engine: FakeEngine, orchestrator: Orchestrator) -> None:
        await orchestrator.open(1)
        orchestrator.writer.close()
        for _ in range(500):
            if engine.units_free == 6 and node.session is None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the job is still open")

    with_loaded(test)
