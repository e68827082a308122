"""One planned server on PETALS: a server that is started here, or one that runs already and is attached to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from .backend import Assignment, BlockStream, ModelNumbers, Refused, ServerLost
from .process import ServerProcess
from .swarm import PeerAddress, SessionEnded, Swarm
from .wire import RefusalCode

logger = logging.getLogger("chainserve.petals")


@dataclass(frozen=True)
class EngineBounds:
    """Times in seconds."""

    step_timeout: float = 60.0
    """A server that has not answered a step by then is lost. Includes waiting for other jobs' steps."""
    call_timeout: float = 5.0
    start_timeout: float = 300.0
    poll: float = 0.3
    progress: float = 2.0


class PetalsEngine:
    """Either starts its server (`process`) or attaches to a running one (`address`)."""

    def __init__(
        self,
        name: str,
        swarm: Swarm,
        *,
        memory: int,
        model: ModelNumbers | None,
        process: ServerProcess | None = None,
        address: PeerAddress | None = None,
        value_size: int = 4,
        bounds: EngineBounds = EngineBounds(),
    ) -> None:
        assert (process is None) != (address is None)
        self._name = name
        self._swarm = swarm
        self._memory = memory
        self._model = model
        self._process = process
        self._address = address
        self._value_size = value_size
        self._bounds = bounds
        self._hosted: Assignment | None = None
        self._lost: Callable[[str], None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int:
        return self._process.process_id if self._process is not None else 0

    @property
    def memory_used(self) -> int:
        return self._hosted.memory(self._value_size) if self._hosted is not None else 0

    def when_lost(self, call: Callable[[str], None] | None) -> None:
        self._lost = call

    async def stop(self) -> None:
        """Ends the server if it was started here."""
        self._hosted = None
        if self._watch is not None:
            self._watch.cancel()
        if self._process is not None:
            await self._process.stop()

    def is_hosting(self, assignment: Assignment) -> bool:
        return self._hosted == assignment and (self._process is None or self._process.is_running)

    # --- Loading ------------------------------------------------------------------------------------------------

    async def load(self, assignment: Assignment, progress: Callable[[], None]) -> None:
        self._check(assignment)
        self._hosted = None
        if self._watch is not None:
            self._watch.cancel()
        ticker = asyncio.create_task(self._tick(progress))
        try:
            async with asyncio.timeout(self._bounds.start_timeout):
                if self._process is not None:
                    await self._start(assignment, self._process)
                else:
                    await self._attach(assignment)
        except TimeoutError:
            text = f"the PETALS server {self._name} was not ready within {self._bounds.start_timeout:g} s"
            if self._process is not None:
                text += f": {self._process.last_words()}"
            raise ServerLost(text) from None
        finally:
            ticker.cancel()
        self._hosted = assignment

    async def _tick(self, progress: Callable[[], None]) -> None:
        while True:
            progress()
            await asyncio.sleep(self._bounds.progress)

    def _check(self, assignment: Assignment) -> None:
        """Whether this is the model, and whether it fits."""
        if self._model is not None:
            difference = self._model.difference(assignment.model)
            if difference is not None:
                raise Refused(
                    RefusalCode.WRONG_MODEL,
                    f"the model folder of {self._name} is not the model that is served: {difference}",
                )
        needed = assignment.memory(self._value_size)
        if needed > self._memory:
            raise Refused(
                RefusalCode.MEMORY_TOO_SMALL,
                f"{self._name} declares {self._memory} bytes, but {needed} are needed for the parameters of"
                f" {assignment.block_count} blocks and {assignment.unit_count} cache units; correct its memory"
                " in the cluster file",
            )

    async def _start(self, assignment: Assignment, process: ServerProcess) -> None:
        await process.start(assignment)
        self._address = process.address
        self._watch = asyncio.create_task(self._watch_process(process))
        while True:
            if not process.is_running:
                raise ServerLost(f"the PETALS server {self._name} ended while it started: {process.last_words()}")
            try:
                await self._probe(assignment)
                return
            except (ServerLost, Refused):
                await asyncio.sleep(self._bounds.poll)

    async def _attach(self, assignment: Assignment) -> None:
        """Checks a running server against the plan: blocks, width, and room for every planned unit."""
        assert self._address is not None
        await self._swarm.connect(self._address, self._bounds.call_timeout)
        for block in range(assignment.first_block, assignment.end_block):
            facts = await self._swarm.facts(self._address, block, self._bounds.call_timeout)
            if facts.width != assignment.model.width:
                raise Refused(
                    RefusalCode.WRONG_MODEL,
                    f"the PETALS server {self._name} has hidden states of {facts.width} values, the model"
                    f" {assignment.model.width}",
                )
        planned = assignment.unit_count * assignment.sequence_length
        if facts.free_tokens < planned:
            raise Refused(
                RefusalCode.MEMORY_TOO_SMALL,
                f"the PETALS server {self._name} has cache for {facts.free_tokens} tokens of one block free,"
                f" the plan counts on {planned}; start it with --attn_cache_tokens"
                f" {assignment.cache_tokens} and keep others off it",
            )
        await self._probe(assignment)

    async def _probe(self, assignment: Assignment) -> None:
        """One token through all blocks: the server computes, and its first step is not a job's."""
        assert self._address is not None
        await self._swarm.connect(self._address, self._bounds.call_timeout)
        await self._swarm.facts(self._address, assignment.first_block, self._bounds.call_timeout)
        stream = await self._swarm.open(
            self._address,
            range(assignment.first_block, assignment.end_block),
            width=assignment.model.width,
            max_length=1,
            step_timeout=self._bounds.step_timeout,
        )
        try:
            await stream.step(b"\x00\x00\x80\x3f" * assignment.model.width, 1)
        finally:
            await stream.close()

    async def _watch_process(self, process: ServerProcess) -> None:
        status = await process.wait()
        if self._hosted is None:
            return  # it was still starting: the load tells
        self._hosted = None
        # Before the orchestrator comes back and asks for it.
        await process.prepare()
        if self._lost is not None:
            self._lost(f"the PETALS server {self._name} ended ({status})")

    # --- Jobs ---------------------------------------------------------------------------------------------------

    async def open(self, first_block: int, block_count: int) -> BlockStream:
        hosted, address = self._hosted, self._address
        if hosted is None or address is None:
            raise Refused(RefusalCode.NOT_LOADED, f"the PETALS server {self._name} is not ready")
        try:
            stream = await self._swarm.open(
                address,
                range(first_block, first_block + block_count),
                width=hosted.model.width,
                max_length=hosted.sequence_length,
                step_timeout=self._bounds.step_timeout,
            )
        except SessionEnded as ended:
            raise await self.judge(ended) from None
        return _CheckedStream(stream, self)

    async def judge(self, ended: SessionEnded) -> Exception:
        """Whether a session that ended took its server along."""
        hosted, address = self._hosted, self._address
        if hosted is None or address is None or (self._process and not self._process.is_running):
            return ServerLost(str(ended))
        try:
            await self._swarm.facts(address, hosted.first_block, self._bounds.call_timeout)
        except (ServerLost, Refused) as error:
            return ServerLost(str(error))
        return Refused(RefusalCode.ENGINE, str(ended))


class _CheckedStream:
    """A session that, when it ends by itself, finds out whether the server is gone."""

    def __init__(self, stream: BlockStream, engine: PetalsEngine) -> None:
        self._stream = stream
        self._engine = engine

    async def step(self, hidden: bytes, token_count: int) -> bytes:
        try:
            return await self._stream.step(hidden, token_count)
        except SessionEnded as ended:
            raise await self._engine.judge(ended) from None

    async def close(self) -> None:
        await self._stream.close()
