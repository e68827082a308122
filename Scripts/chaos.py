#!/usr/bin/env python3
"""Kills and pauses the block servers of a running service under load, and checks every answer.

    Scripts/chaos.py [--faults 100] [--seed 1] [--clients 8] [--relays] [--binary PATH] [--model FILE.gguf] [--json]

Six block servers in processes of their own; with --model they compute it, else they are emulated. Every request is first
answered undisturbed; then clients send them again and again while random servers are killed (SIGKILL) or paused (SIGSTOP,
for up to three seconds); with --relays connections are cut, too, and a bit of what passes is changed, towards a server or
from it. Each answer must be the undisturbed one. At the end the service drains, and its journal must
know every request as finished once, and replay to the same actions. Exit status 1 when anything was lost, wrong or
duplicated. Only Python's own library is needed.
"""
import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from relay import RelayedServers  # noqa: E402

MEAN_OUTPUT = 40
EMULATED = """engine: emulated
model: {name: chaos, block_count: 12, block_size: 10 MB, cache_size: 1 MB}
demand: {arrival_rate: 4, mean_input_tokens: 20, mean_output_tokens: 40}
servers:
"""
# Two ways through every third of the model, entered at different blocks.
RANGES = [(1, 6), (7, 6), (1, 4), (5, 4), (9, 4), (1, 6)]


def servers(model):
    """Name, memory in MB, seconds of communication and of a block; and the blocks, of each server."""
    if not model:
        return [((f"c{i + 1}", 100, 0.06 + 0.01 * i, 0.025 + 0.003 * i), RANGES[i]) for i in range(6)]
    # Thirty blocks: SmolLM2-135M. Two servers for each half and two that hold a third.
    ranges = [(1, 15), (16, 15), (1, 10), (11, 10), (21, 10), (16, 15)]
    return [((f"c{i + 1}", 300, 0.02, 0.02), ranges[i]) for i in range(6)]


def pool(model, addresses=None):
    rows, places = [], []
    for (name, memory, communication, block), (first, count) in servers(model):
        address = f", address: \"{addresses[name]}\"" if addresses else ""
        rows.append(f"  - {{name: {name}, memory: {memory} MB, communication_time: {communication * 1000:.0f} ms,"
                    f" block_time: {block * 1000:.0f} ms{address}}}")
        places.append(f"  - {{server: {name}, first_block: {first}, block_count: {count}}}")
    head = EMULATED
    if model:
        head = (f"model: {{name: chaos, gguf: \"{os.path.abspath(model)}\", max_sequence_length: 512}}\n"
                f"demand: {{arrival_rate: 1, mean_input_tokens: 20, mean_output_tokens: {MEAN_OUTPUT}}}\nservers:\n")
    return head + "\n".join(rows) + "\nplacement:\n" + "\n".join(places) + "\n"


