#!/usr/bin/env python3
"""Compares what `chainserve bench` reports with what somebody else measured on the same run.

    Scripts/check-bench.py [--binary .build/release/chainserve] [--bound 2] [--json FILE]

An emulated pool serves; between it and the load generator stands a recorder in Python, which passes bytes on and notes,
with its own clock and its own reading of HTTP and of the events, when each request came and when each piece of its
answer went. From these it computes everything again: throughput, goodput, and mean, median and p99 of the time to the
first token, per token, between tokens, and of the whole. Runs: open loop with Poisson and with Gamma arrivals, a trace
at five times its speed, closed loop, completions, answers not streamed. Ends with status 1 when a figure differs by more
than the bound (percent), or the trace was not replayed at its times. Only Python's own library is needed.
"""
import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POOL = """engine: emulated
model: {name: toy, block_count: 8, block_size: 20 MB, cache_size: 2 MB}
demand: {arrival_rate: 4, mean_input_tokens: 20, mean_output_tokens: 16}
servers:
  - {name: a, memory: 280 MB, communication_time: 500 ms, block_time: 250 ms}
  - {name: b, memory: 280 MB, communication_time: 500 ms, block_time: 250 ms}
"""
GOODPUT = {"ttft": 1500.0, "tpot": 170.0}
TRACE_SPEED = 5
# What a request may start late in the trace's replay, seconds, on a busy machine.
TRACE_SLACK = 0.05


