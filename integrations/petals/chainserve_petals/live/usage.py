"""Processor time, from /proc: of groups of processes that belong together, and of the whole machine."""

from __future__ import annotations

import os
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


def parse_process(stat: str) -> tuple[int, float]:
    """Session and seconds used, its ended children's included, of `/proc/PID/stat`."""
    # The name, in parentheses, may hold anything.
    fields = stat.rpartition(")")[2].split()
    return int(fields[3]), sum(int(field) for field in fields[11:15]) * TICK


def parse_machine(stat: str) -> tuple[float, float]:
    """Seconds busy and in all, over all processors, of `/proc/stat`."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) * TICK, sum(fields) * TICK


def machine() -> tuple[float, float]:
    return parse_machine(Path("/proc/stat").read_text())


def sessions(wanted: set[int]) -> dict[int, float]:
    """Seconds used so far by the living processes of each session."""
    used = dict.fromkeys(wanted, 0.0)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            session, seconds = parse_process((entry / "stat").read_text())
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        if session in used:
            used[session] += seconds
    return used
