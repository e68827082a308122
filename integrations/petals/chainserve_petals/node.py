"""A block server as an orchestrator sees it: one listening address, one orchestrator at a time.

Everything happens on one event loop. Each open job has a task of its own that holds its PETALS session, so that a slow
server holds up nobody else, and health is told at once whatever is being computed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field

from . import wire
from .backend import Assignment, BlockStream, Engine, Refused, ServerLost, read_assignment
from .jobs import JobBook, StepAssembly, UnitLedger, ViolationError
from .wire import GoodbyeCode, HealthState, LoadStage, Message, RefusalCode, WireError

logger = logging.getLogger("chainserve.petals")


@dataclass(frozen=True)
class NodeBounds:
    """Bounds of a node's queues and waits; times in seconds."""

    step_tokens: int = 512
    open_jobs: int = 4096
    connections: int = 16
    hello_timeout: float = 5.0
    silence_limit: float = 30.0
    """An orchestrator not heard for so long is taken for dead."""
    takeover_silence: float = 5.0
    """One not heard for so long loses its seat to another that asks for it."""
    cache_return: float = 5.0
    """How long an open waits for the cache of jobs that were closed a moment ago."""


class Node:
    """One planned server."""

    def __init__(self, name: str, memory: int, engine: Engine, bounds: NodeBounds = NodeBounds()) -> None:
        self.name = name
        self.memory = memory
        self.engine = engine
        self.bounds = bounds
        self.hosted: Assignment | None = None
        self.ledger = UnitLedger()
        self.units_changed = asyncio.Condition()
        self.is_loading = False
        self.steps_run = 0
        self.session: Session | None = None
        self._sessions: set[Session] = set()
        self._listener: asyncio.Server | None = None
        engine.when_lost(self._engine_lost)

    async def listen(self, host: str, port: int) -> int:
        """Begins to listen; returns the port."""
        self._listener = await asyncio.start_server(self._serve, host, port)
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for session in list(self._sessions):
            session.end(wire.Goodbye(GoodbyeCode.SHUTTING_DOWN, "this server is shutting down"))
            await session.ended.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self, reader, writer)
        if len(self._sessions) >= self.bounds.connections:
            session.send(wire.Goodbye(GoodbyeCode.SEAT_TAKEN, "this server has too many connections"))
            writer.close()
            return
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    def take_seat(self, session: Session) -> wire.Goodbye | None:
        """Gives the seat to `session`, or says why not."""
        holder = self.session
        if holder is not None:
            silence = time.monotonic() - holder.last_heard
            if silence < self.bounds.takeover_silence:
                return wire.Goodbye(
                    GoodbyeCode.SEAT_TAKEN,
                    f"this server belongs to the orchestrator {holder.peer}, heard"
                    f" {int(silence * 1000)} ms ago; stop that one first",
                )
            holder.end(wire.Goodbye(GoodbyeCode.SILENT, f"not heard for {int(silence * 1000)} ms"))
        self.session = session
        return None

    def leave_seat(self, session: Session) -> None:
        if self.session is session:
            self.session = None

    def _engine_lost(self, reason: str) -> None:
        """The orchestrator is told by the end of the connection: it then moves every job elsewhere."""
        logger.warning("%s: %s", self.name, reason)
        self.hosted = None
        if self.session is not None:
            self.session.end(wire.Goodbye(GoodbyeCode.OTHER, reason))

    def engine_lost(self, reason: str) -> None:
        self._engine_lost(reason)

    @property
    def health(self) -> wire.Health:
        jobs = self.session.jobs.values() if self.session is not None else ()
        state = HealthState.READY if self.hosted is not None else HealthState.WAITING
        return wire.Health(
            state=HealthState.LOADING if self.is_loading else state,
            units_used=self.ledger.used,
            units_total=self.ledger.total,
            open_jobs=len(jobs),
            queue_depth=sum(1 for job in jobs if job.book.step_in_flight is not None),
            steps_run=self.steps_run,
        )


