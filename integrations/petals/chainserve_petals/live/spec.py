"""What `chainserve experiment live` asks for: the JSON file that it writes, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .devices import Device


class SpecError(Exception):
    """What is wrong with the file."""


@dataclass(frozen=True)
class LiveServer:
    """One emulated machine."""

    name: str
    delay: float
    """One way, seconds."""
    device: Device


@dataclass(frozen=True)
class Host:
    """A server's part in a system. Blocks count from 1."""

    server: int
    count: int
    first: int | None = None
    """`None`: it chooses for itself."""
    units: int = 0
    """Cache units, of one block and one job each."""
    memory: int = 0
    """Bytes; for our own engine."""


@dataclass(frozen=True)
class System:
    """One of the systems that are compared."""

    name: str
    kind: str
    """`stock`: PETALS as it is. `pinned`: ChainServe over PETALS servers. `own`: ChainServe over its own servers."""
    hosts: tuple[Host, ...]
    cluster: str = ""
    """The cluster file, with `{NAME}` where a server's address goes."""


@dataclass(frozen=True)
class Run:
    id: str
    system: str
    requests: list[tuple[float, int, int]]


@dataclass(frozen=True)
class Spec:
    chainserve: str
    model: Path
    gguf: Path
    name: str
    blocks: int
    width: int
    sequence_length: int
    state: Path
    results: Path
    request_limit: float
    sessions: int
    """Sessions over all its blocks that a stock server has cache for."""
    servers: tuple[LiveServer, ...]
    systems: tuple[System, ...]
    runs: tuple[Run, ...]

    def system(self, name: str) -> System:
        return next(system for system in self.systems if system.name == name)


def read_spec(path: Path) -> Spec:
    """Throws `SpecError`."""
    try:
        return parse_spec(json.loads(path.read_text()))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path} is not an experiment: {error!r}") from None


def parse_spec(content: dict[str, Any]) -> Spec:
    servers = tuple(
        LiveServer(entry["name"], float(entry["round_trip"]) / 2, Device.read(entry)) for entry in content["servers"]
    )
    systems = tuple(
        System(entry["name"], entry["kind"], tuple(Host(**host) for host in entry["hosts"]), entry.get("cluster", ""))
        for entry in content["systems"]
    )
    for system in systems:
        if system.kind not in ("stock", "pinned", "own"):
            raise SpecError(f"system {system.name}: unknown kind {system.kind}")
    names = {system.name for system in systems}
    runs = tuple(
        Run(entry["id"], entry["system"], [(float(a), int(i), int(o)) for a, i, o in entry["requests"]])
        for entry in content["runs"]
    )
    for run in runs:
        if run.system not in names:
            raise SpecError(f"run {run.id}: unknown system {run.system}")
    return Spec(
        chainserve=content["chainserve"],
        model=Path(content["model"]),
        gguf=Path(content["gguf"]),
        name=content["name"],
        blocks=int(content["blocks"]),
        width=int(content["width"]),
        sequence_length=int(content["sequence_length"]),
        state=Path(content["state"]),
        results=Path(content["results"]),
        request_limit=float(content["request_limit"]),
        sessions=int(content["sessions"]),
        servers=servers,
        systems=systems,
        runs=runs,
    )
