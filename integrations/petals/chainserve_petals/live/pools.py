"""The systems as processes: servers, the network between, and whatever serves requests in front of them."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hivemind.p2p import P2P, PeerID

from ..process import SESSION_TIMEOUT, STEP_TIMEOUT, free_port
from ..swarm import PeerAddress
from .children import START_LIMIT, Child, ChildError
from .devices import read_hold_counts
from .load import Record, Service
from .spec import Host, Spec, System

HOST = "127.0.0.1"
# Of each PETALS server; its default of 8 processes takes memory and is of no use to so few sessions.
HANDLERS = 2
STATS_LIMIT = 10.0
# Seconds from the last request's end or failure to the records of all.
RECORDS_LIMIT = 60.0


@dataclass
class Pool:
    """A system's servers with the network in front of them."""

    spec: Spec
    system: System
    relay: Child
    ports: dict[str, tuple[int, int]]
    """By server's name: where the relay listens, and where the server does."""
    servers: list[Child] = field(default_factory=list)
    peers: dict[str, PeerAddress] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    front: Child | None = None
    service: Service | None = None

    # --- Starting -------------------------------------------------------------------------------------------

    @staticmethod
    async def start(spec: Spec, system: System) -> Pool:
        """Starts the network and the servers."""
        folder = spec.state / system.name
        folder.mkdir(parents=True, exist_ok=True)
        ports: dict[str, tuple[int, int]] = {}
        routes: list[dict[str, Any]] = []
        for host in system.hosts:
            server = spec.servers[host.server]
            listen, target = free_port(HOST), free_port(HOST)
            ports[server.name] = (listen, target)
            device = server.device.json() if system.kind == "own" else None
            routes.append({"listen": listen, "target": target, "delay": server.delay, "device": device})
        relay = await Child.python("relay", "relay", routes, folder / "relay.log", talks=True)
        pool = Pool(spec, system, relay, ports)
        try:
            await relay.line(START_LIMIT)
            if system.kind == "own":
                await pool._start_own(folder)
            else:
                await pool._start_petals(folder)
        except BaseException:
            await pool.stop()
            raise
        return pool

    async def _start_petals(self, folder: Path) -> None:
        """Stock servers join one after the other, and each chooses its blocks; the others stand alone."""
        initial: list[str] = []
        for host in self.system.hosts:
            name = self.spec.servers[host.server].name
            identity = folder / f"{name}.identity"
            if not identity.exists():
                P2P.generate_identity(str(identity))
            peer = PeerID.from_identity(identity.read_bytes()).to_base58()
            listen, target = self.ports[name]
            self.peers[name] = PeerAddress(peer, f"/ip4/{HOST}/tcp/{listen}")
            arguments = [
                str(self.spec.model),
                *("--dht_prefix", self.spec.name, "--device", "cpu", "--torch_dtype", "float32"),
                *("--num_handlers", str(HANDLERS), "--identity_path", str(identity)),
                *("--inference_max_length", str(self.spec.sequence_length), "--cache_dir", str(folder / "cache")),
                *("--host_maddrs", f"/ip4/{HOST}/tcp/{target}", "--announce_maddrs", f"/ip4/{HOST}/tcp/{listen}"),
                *self._placement(host),
                *(("--initial_peers", *initial) if initial else ("--new_swarm",)),
            ]
            settings = {
                "arguments": arguments,
                "device": self.spec.servers[host.server].device.json(),
                "holds": str(folder / f"{name}.holds"),
            }
            child = await Child.python(name, "server", settings, folder / f"{name}.log")
            self.servers.append(child)
            if self.system.kind == "stock":
                await child.wait_for(lambda text: "are joining" in text)
                initial = initial or [f"/ip4/{HOST}/tcp/{listen}/p2p/{peer}"]
        for child in self.servers:
            await child.wait_for(lambda text: "Started" in text)

    def _placement(self, host: Host) -> list[str]:
        if self.system.kind == "stock":
            tokens = self.spec.sessions * self.spec.sequence_length
            return ["--num_blocks", str(host.count), "--attn_cache_tokens", str(tokens), "--throughput", "auto"]
        assert host.first is not None
        first = host.first - 1
        tokens = -(-host.units * self.spec.sequence_length // host.count)
        return [
            *("--block_indices", f"{first}:{first + host.count}", "--attn_cache_tokens", str(tokens)),
            *("--throughput", "1", "--session_timeout", str(SESSION_TIMEOUT), "--step_timeout", str(STEP_TIMEOUT)),
        ]

    async def _start_own(self, folder: Path) -> None:
        for host in self.system.hosts:
            name = self.spec.servers[host.server].name
            command = [
                *(self.spec.chainserve, "node", "--listen", f"{HOST}:{self.ports[name][1]}", "--name", name),
                *("--memory", f"{host.memory} B", "--model", str(self.spec.gguf), "--device", "cpu"),
            ]
            child = await Child.start(name, command, folder / f"{name}.log")
            self.servers.append(child)
        for child in self.servers:
            await child.wait_for(lambda text: "listening" in text)

    def cluster_file(self) -> Path:
        """The cluster file with the addresses of this start."""
        text = self.system.cluster
        for name, (listen, _) in self.ports.items():
            address = f"{HOST}:{listen}"
            if name in self.peers:
                address = f"{self.peers[name].transport}/p2p/{self.peers[name].peer}"
            text = text.replace("{" + name + "}", address)
        path = self.spec.state / self.system.name / "cluster.yaml"
        path.write_text(text)
        return path

    async def open(self) -> None:
        """Starts what serves requests, unless it is PETALS' own client, which every run starts anew."""
        if self.system.kind == "stock":
            return
        folder = self.spec.state / self.system.name
        command = [
            *(self.spec.chainserve, "serve", str(self.cluster_file()), "--port", "0", "--no-journal"),
            *("--request-timeout", f"{self.spec.request_limit:g}", "--wait-limit", "86400", "--client-limit", "10000"),
        ]
        self.front = await Child.start("chainserve serve", command, folder / "serve.log")
        text = await self.front.wait_for(lambda text: re.search(r"at http://\S+/v1", text) is not None)
        found = re.search(r"at http://([\d.]+):(\d+)/v1", text)
        assert found is not None
        self.service = Service(found[1], int(found[2]), self.spec.name, self.spec.request_limit)
        for number in range(2):
            for record in await self.service.run([(0.0, 4, 2 + number)]):
                if record.error:
                    raise ChildError(f"{self.system.name}: the first request failed: {record.error}")

    async def stop(self) -> None:
        if self.front is not None:
            await self.front.stop(gently=True)
        await asyncio.gather(*(server.stop() for server in self.servers), self.relay.stop())

    # --- A run ----------------------------------------------------------------------------------------------

    async def front_of_run(self) -> Child:
        """What serves the requests of one run."""
        if self.front is not None:
            return self.front
        settings = {
            "model": str(self.spec.model),
            "initial_peers": [f"{address.transport}/p2p/{address.peer}" for address in self.peers.values()],
            "prefix": self.spec.name,
            "blocks": self.spec.blocks,
            "sequence_length": self.spec.sequence_length,
            "request_limit": self.spec.request_limit,
        }
        log = self.spec.state / self.system.name / "client.log"
        client = await Child.python("PETALS' client", "stock", settings, log, talks=True)
        try:
            await client.line(START_LIMIT)
        except BaseException:
            await client.stop()
            raise
        return client

    async def serve(self, front: Child, requests: list[tuple[float, int, int]]) -> list[Record]:
        if self.service is not None:
            return await self.service.run(requests)
        await front.say(json.dumps(requests))
        # It says its records when the last request has ended or failed.
        limit = requests[-1][0] + self.spec.request_limit + RECORDS_LIMIT
        return [Record(**content) for content in json.loads(await front.line(limit))]

    async def end_of_run(self, front: Child) -> None:
        if front is not self.front:
            await front.stop()

    async def counts(self) -> dict[str, float]:
        """How the emulated times were kept since the last call, and bytes carried since the start."""
        await self.relay.say("counts")
        counts: dict[str, float] = json.loads(await self.relay.line(STATS_LIMIT))
        for host in self.system.hosts:
            name = self.spec.servers[host.server].name
            path = self.spec.state / self.system.name / f"{name}.holds"
            held, self.offsets[name] = read_hold_counts(path, self.offsets.get(name, 0))
            counts["steps"] += held.steps
            counts["late"] += held.late
            counts["late_seconds"] += held.late_seconds
        return counts
