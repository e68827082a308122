"""What a block server's connection needs of whatever runs its blocks.

Two conformers: `engine.PetalsEngine`, and the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .wire import Refusal, RefusalCode


class Refused(Exception):
    """Something is not done, for a reason that goes to the orchestrator; the server itself goes on."""

    def __init__(self, code: RefusalCode, text: str) -> None:
        super().__init__(text)
        self.refusal = Refusal(code, text)


class ServerLost(Exception):
    """The PETALS server is gone, and with it every session on it."""


@dataclass(frozen=True)
class ModelNumbers:
    """The numbers of a Llama-architecture model by which a mix-up is noticed."""

    block_count: int
    width: int
    heads: int
    key_value_heads: int
    head_size: int

    def difference(self, other: ModelNumbers) -> str | None:
        """What differs, in words; `None` when nothing does."""
        for name in ("block_count", "width", "heads", "key_value_heads", "head_size"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                return f"its {name.replace('_', ' ')} is {ours}, not {theirs}"
        return None


@dataclass(frozen=True)
class Assignment:
    """What a server is to host. Blocks count from 1, as everywhere in ChainServe; PETALS counts from 0."""

    model: ModelNumbers
    first_block: int
    block_count: int
    unit_count: int
    """Cache units: one is the room of one block for one job of `sequence_length` tokens."""
    sequence_length: int
    step_tokens: int
    parameter_count: int
    """Values of all parameters of the range."""

    @property
    def end_block(self) -> int:
        return self.first_block + self.block_count

    @property
    def hosts_last_block(self) -> bool:
        return self.end_block == self.model.block_count + 1

    @property
    def cache_tokens(self) -> int:
        """PETALS' `attn_cache_tokens`, which it takes for each block: the fewest with room for all units."""
        return -(-self.unit_count * self.sequence_length // self.block_count)

    def memory(self, value_size: int) -> int:
        """Bytes of parameters and cache with values of `value_size` bytes."""
        cache_values = 2 * self.model.key_value_heads * self.model.head_size
        return value_size * (self.parameter_count + cache_values * self.unit_count * self.sequence_length)


def read_assignment(manifest: bytes, *, unit_count: int, sequence_length: int, step_tokens: int) -> Assignment:
    """The assignment of a load. Throws `Refused` for a manifest that is not one."""
    try:
        content = json.loads(manifest)
        parameters = content["parameters"]
        numbers = ModelNumbers(
            block_count=int(parameters["blockCount"]),
            width=int(parameters["embeddingWidth"]),
            heads=int(parameters["headCount"]),
            key_value_heads=int(parameters["keyValueHeadCount"]),
            head_size=int(parameters["headSize"]),
        )
        count = 0
        for tensor in content["tensors"]:
            values = 1
            for dimension in tensor["dimensions"]:
                values *= int(dimension)
            count += values
        assignment = Assignment(
            model=numbers,
            first_block=int(content["firstBlock"]),
            block_count=int(content["blockCount"]),
            unit_count=unit_count,
            sequence_length=sequence_length,
            step_tokens=step_tokens,
            parameter_count=count,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(RefusalCode.BAD_MANIFEST, f"the manifest cannot be read: {error!r}") from None
    if min(unit_count, sequence_length, step_tokens) < 1:
        raise Refused(RefusalCode.BAD_MANIFEST, "a load needs cache units, a sequence length and a step length")
    if (
        assignment.first_block < 1
        or assignment.block_count < 1
        or assignment.end_block > numbers.block_count + 1
        or min(numbers.width, numbers.heads, numbers.key_value_heads, numbers.head_size) < 1
    ):
        raise Refused(RefusalCode.BAD_MANIFEST, "the manifest's numbers are impossible")
    return assignment


class BlockStream(Protocol):
    """A job's session on a server: its cache is reserved from the moment it exists."""

    async def step(self, hidden: bytes, token_count: int) -> bytes:
        """Carries `[token_count][width]` little-endian float32 through the job's blocks.

        Throws `Refused` or `ServerLost`.
        """
        ...

    async def close(self) -> None:
        """Frees the cache. Never throws, never waits long."""
        ...


class Engine(Protocol):
    """One server's blocks."""

    @property
    def process_id(self) -> int:
        """The server's process where it runs on this machine, else 0."""
        ...

    @property
    def memory_used(self) -> int:
        """Bytes of the parameters and the cache of what is hosted."""
        ...

    def is_hosting(self, assignment: Assignment) -> bool: ...

    async def load(self, assignment: Assignment, progress: Callable[[], None]) -> None:
        """Hosts the range; returns when jobs can be opened. Calls `progress` every few seconds.

        Throws `Refused`, or `ServerLost` when the server went while it started.
        """
        ...

    async def open(self, first_block: int, block_count: int) -> BlockStream:
        """Reserves the cache of one job for these blocks.

        Throws `Refused` (`CACHE_FULL` when the server has none left) or `ServerLost`.
        """
        ...

    def when_lost(self, call: Callable[[str], None] | None) -> None:
        """Whom to tell when the server is lost, and why. One at a time."""
        ...
