"""Measures chainserve's gateway, nginx and LiteLLM in front of equally trivial backends, in one run.

usage: compare.py CHAINSERVE LITELLM [SECONDS]

Prints a Markdown section. nginx and LiteLLM stand before an nginx that answers from memory; chainserve's gateway before
one emulated block-server process that computes nothing, so that its figure holds dispatch, the hop and the generation of
a token as well.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CONNECTIONS = 32
ROUNDS = 3
# Requests a second that the load generator keeps up with beside what it measures, on two cores.
GENERATOR_LIMIT = 3000
BODY = json.dumps(
    {"model": "trivial", "messages": [{"role": "user", "content": "the"}], "max_tokens": 1, "temperature": 0}
)
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "trivial",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def say(text: str) -> None:
    print(f"gateway: {text}", file=sys.stderr, flush=True)


def wait_for(port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            BODY.encode(),
            {"content-type": "application/json", "authorization": "Bearer none"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if json.load(answer)["choices"]:
                    return
        except (OSError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"gateway: nothing useful answers at port {port}")
        time.sleep(0.3)


def nginx(folder: str, name: str, port: int, location: str, upstream: str = "") -> subprocess.Popen:
    path = os.path.join(folder, f"{name}.conf")
    with open(path, "w") as file:
        file.write(
            f"""daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 4096; }}
