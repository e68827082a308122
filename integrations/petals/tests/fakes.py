"""A block server's engine without PETALS, and an orchestrator's end of a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from chainserve_petals import wire
from chainserve_petals.backend import Assignment, BlockStream, Refused
from chainserve_petals.wire import RefusalCode

WIDTH = 3
BLOCKS = 6
SEQUENCE_LENGTH = 16


def manifest(first_block: int = 2, block_count: int = 3, **changes: Any) -> bytes:
    """A manifest as ChainServe writes it, of a model with six blocks."""
    parameters = {
        "blockCount": BLOCKS,
        "embeddingWidth": WIDTH,
        "headCount": 1,
        "keyValueHeadCount": 1,
        "headSize": WIDTH,
    }
    tensors = [{"name": f"blk.{block}.x", "dimensions": [WIDTH, WIDTH]} for block in range(block_count)]
    content = {
        "modelName": "tiny",
        "parameters": parameters | changes,
        "firstBlock": first_block,
        "blockCount": block_count,
        "tensors": tensors,
    }
    return json.dumps(content).encode()


class FakeStream:
    """Adds the job's number of blocks to every byte, and keeps its server's books."""

    def __init__(self, engine: FakeEngine, blocks: int) -> None:
        self.engine = engine
        self.blocks = blocks
        self.is_closed = False

    async def step(self, hidden: bytes, token_count: int) -> bytes:
        self.engine.steps.append((self.blocks, token_count))
        await self.engine.gate.wait()
        if self.engine.failure is not None:
            raise self.engine.failure
        return bytes((value + self.blocks) % 256 for value in hidden)

    async def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True
        await asyncio.sleep(self.engine.slow_close)
        self.engine.units_free += self.blocks


class FakeEngine:
    def __init__(self, units: int = 6) -> None:
        self.units_free = units
        self.steps: list[tuple[int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.load_failure: Exception | None = None
        self.loads = 0
        self.opens = 0
        self.slow_close = 0.0
        self.refusals_left = 0
        self.assignment: Assignment | None = None
        self.lost: Callable[[str], None] | None = None

    @property
    def process_id(self) -> int:
        return 4711

    @property
    def memory_used(self) -> int:
        return 99

    def is_hosting(self, assignment: Assignment) -> bool:
        return self.assignment == assignment

    async def load(self, assignment: Assignment, progress: Callable[[], None]) -> None:
        self.loads += 1
        progress()
        if self.load_failure is not None:
            raise self.load_failure
        self.assignment = assignment

    async def open(self, first_block: int, block_count: int) -> BlockStream:
        self.opens += 1
        if self.refusals_left > 0:
            self.refusals_left -= 1
            raise Refused(RefusalCode.CACHE_FULL, "Could not allocate")
        if block_count > self.units_free:
            raise Refused(RefusalCode.CACHE_FULL, "Could not allocate")
        self.units_free -= block_count
        return FakeStream(self, block_count)

    def when_lost(self, call: Callable[[str], None] | None) -> None:
        self.lost = call

    def lose(self) -> None:
        assert self.lost is not None
        self.assignment = None
        self.lost("the PETALS server ended")


class Orchestrator:
    """The other end: sends messages, waits for answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @staticmethod
    async def connect(port: int) -> Orchestrator:
        return Orchestrator(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, *messages: wire.Message) -> None:
        for message in messages:
            self.writer.write(wire.encode(message))

    async def receive(self) -> wire.Message:
        async with asyncio.timeout(5):
            header = wire.Header.read(await self.reader.readexactly(wire.HEADER_SIZE))
            return wire.decode(header, await self.reader.readexactly(header.length))

    async def ask(self, message: wire.Message) -> wire.Message:
        self.send(message)
        return await self.receive()

    async def hear_end(self) -> None:
        async with asyncio.timeout(5):
            assert await self.reader.read() == b""

    async def introduce(self) -> wire.HelloReply:
        reply = await self.ask(wire.Hello("tests"))
        assert isinstance(reply, wire.HelloReply)
        return reply

    async def load(self, units: int = 6, **changes: Any) -> wire.Message:
        fields: dict[str, Any] = {"first_block": 2, "block_count": 3} | changes
        self.send(
            wire.Load(
                load=1,
                unit_count=units,
                sequence_length=SEQUENCE_LENGTH,
                step_tokens=8,
                compute_size=0,
                threads=0,
                manifest=manifest(**fields),
            )
        )
        message = await self.receive()
        while isinstance(message, wire.LoadProgress):
            message = await self.receive()
        return message

    async def open(self, job: int, blocks: int = 3) -> wire.Message:
        return await self.ask(wire.Open(job, 5 - blocks, blocks))

    def piece(
        self,
        job: int,
        step: int,
        position: int = 0,
        tokens: int = 1,
        offset: int = 0,
        data: bytes | None = None,
    ) -> wire.Step:
        hidden = data if data is not None else bytes(tokens * WIDTH * 4)
        return wire.Step(wire.StepPiece(job, step, position, tokens, offset, hidden))


def expect_refusal(message: wire.Message, code: RefusalCode) -> None:
    refusal = getattr(message, "refusal", None)
    assert isinstance(refusal, wire.Refusal), f"{message} is no refusal"
    assert refusal.code is code, refusal.text
