#!/usr/bin/env python3
"""Ten times the load that a pool can carry, and a burst whose refused clients come back when they are told to.

    Scripts/overload.py [--binary PATH] [--seconds 20] [--scale 1] [--prompt-bytes N] [--seed 1] [--json]

Starts an emulated pool of known service rate and measures: throughput at 1.5 times that rate; throughput, response times
the orchestrator's memory and its processor time for a refusal at ten times; and after a burst, with offered load below capacity, the share of refused
clients that are accepted at the time they were told. Exit status 1 when a promise of docs/reliability.md is broken.
"""
import argparse
import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chaos import Service, answer  # noqa: E402

QUEUE = 24
TOKENS = 20      # the mean: every job takes its chain's mean service time
POOL_TEXT = """engine: emulated
model: {name: chaos, block_count: 8, block_size: 10 MB, cache_size: 1 MB}
demand: {arrival_rate: 3, mean_input_tokens: 10, mean_output_tokens: 20}
servers:
  - {name: o1, memory: 112 MB, communication_time: C300 ms, block_time: C150 ms}
  - {name: o2, memory: 104 MB, communication_time: C300 ms, block_time: C180 ms}
placement:
  - {server: o1, first_block: 1, block_count: 8}
  - {server: o2, first_block: 1, block_count: 8}
"""


