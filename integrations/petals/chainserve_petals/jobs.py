"""The books of one block server: cache units, and the pieces of steps. Nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from .backend import Refused
from .wire import VALUE_SIZE, RefusalCode, StepPiece


class ViolationError(Exception):
    """The peer broke the protocol; the connection ends."""


@dataclass
class UnitLedger:
    """Cache units by job: taken before a server is asked for them, given back when the server has them back."""

    total: int = 0
    _held: dict[int, int] = field(default_factory=dict)

    @property
    def used(self) -> int:
        return sum(self._held.values())

    @property
    def free(self) -> int:
        return self.total - self.used

    def take(self, job: int, units: int) -> None:
        if job in self._held:
            raise Refused(RefusalCode.JOB_ALREADY_OPEN, f"job {job} is open already")
        if units > self.free:
            raise Refused(RefusalCode.CACHE_FULL, f"the job needs {units} cache units, {self.free} are free")
        self._held[job] = units

    def give_back(self, job: int) -> None:
        self._held.pop(job, None)


class StepAssembly:
    """Collects the pieces of one step, in order."""

    def __init__(self, first: StepPiece, width: int) -> None:
        self.step = first.step
        self.position = first.position
        self.token_count = first.token_count
        self.byte_count = first.token_count * width * VALUE_SIZE
        self._data = bytearray()
        self._job = first.job
        if first.offset != 0 or len(first.hidden) > self.byte_count:
            raise Refused(
                RefusalCode.WRONG_SHAPE,
                f"job {first.job}: {first.token_count} tokens of {width} values expected,"
                f" {len(first.hidden)} bytes came at {first.offset}",
            )
        self._data += first.hidden

    @property
    def is_complete(self) -> bool:
        return len(self._data) == self.byte_count

    @property
    def hidden(self) -> bytes:
        return bytes(self._data)

    def add(self, piece: StepPiece) -> None:
        follows = (
            piece.step == self.step
            and piece.position == self.position
            and piece.token_count == self.token_count
            and piece.offset == len(self._data)
            and len(self._data) + len(piece.hidden) <= self.byte_count
        )
        if not follows:
            raise ViolationError(f"a piece of step {piece.step} does not follow the one before")
        self._data += piece.hidden


@dataclass
class JobBook:
    """One open job as its connection knows it."""

    job: int
    first_block: int
    block_count: int
    position: int = 0
    """Tokens computed so far."""
    assembly: StepAssembly | None = None
    step_in_flight: int | None = None
    failed: Refused | None = None
    """The session on the server has ended: every further step fails alike."""

    def receive(self, piece: StepPiece, *, width: int, step_tokens: int, sequence_length: int) -> StepAssembly | None:
        """Takes a piece; returns the step when it is complete. Throws `Refused` for a step that cannot be done."""
        if self.assembly is not None:
            if piece.step != self.assembly.step:
                if piece.offset != 0:
                    return None
                raise Refused(RefusalCode.BUSY, f"job {self.job} has an unfinished step")
            self.assembly.add(piece)
        else:
            if piece.offset != 0:
                return None  # the rest of a step that was refused
            self._check(piece, step_tokens=step_tokens, sequence_length=sequence_length)
            self.assembly = StepAssembly(piece, width)
        if not self.assembly.is_complete:
            return None
        complete, self.assembly = self.assembly, None
        self.step_in_flight = complete.step
        return complete

    def _check(self, piece: StepPiece, *, step_tokens: int, sequence_length: int) -> None:
        if self.failed is not None:
            raise self.failed
        if self.step_in_flight is not None:
            raise Refused(RefusalCode.BUSY, f"job {self.job} is still at step {self.step_in_flight}")
        if piece.token_count > step_tokens:
            raise Refused(
                RefusalCode.STEP_TOO_LARGE,
                f"a step of {piece.token_count} tokens exceeds the limit of {step_tokens}",
            )
        if piece.position != self.position:
            raise Refused(
                RefusalCode.WRONG_POSITION,
                f"job {self.job} is at position {self.position}, the step begins at {piece.position}",
            )
        if piece.position + piece.token_count > sequence_length:
            raise Refused(
                RefusalCode.SEQUENCE_TOO_LONG,
                f"job {self.job} would pass its reserved sequence length of {sequence_length} tokens",
            )

    def finish(self, token_count: int) -> None:
        """The step in flight has been computed."""
        self.position += token_count
        self.step_in_flight = None