class Recorder:
    """Passes connections on to the service and keeps a record of each exchange, with this process's clock."""

    def __init__(self, target):
        self.target = target
        self.records = []

    async def start(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def message(self, reader):
        """Head and length of what follows: a number, or None for chunks."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        chunked = re.search(rb"(?im)^transfer-encoding: *chunked", head)
        return head, None if chunked else int(length[1]) if length else 0

    async def accept(self, reader, writer):
        upstream, service = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            while True:
                head, length = await self.message(reader)
                start = time.perf_counter()
                service.write(head + (await reader.readexactly(length) if length else b""))
                record = {"start": start, "path": head.split(b" ")[1].decode(), "pieces": [], "tokens": 0}
                head, length = await self.message(upstream)
                record["status"] = int(head.split(b" ")[1])
                writer.write(head)
                body = b""
                if length is None:
                    body = await self.chunks(upstream, writer, record)
                else:
                    body = await upstream.readexactly(length)
                    writer.write(body)
                    record["pieces"].append(time.perf_counter())
                    record["tokens"] = json.loads(body).get("usage", {}).get("completion_tokens", 0)
                record["end"] = time.perf_counter()
                self.records.append(record)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            service.close()

    async def chunks(self, upstream, writer, record):
        rest = b""
        while True:
            line = await upstream.readuntil(b"\r\n")
            size = int(line, 16)
            chunk = await upstream.readexactly(size + 2)
            now = time.perf_counter()
            writer.write(line + chunk)
            if not size:
                return rest
            rest += chunk[:-2]
            while b"\n\n" in rest:
                event, rest = rest.split(b"\n\n", 1)
                if not event.startswith(b"data: {"):
                    continue
                data = json.loads(event[6:])
                if data.get("choices"):
                    record["pieces"].append(now)
                if data.get("usage"):
                    record["tokens"] = data["usage"]["completion_tokens"]


def percentile(values, percent):
    values = sorted(values)
    place = percent / 100 * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def report(records):
    duration = max(r["end"] for r in records) - min(r["start"] for r in records)
    rows = {"ttft": [], "tpot": [], "itl": [], "e2el": []}
    good = 0
    for r in records:
        first, whole = r["pieces"][0] - r["start"], r["end"] - r["start"]
        rows["ttft"].append(1000 * first)
        rows["e2el"].append(1000 * whole)
        each = 1000 * (whole - first) / (r["tokens"] - 1)
        rows["tpot"].append(each)
        rows["itl"] += [1000 * (b - a) for a, b in zip(r["pieces"], r["pieces"][1:])]
        good += 1000 * first <= GOODPUT["ttft"] and each <= GOODPUT["tpot"]
    figures = {
        "completed": len(records), "request_throughput": len(records) / duration,
        "output_throughput": sum(r["tokens"] for r in records) / duration, "request_goodput": good / duration}
    for name, values in rows.items():
        if values:
            figures[f"mean_{name}_ms"] = statistics.fmean(values)
            figures[f"median_{name}_ms"] = percentile(values, 50)
            figures[f"p99_{name}_ms"] = percentile(values, 99)
    return figures


def write_trace(folder):
    """Thirty requests at uneven distances, in the columns of the Azure LLM inference trace."""
    path, at, times = os.path.join(folder, "trace.csv"), 0.0, []
    with open(path, "w") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for index in range(30):
            times.append(at / TRACE_SPEED)
            file.write(f"2026-01-01 00:00:{at:010.7f},{10 + index},{8 + index % 9}\n")
            at += [0.2, 2.9, 0.9, 0.4, 3.1][index % 5]
    return path, times


async def start_service(binary, folder):
    path = os.path.join(folder, "pool.yaml")
    with open(path, "w") as file:
        file.write(POOL)
    log = os.path.join(folder, "service.log")
    with open(log, "w") as out:
        process = subprocess.Popen(
            [binary, "up", path, "--no-prompt", "--port", "0", "--no-journal"], stdout=out, stderr=out)
    for _ in range(600):
        found = re.search(r"^serving .* at http://127\.0\.0\.1:(\d+)/v1", open(log).read(), re.M)
        if found:
            return process, int(found[1])
        await asyncio.sleep(0.1)
    raise SystemExit("the service did not start: " + open(log).read())


async def measure(binary, port, name, arguments, options, trace_times=None):
    recorder = Recorder(port)
    door = await recorder.start()
    process = await asyncio.create_subprocess_exec(
        binary, "bench", "--url", f"http://127.0.0.1:{door}", "--json", "--output-tokens", "16", "--goodput",
        *[f"{key}:{value:g}" for key, value in GOODPUT.items()], *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    output, errors = await process.communicate()
    if process.returncode:
        raise SystemExit(f"bench {arguments} ended with {process.returncode}: {errors.decode()}")
    told = json.loads(output)
    records = sorted((r for r in recorder.records if "completions" in r["path"]), key=lambda r: r["start"])
    seen = report(records)
    recorder.server.close()
    worst, failed = (0, ""), []
    for key, value in seen.items():
        if "--no-stream" in arguments and ("itl" in key or "tpot" in key):
            continue  # one piece: there is nothing between tokens
        difference = 100 * abs(told[key] - value) / max(abs(value), 1e-9)
        worst = max(worst, (difference, key))
        if difference > options.bound:
            failed.append(f"{key}: bench {told[key]:.3f}, recorder {value:.3f}")
    line = f"{name:34} {len(records):4} requests, {told['request_throughput']:6.2f} a second, worst difference "
    print(line + f"{worst[0]:.2f} % ({worst[1]})")
    if trace_times:
        lag = max(abs((r["start"] - records[0]["start"]) - due) for r, due in zip(records, trace_times))
        print(f"{'':34} started within {1000 * lag:.1f} ms of the trace's times")
        if lag > TRACE_SLACK or len(records) != len(trace_times):
            failed.append(f"the trace was replayed {lag:.3f} s off, {len(records)} of {len(trace_times)} requests")
    for text in failed:
        print(f"FAILED  {name}: {text}")
    return {"name": name, "worst_percent": worst[0], "worst_figure": worst[1],
            "bench": {key: told[key] for key in seen}, "recorder": seen, "failed": failed}


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=os.path.join(ROOT, ".build/release/chainserve"))
    parser.add_argument("--bound", type=float, default=2.0, help="largest difference, percent")
    parser.add_argument("--json", help="write all figures to this file")
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    with tempfile.TemporaryDirectory() as folder:
        trace, times = write_trace(folder)
        process, port = await start_service(binary, folder)
        try:
            runs = []
            for name, arguments, due in [
                ("open loop, Poisson", ["--arrivals", "poisson", "--request-rate", "4", "--requests", "60"], None),
                ("open loop, Gamma of shape 0.3",
                 ["--arrivals", "gamma:0.3", "--request-rate", "4", "--requests", "60"], None),
                (f"trace, {TRACE_SPEED} times as fast",
                 ["--arrivals", f"trace:{trace}", "--time-scale", f"{1 / TRACE_SPEED}"], times),
                ("closed loop, 6 clients", ["--arrivals", "closed:6", "--requests", "80"], None),
                ("closed loop, completions",
                 ["--arrivals", "closed:4", "--requests", "40", "--endpoint", "completions"], None),
                ("closed loop, not streamed",
                 ["--arrivals", "closed:4", "--requests", "40", "--no-stream"], None),
            ]:
                runs.append(await measure(binary, port, name, arguments, options, due))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(runs, file, indent=1)
    failed = sum(len(run["failed"]) for run in runs)
    print(f"{failed} figures differ by more than {options.bound:g} %")
    sys.exit(1 if failed else 0)


asyncio.run(main())