@dataclass(eq=False)
class Job:
    book: JobBook
    task: asyncio.Task[None] | None = None
    steps: asyncio.Queue[StepAssembly] = field(default_factory=lambda: asyncio.Queue(maxsize=1))


class Session:
    """One connection, from its hello to its end."""

    def __init__(self, node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.node = node
        self.peer = str(writer.get_extra_info("peername"))
        self.last_heard = time.monotonic()
        self.jobs: dict[int, Job] = {}
        self.ended = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._reading: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._is_over = False

    # --- The connection -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        self._reading = asyncio.current_task()
        try:
            await self._introduce()
            while not self._is_over:
                message = await self._receive(self.node.bounds.silence_limit)
                self.last_heard = time.monotonic()
                self._handle(message)
                # While the peer does not take what we write nothing more is read.
                await self._writer.drain()
        except (WireError, ViolationError) as error:
            logger.warning("%s: connection closed: %s", self.node.name, error)
            self.end(wire.Goodbye(GoodbyeCode.PROTOCOL_VIOLATION, str(error)))
        except TimeoutError:
            self.end(wire.Goodbye(GoodbyeCode.SILENT, "nothing was heard for too long"))
        except (OSError, asyncio.IncompleteReadError):
            self.end(None)
        except asyncio.CancelledError:
            self.end(None)
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await self._finish()

    async def _introduce(self) -> None:
        message = await self._receive(self.node.bounds.hello_timeout)
        if not isinstance(message, wire.Hello):
            raise ViolationError(f"a {type(message).__name__} came before the hello")
        if message.version != wire.PROTOCOL_VERSION:
            self.end(
                wire.Goodbye(
                    GoodbyeCode.VERSION_MISMATCH,
                    f"this server speaks version {wire.PROTOCOL_VERSION} of the protocol, the orchestrator"
                    f" version {message.version}; run the same release on both",
                )
            )
            return
        self.peer = f"{message.name} at {self.peer}"
        refusal = self.node.take_seat(self)
        if refusal is not None:
            self.end(refusal)
            return
        self.send(
            wire.HelloReply(
                name=self.node.name,
                memory=self.node.memory,
                is_emulated=False,
                process_id=self.node.engine.process_id,
                step_tokens=self.node.bounds.step_tokens,
            )
        )

    async def _receive(self, timeout: float) -> Message:
        async with asyncio.timeout(timeout):
            header = wire.Header.read(await self._reader.readexactly(wire.HEADER_SIZE))
            return wire.decode(header, await self._reader.readexactly(header.length))

    def send(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(wire.encode(message))

    def end(self, goodbye: wire.Goodbye | None) -> None:
        """Ends the session; every job on it is closed. May be called from anywhere, more than once."""
        if self._is_over:
            return
        self._is_over = True
        self.node.leave_seat(self)
        if goodbye is not None:
            self.send(goodbye)
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()

    async def _finish(self) -> None:
        self._writer.close()
        if self._loading is not None:
            self._loading.cancel()
        for identifier in list(self.jobs):
            self._close(identifier)
        if self._closing:
            await asyncio.wait(self._closing)
        self.ended.set()

    # --- Messages -----------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        match message:
            case wire.Ping(identifier):
                self.send(wire.Pong(identifier, self.node.health))
            case wire.Load():
                self._load(message)
            case wire.Open(job, first_block, block_count):
                self._open(JobBook(job, first_block, block_count))
            case wire.Step(piece):
                self._receive_piece(piece)
            case wire.Close(job):
                if job in self.jobs:
                    self._close(job)
                else:
                    self.send(wire.Closed(job, max(0, self.node.ledger.free)))
            case wire.Goodbye():
                self.end(None)
            case wire.RangePiece():
                pass  # never asked for: PETALS' servers load their own weights
            case wire.Hello():
                raise ViolationError("a second hello came")
            case _:
                raise ViolationError(f"a {type(message).__name__} came, which only a block server sends")

    # --- Loading ------------------------------------------------------------------------------------------------

    def _load(self, request: wire.Load) -> None:
        if self._loading is not None and not self._loading.done():
            refusal = wire.Refusal(RefusalCode.BUSY, "another load is under way")
            self.send(wire.LoadRefused(request.load, refusal))
            return
        self._loading = asyncio.create_task(self._run_load(request))

    async def _run_load(self, request: wire.Load) -> None:
        node = self.node
        node.is_loading = True
        try:
            assignment = read_assignment(
                request.manifest,
                unit_count=request.unit_count,
                sequence_length=request.sequence_length,
                step_tokens=request.step_tokens,
            )
            if assignment.step_tokens > node.bounds.step_tokens:
                raise Refused(
                    RefusalCode.STEP_TOO_LARGE,
                    f"steps of {assignment.step_tokens} tokens exceed this server's {node.bounds.step_tokens}",
                )
            was_loaded = node.hosted == assignment and node.engine.is_hosting(assignment)
            if not was_loaded:
                if self.jobs:
                    raise Refused(RefusalCode.BUSY, "jobs are open on the blocks hosted now")
                node.hosted = None
                progress = wire.LoadProgress(request.load, LoadStage.BUILDING, 0, 0)
                await node.engine.load(assignment, lambda: self.send(progress))
                node.hosted = assignment
                node.ledger.total = assignment.unit_count
            self.send(
                wire.Loaded(
                    load=request.load,
                    first_block=assignment.first_block,
                    block_count=assignment.block_count,
                    width=assignment.model.width,
                    unit_count=assignment.unit_count,
                    sequence_length=assignment.sequence_length,
                    step_tokens=assignment.step_tokens,
                    memory_used=node.engine.memory_used,
                    is_emulated=False,
                    was_loaded=was_loaded,
                    checksum=wire.manifest_checksum(request.manifest),
                )
            )
        except Refused as error:
            logger.warning("%s: load refused: %s", node.name, error)
            self.send(wire.LoadRefused(request.load, error.refusal))
        except ServerLost as error:
            self.send(wire.LoadRefused(request.load, wire.Refusal(RefusalCode.OTHER, str(error))))
        finally:
            node.is_loading = False

    # --- Jobs ---------------------------------------------------------------------------------------------------

    def _open(self, book: JobBook) -> None:
        try:
            self._check_open(book)
        except Refused as error:
            self.send(wire.OpenRefused(book.job, error.refusal))
            return
        job = Job(book)
        self.jobs[book.job] = job
        job.task = asyncio.create_task(self._run_job(job))

    def _check_open(self, book: JobBook) -> None:
        hosted = self.node.hosted
        if hosted is None:
            raise Refused(RefusalCode.NOT_LOADED, "tell this server its blocks first")
        if book.job in self.jobs:
            raise Refused(RefusalCode.JOB_ALREADY_OPEN, f"job {book.job} is open already")
        if len(self.jobs) >= self.node.bounds.open_jobs:
            raise Refused(RefusalCode.OVERLOADED, f"{len(self.jobs)} jobs are open")
        end = book.first_block + book.block_count
        if book.block_count < 1 or book.first_block < hosted.first_block or end > hosted.end_block:
            raise Refused(
                RefusalCode.BLOCKS_NOT_HOSTED,
                f"{book.block_count} blocks from {book.first_block} on were asked for, but this server hosts"
                f" {hosted.first_block}–{hosted.end_block - 1}",
            )

    def _close(self, identifier: int) -> None:
        """Frees the job at once, whatever it is doing."""
        job = self.jobs.pop(identifier)
        if job.task is not None and not job.task.done():
            self._closing.add(job.task)
            job.task.add_done_callback(self._closing.discard)
            job.task.cancel()
        else:
            self.send(wire.Closed(identifier, max(0, self.node.ledger.free)))

    async def _run_job(self, job: Job) -> None:
        """Holds the job's session on the PETALS server from its open to its close."""
        book = job.book
        stream: BlockStream | None = None
        has_units = False
        try:
            await self._take_units(book)
            has_units = True
            stream = await self._open_stream(book)
            self.send(wire.Opened(book.job, max(0, self.node.ledger.free)))
            while True:
                await self._compute(job, stream, await job.steps.get())
        except Refused as error:
            if self.jobs.get(book.job) is job:
                del self.jobs[book.job]
            self.send(wire.OpenRefused(book.job, error.refusal))
        except ServerLost as error:
            self.node.engine_lost(str(error))
        except asyncio.CancelledError:
            pass
        finally:
            if stream is not None:
                await asyncio.shield(stream.close())
            if has_units:
                await asyncio.shield(self._give_back(book.job))
            if stream is not None:
                self.send(wire.Closed(book.job, max(0, self.node.ledger.free)))

    async def _take_units(self, book: JobBook) -> None:
        """Waits only for units of jobs that are closed already and whose cache is on its way back."""
        node = self.node

        def take() -> bool:
            try:
                node.ledger.take(book.job, book.block_count)
                return True
            except Refused:
                if not self._closing:
                    raise
                return False

        async with node.units_changed:
            try:
                async with asyncio.timeout(node.bounds.cache_return):
                    while not take():
                        await node.units_changed.wait()
            except TimeoutError:
                node.ledger.take(book.job, book.block_count)

    async def _give_back(self, job: int) -> None:
        async with self.node.units_changed:
            self.node.ledger.give_back(job)
            self.node.units_changed.notify_all()

    async def _open_stream(self, book: JobBook) -> BlockStream:
        """Opens the session. The server never makes anybody wait for cache: it refuses at once.

        By our books it has room. When it still refuses, it has not yet noticed the end of a session that was closed a
        moment ago: it is asked again for a short while.
        """
        deadline = time.monotonic() + self.node.bounds.cache_return
        delay = 0.01
        while True:
            try:
                return await self.node.engine.open(book.first_block, book.block_count)
            except Refused as error:
                if error.refusal.code is not RefusalCode.CACHE_FULL or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(delay)
            delay = min(2 * delay, 0.2)

    def _receive_piece(self, piece: wire.StepPiece) -> None:
        job = self.jobs.get(piece.job)
        hosted = self.node.hosted
        try:
            if job is None or hosted is None:
                if piece.offset != 0:
                    return
                raise Refused(RefusalCode.JOB_UNKNOWN, f"job {piece.job} is not open here")
            step = job.book.receive(
                piece,
                width=hosted.model.width,
                step_tokens=hosted.step_tokens,
                sequence_length=hosted.sequence_length,
            )
        except Refused as error:
            self.send(wire.StepFailed(piece.job, piece.step, error.refusal))
            return
        if step is not None:
            job.steps.put_nowait(step)

    async def _compute(self, job: Job, stream: BlockStream, step: StepAssembly) -> None:
        book = job.book
        try:
            result = await stream.step(step.hidden, step.token_count)
        except Refused as error:
            book.step_in_flight = None
            book.failed = error
            self.send(wire.StepFailed(book.job, step.step, error.refusal))
            return
        self.node.steps_run += 1
        hosted = self.node.hosted
        token_count = step.token_count
        if hosted is not None and hosted.hosts_last_block:
            # The output head needs the last token's state alone.
            result = result[-len(result) // token_count :]
            token_count = 1
        book.finish(step.token_count)
        for offset in range(0, len(result), wire.PIECE_SIZE):
            piece = wire.StepPiece(
                job=book.job,
                step=step.step,
                position=step.position,
                token_count=token_count,
                offset=offset,
                hidden=result[offset : offset + wire.PIECE_SIZE],
            )
            self.send(wire.StepResult(piece))
            await self._drain()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            self.end(None)