class Overload:
    def __init__(self, options, service, plan):
        self.service, self.random = service, random.Random(options.seed)
        self.rate = plan["total_service_rate"]
        self.service_time = sum(c["capacity"] for c in plan["chains"]) / self.rate
        self.number = 0
        self.prompt_bytes = options.prompt_bytes

    async def once(self, ticket=None):
        """Status, seconds to the last byte, header fields."""
        self.number += 1
        body = {"model": "chaos", "prompt": f"request {self.number}".ljust(self.prompt_bytes), "max_tokens": TOKENS, "stream": True}
        headers = [f"X-ChainServe-Ticket: {ticket}"] if ticket else []
        began = time.monotonic()
        try:
            status, fields, raw = await self.service.call("POST", "/v1/completions", body, headers)
        except (OSError, asyncio.IncompleteReadError) as error:
            print(f"request {self.number}: {error!r} after {time.monotonic() - began:.2f} s", file=sys.stderr)
            return 598, time.monotonic() - began, {"retry-after-ms": "1000"}
        if status == 200:
            _, tokens, problem, done = answer(raw)
            if problem or not done or tokens != TOKENS:
                status = 599
        return status, time.monotonic() - began, fields

    async def open_loop(self, rate, seconds):
        """Poisson arrivals, nobody comes back. Results with their arrival and end, seconds of the phase."""
        results, tasks = [], []
        began = time.monotonic()

        async def one(at):
            status, took, _ = await self.once()
            results.append((at, status, took, time.monotonic() - began))

        at = 0.0
        while at < seconds:
            at += self.random.expovariate(rate)
            await asyncio.sleep(max(0, began + at - time.monotonic()))
            tasks.append(asyncio.create_task(one(at)))
        await asyncio.gather(*tasks)
        return results

    @staticmethod
    def throughput(results, first, last):
        return sum(1 for _, status, _, end in results if status == 200 and first <= end < last) / (last - first)

    def memory(self):
        with open(f"/proc/{self.service.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024

    def processor_seconds(self):
        """Of the orchestrator, so far."""
        with open(f"/proc/{self.service.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def burst(self, count, background, seconds):
        """A burst, with a steady load besides; the refused come back once, when they were told to."""
        outcome = {"accepted": 0, "refused": 0, "back_accepted": 0, "back_refused": 0, "too_long": 0}

        async def one():
            status, _, fields = await self.once()
            if status == 200:
                outcome["accepted"] += 1
                return
            outcome["refused"] += 1
            wait = int(fields["retry-after-ms"]) / 1000
            if wait > 120 or "x-chainserve-ticket" not in fields:
                outcome["too_long"] += 1
                return
            await asyncio.sleep(wait)
            status, _, _ = await self.once(fields["x-chainserve-ticket"])
            outcome["back_accepted" if status == 200 else "back_refused"] += 1

        async def steady():
            end = time.monotonic() + seconds
            tasks = []
            while time.monotonic() < end:
                await asyncio.sleep(self.random.expovariate(background))
                tasks.append(asyncio.create_task(one()))
            await asyncio.gather(*tasks)

        await asyncio.gather(steady(), *(one() for _ in range(count)))
        return outcome


async def measure(options, start, plan):
    service = start()
    load = Overload(options, service, plan)
    seconds = options.seconds
    warm = 4 * load.service_time
    spent = [load.processor_seconds()]
    calm = await load.open_loop(1.5 * load.rate, seconds)
    peak = load.throughput(calm, warm, seconds)
    before = load.memory()
    spent.append(load.processor_seconds())
    results = await load.open_loop(10 * load.rate, seconds)
    after = load.memory()
    spent.append(load.processor_seconds())
    # What both phases have in common are the accepted requests, which keep all slots busy.
    more = sum(status != 200 for _, status, _, _ in results) - sum(status != 200 for _, status, _, _ in calm)
    refusal = (spent[2] - 2 * spent[1] + spent[0]) / max(1, more)
    under = load.throughput(results, warm, seconds)
    times = [took for at, status, took, _ in results if status == 200]
    statuses = sorted({status for _, status, _, _ in results})
    bound = 2 * (QUEUE / load.rate + load.service_time)
    service.process.kill()
    # A service of its own: the flood left places kept for clients that never come back.
    load.service = start()
    burst = await load.burst(int(3 * (QUEUE + 10)), 0.5 * load.rate, seconds)
    # The first arrivals of the burst's own time count as those of the steady load; only the refused are of interest.
    back = burst["back_accepted"] + burst["back_refused"]
    return {
        "service_rate": round(load.rate, 3), "throughput_peak": round(peak, 3), "throughput_at_10x": round(under, 3),
        "offered_at_10x": len(results), "accepted_at_10x": len(times), "statuses": statuses,
        "mean_response": round(sum(times) / len(times), 3), "bound": round(bound, 3),
        "memory_before_mib": round(before, 1), "memory_after_mib": round(after, 1),
        "processor_ms_per_refusal": round(1000 * refusal, 3), "burst": burst,
        "back_accepted_share": round(burst["back_accepted"] / back, 3) if back else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=".build/release/chainserve")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1, help="multiply the pool's times, for slow or busy machines")
    parser.add_argument("--prompt-bytes", type=int, default=0, help="pad prompts to this length, at most 2000")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not 0 <= options.prompt_bytes <= 2000:
        parser.error("--prompt-bytes must be from 0 to 2000: a longer prompt does not fit the pool's model")
    binary = os.path.abspath(options.binary)
    folder = tempfile.mkdtemp(prefix="chainserve-overload-")
    path = os.path.join(folder, "plan.yaml")
    pool = re.sub(r"C(\d+)", lambda match: str(int(match.group(1)) * options.scale), POOL_TEXT)
    with open(path, "w") as file:
        file.write(pool)
    plan = json.loads(subprocess.run([binary, "plan", path, "--json"], capture_output=True, check=True).stdout)
    services = []

    def start():
        one = tempfile.mkdtemp(dir=folder)
        services.append(Service(binary, one, None, text=pool, more=["--queue-limit", str(QUEUE)]))
        return services[-1]

    try:
        result = asyncio.run(measure(options, start, plan))
    finally:
        for service in services:
            service.process.kill()
    shutil.rmtree(folder)
    broken = []
    if result["mean_response"] > result["bound"]:
        broken.append("mean response above 2 (queue/rate + service)")
    if result["throughput_at_10x"] < 0.9 * result["throughput_peak"]:
        broken.append("throughput fell by more than a tenth")
    if result["back_accepted_share"] is not None and result["back_accepted_share"] < 0.9:
        broken.append("fewer than nine in ten of those who came back were accepted")
    if not set(result["statuses"]) <= {200, 429}:
        broken.append("answers other than 200 and 429")
    result["broken"] = broken
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>20}: {value}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
