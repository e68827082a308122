#!/usr/bin/env python3
"""Serves an emulated pool live, replays a trace on it, and compares its response times with the simulator's.

    Scripts/emulated.py [--pool Examples/llama2-7b-nine-slices.yaml] [--trace AZURE.csv] [--requests 1000]
                        [--arrival-rate R] [--time-scale 0.4] [--seed 1] [--binary PATH] [--json]

Without --trace the requests are the synthetic trace's (`--arrivals azure --sizes azure` of `chainserve simulate`). The
very same arrivals and answers go to `chainserve bench` against the pool, and to `chainserve simulate --sizes answers`.
Prompts are short: an emulated job's time follows from its answer alone. Exit status 1 when the mean is further than
5 % or the 99th percentile further than 10 % from the simulator's. Only Python's own library is needed.
"""
import argparse
import csv
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chaos import Service  # noqa: E402

PROMPT_TOKENS = 8
MEAN_BOUND, P99_BOUND = 0.05, 0.10


def synthetic(binary, pool, count, seed, folder):
    """Times (s) and answers (tokens) of the product's own trace."""
    path = os.path.join(folder, "synthetic.json")
    subprocess.run([binary, "simulate", pool, "--arrivals", "azure", "--sizes", "azure", "--jobs", str(count),
                    "--warm-up", "0", "--seed", str(seed), "--save-detailed", path],
                   check=True, stdout=subprocess.DEVNULL)
    with open(path) as file:
        drawn = json.load(file)
    return sorted(zip(drawn["start_times"], drawn["output_lens"]))  # They are listed as they ended.


def recorded(path, count):
    """Times (s) and answers (tokens) of a trace in the Azure form."""
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            stamp, _, fraction = row["TIMESTAMP"].partition(".")
            seconds = datetime.datetime.fromisoformat(stamp).timestamp() + float("0." + (fraction[:9] or "0"))
            rows.append((seconds, max(1, int(row["GeneratedTokens"]))))
            if len(rows) == count:
                break
    return rows


def write_trace(requests, path, rate=None):
    """The requests in the Azure form, from a round second on; at another mean rate if one is given."""
    origin, began = datetime.datetime(2023, 11, 16), requests[0][0]
    stretch = len(requests) / (requests[-1][0] - began) / rate if rate else 1
    with open(path, "w") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for at, answer in requests:
            nanoseconds = round((at - began) * stretch * 1e9)
            moment = origin + datetime.timedelta(seconds=nanoseconds // 10**9)
            file.write(f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds % 10**9:09d},{PROMPT_TOKENS},{answer}\n")


def quantile(values, share):
    """Between the two nearest, as `vllm bench serve` has it."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(values):
    return {"mean": sum(values) / len(values), "median": quantile(values, 0.5), "p95": quantile(values, 0.95),
            "p99": quantile(values, 0.99), "max": max(values)}


def measure(options, binary, folder):
    with open(options.pool) as file:
        text = file.read()
    trace = os.path.join(folder, "trace.csv")
    requests = (recorded(options.trace, options.requests) if options.trace
                else synthetic(binary, options.pool, options.requests, options.seed, folder))
    write_trace(requests, trace, options.arrival_rate)
    predicted = os.path.join(folder, "predicted.json")
    subprocess.run([binary, "simulate", options.pool, "--arrivals", "trace:" + trace, "--sizes", "answers",
                    "--save-detailed", predicted], check=True, stdout=subprocess.DEVNULL)
    measured = os.path.join(folder, "measured.json")
    # The simulator refuses nothing; nor may the service.
    service = Service(binary, folder, None, text=text, more=[
        "--emulated", "--time-scale", str(options.time_scale), "--queue-limit", "1000000", "--client-limit", "1000000",
        "--wait-limit", "86400", "--request-timeout", "86400"])
    try:
        subprocess.run([binary, "bench", "--url", f"http://127.0.0.1:{service.port}", "--endpoint", "completions",
                        "--arrivals", "trace:" + trace, "--time-scale", str(options.time_scale), "--timeout", "3600",
                        "--save-detailed", measured], check=True, stdout=sys.stderr)
    finally:
        service.process.terminate()
        service.process.wait(timeout=60)
    with open(predicted) as file:
        model = [latency * options.time_scale for latency in json.load(file)["latencies"]]
    with open(measured) as file:
        seen = json.load(file)
    if seen["output_lens"] != [answer for _, answer in requests]:
        raise SystemExit("answers did not have the trace's lengths: " + str(next(filter(None, seen["errors"]), "")))
    live, model = summary(seen["latencies"]), summary(model)
    return {"requests": len(requests), "time_scale": options.time_scale, "measured": live, "predicted": model,
            "ratio": {name: live[name] / model[name] for name in live}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default="Examples/llama2-7b-nine-slices.yaml")
    parser.add_argument("--trace", help="a trace in the form of the Azure LLM inference trace")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--time-scale", type=float, default=0.4)
    parser.add_argument("--arrival-rate", type=float, help="requests per second, instead of the trace's own")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic trace")
    parser.add_argument("--binary", default=".build/release/chainserve")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="chainserve-emulated-")
    try:
        result = measure(options, os.path.abspath(options.binary), folder)
    finally:
        shutil.rmtree(folder)
    kept = abs(result["ratio"]["mean"] - 1) <= MEAN_BOUND and abs(result["ratio"]["p99"] - 1) <= P99_BOUND
    result["within_bounds"] = kept
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{result['requests']} requests at time scale {options.time_scale}; seconds of this machine's clock")
        print(f"{'':>8}{'measured':>10}{'predicted':>11}{'ratio':>8}")
        for name in result["ratio"]:
            print(f"{name:>8}{result['measured'][name]:>10.4f}{result['predicted'][name]:>11.4f}"
                  f"{result['ratio'][name]:>8.3f}")
    if not kept:
        print("the mean is further than 5 % or the 99th percentile further than 10 % from the simulator's",
              file=sys.stderr)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
