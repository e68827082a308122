#!/usr/bin/env python3
"""How long a stream stands still when a server of its chain is killed, and what it costs to keep that short.

    Scripts/recovery.py --model FILE.gguf [--pool default|shared] [--prompt 600] [--at 100] [--hop N] [--trials 6]

Two services one after another: one keeps the hidden states that enter each hop, one keeps tokens alone
(`--recovery-memory 0`). Each answers one request at a time; when `--at` tokens have come, the process of one server of
its chain is killed, first hop, second hop and so on in turn. Told are the time from the kill to the next token, what the
undisturbed text was like (it must be the same), and the memory of the orchestrator. Only Python's own library is needed.
"""
import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chaos import Service  # noqa: E402

DEMAND = "demand: {arrival_rate: 0.9, load_target: 0.7, mean_input_tokens: 48, mean_output_tokens: 64}\n"
# As `chainserve up` composes it.
DEFAULT = DEMAND + """servers:
  - {name: amber, memory: 94 MB}
  - {name: birch, memory: 93 MB}
  - {name: cedar, memory: 81 MB}
  - {name: delta, memory: 76 MB}
  - {name: ember, memory: 70 MB}
"""
# Thirds of thirty blocks; the middle one twice, and the outer ones with room for the jobs of both ways.
SHARED = DEMAND + """servers:
  - {name: s1, memory: 240 MB, communication_time: 20 ms, block_time: 20 ms}
  - {name: s2, memory: 160 MB, communication_time: 20 ms, block_time: 20 ms}
  - {name: s3, memory: 240 MB, communication_time: 20 ms, block_time: 20 ms}
  - {name: s4, memory: 160 MB, communication_time: 21 ms, block_time: 21 ms}
placement:
  - {server: s1, first_block: 1, block_count: 10}
  - {server: s2, first_block: 11, block_count: 10}
  - {server: s3, first_block: 21, block_count: 10}
  - {server: s4, first_block: 11, block_count: 10}
"""


class Recovery:
    def __init__(self, options, service):
        self.options, self.service = options, service
        words = ["once", "upon", "a", "time", "there", "was", "old", "house", "by", "sea"]
        self.body = {"model": "recovery", "prompt": " ".join(words[(i * 7 + i // 5) % 10] for i in range(options.prompt)),
                     "max_tokens": options.at + 40, "ignore_eos": True, "stream": True, "temperature": 0, "seed": 1,
                     "stream_options": {"include_usage": True}}
        self.usage = None

    async def status(self):
        _, _, raw = await self.service.call("GET", "/status")
        return json.loads(raw)

    async def ready(self):
        while True:
            status = await self.status()
            if all(server["state"] == "ready" for server in status["servers"] if server["block_count"]):
                return status
            await asyncio.sleep(0.1)

    async def stream(self, on_token):
        """Text of one answer; `on_token(count)` after each token, with the time at which it came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        data = json.dumps(self.body).encode()
        writer.write((f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                      f"Content-Length: {len(data)}\r\n\r\n").encode() + data)
        text, count = "", 0
        while True:
            line = await reader.readline()
            if not line:
                break
            line = line.decode().strip()
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise SystemExit("a request failed: " + line)
            self.usage = event.get("usage") or self.usage
            for choice in event["choices"]:
                text += choice["text"]
                if choice["finish_reason"] is None:
                    count += 1
                    await on_token(count)
        writer.close()
        return text

    async def trial(self, number, expected):
        await self.ready()
        killed = {}

        async def on_token(count):
            if count == self.options.at:
                status = await self.status()
                chain = next(c for c in status["chains"] if c["running"] > 0)
                place = (self.options.hop - 1 if self.options.hop else number) % len(chain["servers"])
                name = chain["servers"][place]
                pid = next(s["pid"] for s in status["servers"] if s["name"] == name)
                os.kill(pid, signal.SIGKILL)
                killed.update(at=time.monotonic(), hop=place + 1,
                              before=" > ".join(chain["servers"]))
            elif killed and "gaps" not in killed:
                killed["gaps"] = [time.monotonic() - killed["at"]]
                killed["last"] = time.monotonic()
                status = await self.status()
                killed["after"] = " > ".join(next(c for c in status["chains"] if c["running"] > 0)["servers"])
            elif killed and len(killed["gaps"]) < 4:
                # Tokens that were under way when the server died may come at once: the longest wait counts.
                killed["gaps"].append(time.monotonic() - killed["last"])
            if killed:
                killed["last"] = time.monotonic()

        text = await self.stream(on_token)
        return {"hop": killed["hop"], "before": killed["before"], "after": killed["after"],
                "seconds": round(max(killed["gaps"]), 3), "same_text": text == expected}

    def memory(self):
        with open(f"/proc/{self.service.process.pid}/status") as file:
            return round(int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024, 1)

    async def run(self):
        await self.ready()

        async def nothing(_):
            pass

        began = time.monotonic()
        expected = await self.stream(nothing)
        undisturbed = time.monotonic() - began
        trials = [await self.trial(number, expected) for number in range(self.options.trials)]
        return {"prompt_tokens": self.usage["prompt_tokens"] if self.usage else None,
                "undisturbed_seconds": round(undisturbed, 2), "peak_mib": self.memory(), "trials": trials}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a GGUF of 30 blocks (SmolLM2-135M)")
    parser.add_argument("--pool", choices=["default", "shared"], default="shared")
    parser.add_argument("--prompt", type=int, default=600, help="words of the prompt")
    parser.add_argument("--at", type=int, default=100, help="tokens after which the server is killed")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--hop", type=int, help="the hop whose server is killed")
    parser.add_argument("--binary", default=".build/release/chainserve")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pool = {"default": DEFAULT, "shared": SHARED}[options.pool]
    text = f"model: {{name: recovery, gguf: \"{os.path.abspath(options.model)}\", max_sequence_length: 1024}}\n" + pool
    results = {}
    for kind, more in [("states", []), ("tokens", ["--recovery-memory", "0"])]:
        folder = tempfile.mkdtemp(prefix="chainserve-recovery-")
        service = Service(os.path.abspath(options.binary), folder, options.model, text=text, more=more)
        try:
            results[kind] = asyncio.run(Recovery(options, service).run())
        finally:
            service.process.terminate()
            service.process.wait(timeout=90)
            shutil.rmtree(folder)
    if options.json:
        print(json.dumps(results))
        return
    for kind, result in results.items():
        print(f"{kind}: prompt of {result['prompt_tokens']} tokens, undisturbed {result['undisturbed_seconds']} s,"
              f" orchestrator's peak {result['peak_mib']} MiB")
        for trial in result["trials"]:
            print(f"  hop {trial['hop']} of {trial['before']}, then {trial['after']}: {trial['seconds']:.3f} s,"
                  f" {'same text' if trial['same_text'] else 'OTHER TEXT'}")
    if not all(trial["same_text"] for result in results.values() for trial in result["trials"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