http {{ access_log off; default_type application/json; keepalive_requests 100000000;
  client_body_temp_path {folder}/{name}-b; proxy_temp_path {folder}/{name}-p; fastcgi_temp_path {folder}/{name}-f;
  uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {upstream}
  server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}
"""
        )
    return subprocess.Popen(["nginx", "-c", path, "-p", folder], stderr=subprocess.DEVNULL)


def peak(port: int, folder: str, seconds: int) -> float:
    script = os.path.join(folder, "post.lua")
    with open(script, "w") as file:
        file.write(
            f"wrk.method = 'POST'\nwrk.body = [[{BODY}]]\n"
            "wrk.headers['content-type'] = 'application/json'\nwrk.headers['authorization'] = 'Bearer none'\n"
        )
    output = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}/v1/chat/completions"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if errors:
        raise SystemExit(f"gateway: {errors.group(1)} answers were not 200:\n{output}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))


def latency(chainserve: str, port: int, rate: float, seconds: int) -> dict:
    """Latency in ms under Poisson arrivals; counted from when each request was due."""
    count = max(200, int(rate * seconds))
    command = [chainserve, "bench", "--url", f"http://127.0.0.1:{port}", "--model", "trivial", "--no-stream"]
    command += ["--request-rate", f"{rate:.3f}", "--requests", str(count), "--input-tokens", "1", "--output-tokens", "1"]
    command += ["--no-ignore-eos", "--api-key", "none", "--seed", "7", "--json"]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
    if result["failed"] > count * 0.001:
        raise SystemExit(f"gateway: {result['failed']} of {count} requests failed at {rate:.0f}/s")
    return result


def median(values: list) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    chainserve, litellm = sys.argv[1:3]
    seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 6
    started: list = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            ports = {name: free_port() for name in ["backend", "nginx", "litellm", "chainserve"]}
            started.append(nginx(folder, "backend", ports["backend"], f"return 200 '{ANSWER}';"))
            upstream = f"upstream b {{ least_conn; server 127.0.0.1:{ports['backend']}; keepalive 64; }}"
            proxy = "proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection '';"
            started.append(nginx(folder, "proxy", ports["nginx"], proxy, upstream))
            config = os.path.join(folder, "litellm.yaml")
            with open(config, "w") as file:
                file.write(
                    "model_list:\n  - model_name: trivial\n    litellm_params:\n      model: openai/trivial\n"
                    f"      api_base: http://127.0.0.1:{ports['backend']}/v1\n      api_key: none\n"
                )
            environment = dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR")
            # Loopback only, for the length of this run.
            environment["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
            started.append(
                subprocess.Popen(
                    [litellm, "--config", config, "--port", str(ports["litellm"]), "--host", "127.0.0.1"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            )
            pool = os.path.join(os.path.dirname(__file__), "pool.yaml")
            started.append(
                subprocess.Popen(
                    [chainserve, "up", pool, "--port", str(ports["chainserve"]), "--no-prompt"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            for name, port in ports.items():
                wait_for(port, 120)
                say(f"{name} answers")
            measure(chainserve, ports, folder, seconds)
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def measure(chainserve: str, ports: dict, folder: str, seconds: int) -> None:
    names = ["chainserve", "nginx", "litellm"]
    peaks: dict = {name: [] for name in ["backend", *names]}
    for _ in range(ROUNDS):
        # Interleaved, so that a busy moment of the machine meets all of them.
        for name in peaks:
            peaks[name].append(peak(ports[name], folder, seconds))
    rates = {name: median(values) for name, values in peaks.items()}
    added: dict = {name: {"p50": [], "p99": []} for name in names}
    for _ in range(ROUNDS):
        for name in names:
            rate = min(rates[name] / 2, GENERATOR_LIMIT)
            whole = latency(chainserve, ports[name], rate, seconds)
            # chainserve's backend is its own block server, whose time is counted in.
            direct = latency(chainserve, ports["backend"], rate, seconds) if name != "chainserve" else None
            for key, field in [("p50", "median_e2el_ms"), ("p99", "p99_e2el_ms")]:
                added[name][key].append(whole[field] - (direct[field] if direct else 0))
            say(f"{name} at {rate:.0f}/s: p99 {whole['p99_e2el_ms']:.2f} ms")
    values = {name: {key: median(list_) for key, list_ in by.items()} for name, by in added.items()}
    bench_closed = json.loads(
        subprocess.run(
            [chainserve, "bench", "--url", f"http://127.0.0.1:{ports['nginx']}", "--model", "trivial", "--no-stream"]
            + ["--arrivals", f"closed:{CONNECTIONS}", "--requests", str(int(rates["nginx"] * 3)), "--input-tokens", "1"]
            + ["--output-tokens", "1", "--no-ignore-eos", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        ).stdout
    )
    print("## Gateway: requests per second and added latency\n")
    print("`make bench ARGS=gateway`\n")
    print(
        f"Chat requests of one token, not streamed, {CONNECTIONS} connections kept open (wrk); medians of {ROUNDS} rounds of"
        f" {seconds} s,\ninterleaved. nginx and LiteLLM stand before an nginx that answers from memory; ours before one emulated"
        " block-server\nprocess, whose time is counted in. Added latency: Poisson arrivals at half of each one's own peak rate"
        f" ({GENERATOR_LIMIT}/s at most: the load generator shares the machine), less the\nlatency of the backend asked directly at that rate (for ours nothing is taken off).\n"
    )
    print("| | peak requests/s | against LiteLLM | added p50 | added p99 |")
    print("| --- | --- | --- | --- | --- |")
    labels = {"chainserve": "chainserve", "nginx": "nginx `least_conn`", "litellm": "LiteLLM proxy"}
    for name in names:
        print(
            f"| {labels[name]} | {rates[name]:.0f} | {rates[name] / rates['litellm']:.1f}× |"
            f" {values[name]['p50']:.2f} ms | {values[name]['p99']:.2f} ms |"
        )
    difference = values["chainserve"]["p99"] - values["nginx"]["p99"]
    print(
        f"\nOurs against nginx: {rates['chainserve'] / rates['nginx']:.2f}× its rate, p99 {difference:+.2f} ms."
        f" The load generator alone (closed loop,\n{CONNECTIONS} clients, against nginx) sends"
        f" {bench_closed['request_throughput'] / rates['nginx']:.2f}× what wrk does."
    )


main()
