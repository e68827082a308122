"""Emulated devices: how long a server's device takes for a step.

All servers of the experiment run on one machine. Each is held to a device of its own: the answer of a step is kept
back until the device would have been done with it, counted from the request's arrival at the server. What the machine
computes meanwhile is part of that time, so a step is late only when the machine took longer than the device. Sessions
do not slow each other down, as the paper assumes of its servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Device:
    block_time: float
    """Of one token in one block, seconds."""
    prompt_share: float
    """What every further token of the same step adds, as a share of the first."""

    def step_time(self, blocks: int, tokens: int) -> float:
        """Seconds of a step; none for one without tokens, which only reserves caches."""
        if tokens == 0:
            return 0.0
        return blocks * self.block_time * (1 + self.prompt_share * (tokens - 1))

    def rates(self, blocks: int, width: int) -> dict[str, float]:
        """What PETALS would measure of itself on such a device (`get_server_throughput`), tokens per second.

        Its measure of the network is the one that it falls back to, 100 Mbit/s.
        """
        inference = 1 / self.block_time
        # Measured with steps of 1,024 tokens.
        forward = 1024 / self.step_time(1, 1024)
        network = 100e6 / (16 * width)
        return {
            "inference_rps": inference,
            "forward_rps": forward,
            "network_rps": network,
            "throughput": min(forward / ((blocks + 1) / 2), network),
        }

    def json(self) -> dict[str, float]:
        return {"block_time": self.block_time, "prompt_share": self.prompt_share}

    @staticmethod
    def read(content: dict[str, Any]) -> Device:
        return Device(float(content["block_time"]), float(content["prompt_share"]))


@dataclass
class HoldCount:
    """How often a device's time was kept, and by how much it was missed."""

    steps: int = 0
    late: int = 0
    late_seconds: float = 0.0

    def add(self, until: float, now: float) -> None:
        self.steps += 1
        if now > until:
            self.late += 1
            self.late_seconds += now - until

    def json(self) -> dict[str, float]:
        return {"steps": self.steps, "late": self.late, "late_seconds": self.late_seconds}


def append_hold_count(path: Path, count: HoldCount) -> None:
    """One line per session; short lines appended by several processes do not mix."""
    with path.open("a") as file:
        file.write(f"{count.steps} {count.late} {count.late_seconds:.6f}\n")


def read_hold_counts(path: Path, offset: int) -> tuple[HoldCount, int]:
    """The sum of the lines from `offset` on, and where they end."""
    total = HoldCount()
    if not path.exists():
        return total, offset
    with path.open() as file:
        file.seek(offset)
        for line in file.read().splitlines():
            steps, late, seconds = line.split()
            total.steps += int(steps)
            total.late += int(late)
            total.late_seconds += float(seconds)
        return total, file.tell()