class Service:
    def __init__(self, binary, folder, model, text=None, more=(), command="up"):
        self.journal = os.path.join(folder, "journal.db")
        path = os.path.join(folder, "pool.yaml")
        with open(path, "w") as file:
            file.write(text or pool(model))
        self.log = open(os.path.join(folder, "log"), "w+")
        environment = dict(os.environ, CHAINSERVE_CACHE=os.path.join(folder, "cache"))
        self.process = subprocess.Popen(
            [binary, command, path, *(["--no-prompt"] if command == "up" else []), "--port", "0", "--journal", self.journal, "--drain-limit", "60",
             "--maximum-attempts", "100", *more],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env=environment)
        end = time.monotonic() + 120
        while True:
            match = re.search(r"at http://127\.0\.0\.1:(\d+)/v1", self.text())
            if match:
                self.port = int(match.group(1))
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the service did not start:\n" + self.text())
            time.sleep(0.05)

    def text(self):
        with open(self.log.name) as file:
            return file.read()

    async def call(self, method, path, body=None, headers=()):
        """Status, headers and body of one exchange, the body to the end of the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            data = json.dumps(body).encode() if body is not None else b""
            lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close",
                     f"Content-Length: {len(data)}", *headers, "", ""]
            writer.write("\r\n".join(lines).encode() + data)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            raw = await reader.read(-1)
            if fields.get("transfer-encoding") == "chunked":
                raw = unchunked(raw)
            return status, fields, raw
        finally:
            writer.close()


def unchunked(raw):
    out, rest = b"", raw
    while True:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16) if size else 0
        if count == 0:
            return out
        out, rest = out + rest[:count], rest[count + 2:]


def answer(raw):
    """The text of a stream, how many tokens came, and whether it ended well."""
    text, tokens, problem, done = "", 0, None, False
    for event in raw.decode().split("\n\n"):
        if not event.startswith("data: "):
            continue
        if event == "data: [DONE]":
            done = True
            continue
        chunk = json.loads(event[6:])
        if "error" in chunk:
            problem = chunk["error"]["message"]
            continue
        for choice in chunk["choices"]:
            if choice["finish_reason"] is None:
                tokens += 1
            text += choice["text"]
    return text, tokens, problem, done


class Chaos:
    def __init__(self, options, service, relayed=None):
        self.options, self.service, self.relayed = options, service, relayed
        self.random = random.Random(options.seed)
        self.cuts = self.damages = 0
        count = 4 if options.model else 12
        self.requests = []
        for number in range(count):
            words = self.random.randint(1, 12)
            prompt = " ".join(self.random.choice(["once", "upon", "a", "time", "there", "was"]) for _ in range(words))
            body = {"model": "chaos", "prompt": prompt, "max_tokens": self.random.randint(20, 90), "ignore_eos": True,
                    "stream": True, "seed": number, "temperature": 0 if number % 2 else 0.8}
            self.requests.append(body)
        self.expected = []
        self.kills = self.pauses = self.completed = self.refused = self.sent = 0
        self.lost, self.wrong, self.duplicated = [], [], []
        self.over = False

    async def undisturbed(self):
        for body in self.requests:
            _, _, raw = await self.service.call("POST", "/v1/completions", body)
            text, tokens, problem, done = answer(raw)
            assert done and problem is None, raw[-300:]
            self.expected.append((text, tokens))

    async def client(self, number):
        rng = random.Random(self.options.seed * 1000 + number)
        while not self.over:
            which = rng.randrange(len(self.requests))
            self.sent += 1
            name = f"r{self.sent}"
            while True:
                try:
                    status, fields, raw = await self.service.call(
                        "POST", "/v1/completions", self.requests[which], [f"X-Request-ID: {name}"])
                except (OSError, asyncio.IncompleteReadError) as error:
                    self.lost.append(f"{name}: {error}")
                    break
                if status in (429, 503):
                    self.refused += 1
                    await asyncio.sleep(int(fields.get("retry-after-ms", "1000")) / 1000)
                    continue
                text, tokens, problem, done = answer(raw)
                if status != 200 or problem or not done:
                    self.lost.append(f"{name}: {status} {problem or raw[-200:]}")
                elif tokens > self.expected[which][1]:
                    self.duplicated.append(name)
                elif text != self.expected[which][0]:
                    self.wrong.append(f"{name}: {text!r} instead of {self.expected[which][0]!r}")
                else:
                    self.completed += 1
                break

    async def faults(self):
        resumes = []
        for _ in range(self.options.faults):
            await asyncio.sleep(self.random.uniform(0.1, self.options.gap))
            if self.relayed and self.random.random() < 0.5:
                self.disturb(self.random.choice(sorted(self.relayed.relays)))
                continue
            _, _, raw = await self.service.call("GET", "/status")
            found = [s for s in json.loads(raw)["servers"] if "pid" in s]
            if not found:
                found = [{"pid": p} for p in self.children()]
            pid = self.random.choice(found)["pid"]
            try:
                if self.random.random() < 0.5:
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1
                else:
                    os.kill(pid, signal.SIGSTOP)
                    self.pauses += 1
                    resumes.append(asyncio.create_task(self.resume(pid, self.random.uniform(0.2, 3))))
            except ProcessLookupError:
                self.kills += 1     # It had been killed already and was not back yet.
        await asyncio.gather(*resumes)

    def disturb(self, name):
        relay = self.relayed.relays[name]
        if self.random.random() < 0.4:
            relay.cut()
            self.cuts += 1
        else:
            relay.damage[self.random.random() < 0.5] += 1
            self.damages += 1

    def children(self):
        if self.relayed:
            return [p.pid for p in self.relayed.processes.values() if p.returncode is None]
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.service.process.pid)], capture_output=True, text=True)
        return [int(p) for p in out.stdout.split()]

    async def resume(self, pid, seconds):
        await asyncio.sleep(seconds)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    async def run(self):
        await self.undisturbed()
        began = time.monotonic()
        clients = [asyncio.create_task(self.client(n)) for n in range(self.options.clients)]
        await self.faults()
        self.over = True
        await asyncio.gather(*clients)
        self.seconds = time.monotonic() - began

    def finish(self, binary):
        self.service.process.send_signal(signal.SIGTERM)
        status = self.service.process.wait(timeout=90)
        database = sqlite3.connect(self.service.journal)
        rows = database.execute("SELECT requestID, status FROM request").fetchall()
        finished = {}
        for name, state in rows:
            if state == "finished":
                finished[name] = finished.get(name, 0) + 1
            elif name.startswith("r"):
                self.lost.append(f"{name}: {state} in the journal")
        self.duplicated += [f"{n}: finished {k} times" for n, k in finished.items() if k > 1 and re.fullmatch(r"r\d+", n)]
        moved = database.execute("SELECT COUNT(*) FROM request WHERE attempts > 1").fetchone()[0]
        replay = subprocess.run([binary, "replay", self.service.journal], capture_output=True, text=True)
        return {
            "seed": self.options.seed, "engine": "ggml" if self.options.model else "emulated",
            "kills": self.kills, "pauses": self.pauses, "cuts": self.cuts, "damages": self.damages, "seconds": round(self.seconds, 1),
            "completed": self.completed, "moved": moved, "refused": self.refused, "lost": len(self.lost),
            "wrong": len(self.wrong), "duplicated": len(self.duplicated), "exit_status": status,
            "replay": replay.stdout.strip() or replay.stderr.strip(), "replay_same": replay.returncode == 0,
        }


async def live(options, binary, folder):
    relayed = service = None
    try:
        if options.relays:
            model = os.path.abspath(options.model) if options.model else None
            rows = [row for row, _ in servers(options.model)]
            relayed = RelayedServers(binary, rows, random.Random(options.seed + 1), MEAN_OUTPUT, model)
            text = pool(options.model, await relayed.start())
            service = await asyncio.to_thread(Service, binary, folder, options.model, text, (), "serve")
        else:
            service = Service(binary, folder, options.model)
        chaos = Chaos(options, service, relayed)
        await chaos.run()
        return chaos, await asyncio.to_thread(chaos.finish, binary)
    finally:
        if service and service.process.poll() is None:
            service.process.kill()
        if relayed:
            await relayed.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--gap", type=float, default=2.0, help="most seconds between two faults")
    parser.add_argument("--relays", action="store_true", help="cut connections and damage what passes, too")
    parser.add_argument("--binary", default=".build/release/chainserve")
    parser.add_argument("--model", help="a GGUF of 30 blocks (SmolLM2-135M): computed instead of emulated")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="chainserve-chaos-")
    chaos, result = asyncio.run(live(options, os.path.abspath(options.binary), folder))
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>12}: {value}")
    for problem in (chaos.lost + chaos.wrong + chaos.duplicated)[:20]:
        print(problem, file=sys.stderr)
    bad = result["lost"] + result["wrong"] + result["duplicated"]
    if bad or not result["replay_same"] or result["exit_status"] != 0:
        print(f"kept for inspection: {folder}", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
