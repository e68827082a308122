"""PETALS servers as processes of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from hivemind.p2p import P2P, PeerID

from .backend import Assignment
from .server import CONTROLLED
from .swarm import PeerAddress

# A session may last as long as a job, and wait between two steps as long as the rest of its chain takes.
SESSION_TIMEOUT = 24 * 3600
STEP_TIMEOUT = 3600


@dataclass(frozen=True)
class ServerSettings:
    """How servers are started."""

    model: Path
    prefix: str
    state: Path
    """Folder of identities and logs."""
    initial_peers: tuple[str, ...] = ()
    """A swarm to join; without one each server stands alone, which pinned sessions do not mind."""
    host: str = "127.0.0.1"
    dtype: str = "float32"
    device: str = "cpu"
    handlers: int = 2


def server_arguments(
    settings: ServerSettings, assignment: Assignment, *, identity: str, host: str, port: int
) -> list[str]:
    """The arguments of PETALS' `run_server` for a planned server."""
    first = assignment.first_block - 1
    swarm = ["--initial_peers", *settings.initial_peers] if settings.initial_peers else ["--new_swarm"]
    address = f"/ip4/{host}/tcp/{port}"
    return [
        str(settings.model),
        *("--dht_prefix", settings.prefix),
        *("--block_indices", f"{first}:{first + assignment.block_count}"),
        *("--attn_cache_tokens", str(assignment.cache_tokens)),
        *("--inference_max_length", str(assignment.sequence_length)),
        *("--device", settings.device),
        *("--torch_dtype", settings.dtype),
        *("--throughput", "1"),
        *("--num_handlers", str(settings.handlers)),
        *("--session_timeout", str(SESSION_TIMEOUT)),
        *("--step_timeout", str(STEP_TIMEOUT)),
        *("--identity_path", identity),
        *("--host_maddrs", address),
        *("--announce_maddrs", address),
        *("--cache_dir", str(settings.state / "cache")),
        *swarm,
    ]


def free_port(host: str) -> int:
    """A port that is free now. Another process may take it first; the server then ends and says so."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One server: a process from the beginning, with blocks once they are known, stopped with all its children."""

    def __init__(self, name: str, settings: ServerSettings, threads: int) -> None:
        self._name = name
        self._settings = settings
        self._threads = threads
        self._process: asyncio.subprocess.Process | None = None
        self._address: PeerAddress | None = None
        self._has_blocks = False
        settings.state.mkdir(parents=True, exist_ok=True)
        self._identity = settings.state / f"{name}.identity"
        self._log = settings.state / f"{name}.log"
        if not self._identity.exists():
            P2P.generate_identity(str(self._identity))

    @property
    def process_id(self) -> int:
        return self._process.pid if self._process is not None and self.is_running else 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def address(self) -> PeerAddress | None:
        return self._address

    async def prepare(self) -> None:
        """Starts the process, which then waits for its blocks; an orchestrator is told its number."""
        await self.stop()
        threads = str(self._threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONWARNINGS": "ignore",
        }
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "chainserve_petals.server",
                CONTROLLED,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                # A group of its own: its handlers do not end when their parent is killed.
                start_new_session=True,
            )
        self._has_blocks = False

    async def start(self, assignment: Assignment) -> None:
        """Gives the process its blocks; one that has others is replaced."""
        if self._has_blocks or not self.is_running:
            await self.prepare()
        host = self._settings.host
        port = free_port(host)
        peer = PeerID.from_identity(self._identity.read_bytes())
        self._address = PeerAddress(peer.to_base58(), f"/ip4/{host}/tcp/{port}")
        arguments = server_arguments(self._settings, assignment, identity=str(self._identity), host=host, port=port)
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        await self._process.stdin.drain()
        self._has_blocks = True

    async def wait(self) -> str:
        """Returns when the server has ended, with how; what is left of its group is killed."""
        assert self._process is not None
        process = self._process
        status = await process.wait()
        self._kill_group(process, signal.SIGKILL)
        return f"signal {-status}" if status < 0 else f"status {status}"

    async def stop(self) -> None:
        """Ends the server and all its children; asks first, briefly."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            self._kill_group(process, signal.SIGTERM)
            try:
                async with asyncio.timeout(2.0):
                    await process.wait()
            except TimeoutError:
                pass
        self._kill_group(process, signal.SIGKILL)
        await process.wait()

    @staticmethod
    def _kill_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def last_words(self) -> str:
        """The end of its log."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        return f"{lines[-1] if lines else 'it said nothing'} (its log is {self._log})"
