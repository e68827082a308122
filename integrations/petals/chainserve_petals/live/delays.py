"""Bytes under way: what was sent and has not arrived yet. Nothing here does I/O or reads a clock."""

from __future__ import annotations

import heapq
import itertools
import struct

from ..wire import HEADER_SIZE, FrameType, Header
from .devices import Device, HoldCount


class DelayLine:
    """One direction of a connection with a constant delay, seconds.

    What is not held arrives in the order in which it was sent. A piece that is held until later is overtaken.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.size = 0
        """Bytes under way."""
        self._pieces: list[tuple[float, int, bytes]] = []
        self._numbers = itertools.count()

    def put(self, data: bytes, now: float, held_until: float = 0.0) -> None:
        heapq.heappush(self._pieces, (max(now, held_until) + self.delay, next(self._numbers), data))
        self.size += len(data)

    @property
    def next_due(self) -> float | None:
        return self._pieces[0][0] if self._pieces else None

    def take(self, now: float) -> bytes:
        """Everything that has arrived by now, in order of arrival."""
        arrived: list[bytes] = []
        while self._pieces and self._pieces[0][0] <= now:
            arrived.append(heapq.heappop(self._pieces)[2])
        data = b"".join(arrived)
        self.size -= len(data)
        return data


class FrameSplitter:
    """Cuts a stream of ChainServe's wire protocol into frames, header included. Checksums are the receiver's matter."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[FrameType, bytes]]:
        """Throws `WireError` for what is not a frame."""
        self._data += data
        frames: list[tuple[FrameType, bytes]] = []
        while len(self._data) >= HEADER_SIZE:
            header = Header.read(bytes(self._data[:HEADER_SIZE]))
            end = HEADER_SIZE + header.length
            if len(self._data) < end:
                break
            frames.append((header.frame_type, bytes(self._data[:end])))
            del self._data[:end]
        return frames


class StepWatch:
    """The steps of one connection to a block server: until when each one's answer is kept back."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.holds = HoldCount()
        self._blocks: dict[int, int] = {}
        self._until: dict[tuple[int, int], float] = {}

    def request(self, frame_type: FrameType, frame: bytes, arrives: float) -> None:
        """A frame on its way to the server, and when it gets there. The last piece of a step counts."""
        if frame_type is FrameType.OPEN:
            job, _, blocks = struct.unpack_from("<QII", frame, HEADER_SIZE)
            self._blocks[job] = blocks
        elif frame_type is FrameType.STEP:
            job, step, _, tokens = struct.unpack_from("<QQII", frame, HEADER_SIZE)
            self._until[job, step] = arrives + self.device.step_time(self._blocks.get(job, 0), tokens)
        elif frame_type is FrameType.CLOSE:
            (job,) = struct.unpack_from("<Q", frame, HEADER_SIZE)
            self._blocks.pop(job, None)
            self._until = {key: until for key, until in self._until.items() if key[0] != job}

    def answer(self, frame_type: FrameType, frame: bytes, now: float) -> float:
        """Until when a frame of the server is held; zero: not at all."""
        if frame_type is not FrameType.STEP_RESULT:
            return 0.0
        job, step, _, _, offset = struct.unpack_from("<QQIIQ", frame, HEADER_SIZE)
        until = self._until.get((job, step), 0.0)
        if until and offset == 0:
            self.holds.add(until, now)
        return until
