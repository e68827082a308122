"""Block servers in processes of their own, each behind a relay that can cut its connections and damage what passes.

For Scripts/chaos.py --relays. Only Python's own library is needed.
"""
import asyncio
import json
import subprocess


class Relay:
    """Passes bytes between whoever connects and a block server; damages or cuts when told to."""

    def __init__(self, random):
        self.random = random
        self.target = None
        self.writers = set()
        # Bytes to be damaged on their way to the server (True) or from it (False).
        self.damage = {True: 0, False: 0}

    async def start(self):
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def connected(self, reader, writer):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        ends = {writer, back}
        self.writers |= ends
        await asyncio.gather(self.passage(reader, back, True), self.passage(there, writer, False))
        self.writers -= ends

    async def passage(self, reader, writer, to_server):
        try:
            while data := await reader.read(1 << 16):
                if self.damage[to_server]:
                    self.damage[to_server] -= 1
                    data = bytearray(data)
                    data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self):
        for writer in list(self.writers):
            writer.transport.abort()


class RelayedServers:
    """`chainserve node` processes that are started again when they die."""

    def __init__(self, binary, rows, random, mean_output, model=None):
        """`rows`: name, memory in MB, seconds of communication and of a block."""
        self.binary, self.rows, self.random, self.model, self.mean = binary, rows, random, model, mean_output
        self.processes = {}
        self.relays = {}
        self.ports = {}
        self.over = False

    def command(self, row, port):
        name, memory, communication, block = row
        arguments = [self.binary, "node", "--listen", f"127.0.0.1:{port}", "--memory", f"{memory}MB", "--name", name]
        if self.model:
            return arguments + ["--model", self.model, "--device", "cpu"]
        profile = {"stepSeconds": communication / self.mean, "promptSecondsPerBlock": block / self.mean,
                   "prefillSecondsPerTokenBlock": 0, "decodeSecondsPerBlock": block / self.mean,
                   "sharing": "parallel", "timeScale": 1, "carriesClock": True}
        return arguments + ["--emulate", json.dumps(profile)]

    async def launch(self, row):
        process = await asyncio.create_subprocess_exec(
            *self.command(row, self.ports.get(row[0], 0)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.processes[row[0]] = process
        line = (await process.stdout.readline()).decode()
        if not line.startswith("listening "):
            raise SystemExit(f"block server {row[0]} did not start")
        self.ports[row[0]] = int(line.rsplit(":", 1)[1])

    async def keep(self, row):
        while not self.over:
            await self.processes[row[0]].wait()
            if self.over:
                return
            await asyncio.sleep(0.3)
            await self.launch(row)

    async def start(self):
        """Addresses by name."""
        for row in self.rows:
            await self.launch(row)
            relay = self.relays[row[0]] = Relay(self.random)
            relay.target = self.ports[row[0]]
            await relay.start()
        self.keeping = [asyncio.create_task(self.keep(row)) for row in self.rows]
        return {name: f"127.0.0.1:{relay.port}" for name, relay in self.relays.items()}

    async def stop(self):
        self.over = True
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*self.keeping, return_exceptions=True)
