"""Measures chainserve's gateway, nginx and LiteLLM in front of equally trivial backends, in one run.

usage: compare.py CHAINSERVE LITELLM LOAD RELAY [SECONDS]

Prints a Markdown section. nginx and LiteLLM stand before an nginx that answers from memory; chainserve's gateway before
one emulated block-server process that computes nothing, so that its figure holds dispatch, the hop and the generation of
a token as well. LOAD is load.c, compiled: the same open-loop generator measures all of them, and their backend. RELAY is
benchmark-relay: what any gateway of SwiftNIO before such a block server costs.
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
ROUNDS = 9
# LiteLLM, which takes longest and varies least for its size, is in the first ones only.
LITELLM_ROUNDS = 3
# Seconds after a peak, in which what it left is done: a journal's last records, connections that close.
PAUSE = 1
# Fewer requests have no 99th percentile worth the name.
FEWEST = 200
# ms above nginx's p99.
GOAL = 1
# Requests a second that do not meet.
UNLOADED = 100
BODY = json.dumps(
    {"model": "trivial", "messages": [{"role": "user", "content": "the"}], "max_tokens": 1, "temperature": 0}
)
# A device that takes no time: the relay's block server.
INSTANT = {
    "stepSeconds": 0, "promptSecondsPerBlock": 0, "prefillSecondsPerTokenBlock": 0, "decodeSecondsPerBlock": 0,
    "sharing": "parallel", "timeScale": 1, "carriesClock": False,
}
# Our gateway's HTTP and JSON alone: a request for a model that there is not is read whole and refused with 404.
REFUSED = BODY.replace("trivial", "another")
# Our gateway in its settings: what it does unless told otherwise, what sleeps between any two events, what waits for the
# disk, and what keeps nothing.
OURS: dict = {"chainserve": [], "asleep": ["--busy-poll", "0"], "power": ["--journal-durability", "power"], "none": ["--no-journal"]}
LABELS = {
    "chainserve": "chainserve",
    "asleep": "chainserve `--busy-poll 0`",
    "power": "chainserve `--journal-durability power`",
    "none": "chainserve `--no-journal`",
    "nginx": "nginx `least_conn`",
    "litellm": "LiteLLM proxy",
    "relay": "a relay that does nothing else (`Relay/`)",
}
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


def latency(
    load: str, port: int, rate: float, seconds: int, seed: int, body: str = BODY, status: int = 200
) -> dict:
    """Latency in ms under Poisson arrivals, counted from when each request was due."""
    count = max(FEWEST, int(rate * seconds))
    command = [load, str(port), str(CONNECTIONS), f"{rate:.3f}", str(count), str(seed), body, str(status)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"gateway: {' '.join(command)} ended with {run.returncode}:\n{run.stderr}")
    return json.loads(run.stdout)


def processor_seconds(parent: int) -> float:
    """Of a process and its children, since they began."""
    total = 0.0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            if int(name) == parent or int(fields[1]) == parent:
                for thread in os.listdir(f"/proc/{name}/task"):
                    with open(f"/proc/{name}/task/{thread}/schedstat") as file:
                        total += int(file.read().split()[0]) * 1e-9
        except OSError:
            continue
    return total


def machine() -> tuple:
    """Seconds that all processors were busy, and that they had."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]), sum(ticks)


def median(values: list) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    chainserve, litellm, load, relay = sys.argv[1:5]
    seconds = int(sys.argv[5]) if len(sys.argv) > 5 else 3
    started: list = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            ports = {name: free_port() for name in ["backend", "nginx", "litellm", *OURS]}
            started.append(nginx(folder, "backend", ports["backend"], f"return 200 '{ANSWER}';"))
            kept = "keepalive 64; keepalive_requests 100000000;"
            upstream = f"upstream b {{ least_conn; server 127.0.0.1:{ports['backend']}; {kept} }}"
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
            node = [chainserve, "node", "--memory", "1 GB", "--log-level", "error", "--emulate", json.dumps(INSTANT)]
            started.append(subprocess.Popen(node, stdout=subprocess.PIPE))
            address = started[-1].stdout.readline().decode().strip()
            started.append(subprocess.Popen([relay, address.rsplit(":", 1)[1]], stdout=subprocess.PIPE))
            ports["relay"] = int(started[-1].stdout.readline())
            pool = os.path.join(os.path.dirname(__file__), "pool.yaml")
            for name, options in OURS.items():
                command = [chainserve, "up", pool, "--port", str(ports[name]), "--no-prompt", "--time-scale", "1e-9"]
                if name != "none":
                    command += ["--journal", os.path.join(folder, f"{name}.db")]
                command += options
                started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                if name == "chainserve":
                    ours = started[-1].pid
            for name, port in ports.items():
                wait_for(port, 120)
                say(f"{name} answers")
            measure(load, ports, folder, seconds, ours)
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def measure(load: str, ports: dict, folder: str, seconds: int, ours: int) -> None:
    names = [name for name in ports if name != "backend"]
    peaks: dict = {name: [] for name in names}
    rounds: dict = {name: [] for name in names}
    rates: dict = {name: [] for name in names}
    # nginx where it is asked for no more than ours.
    alike: list = []
    unloaded: list = []
    http: list = []

    def ours_at(rate: float, number: int, *what) -> dict:
        """As `latency`, with the processor time that a request takes of ours, and how busy the machine is."""
        (busy, had), used = machine(), processor_seconds(ours)
        run = latency(load, ports["chainserve"], rate, seconds, number + 1, *what)
        used, (busy_after, had_after) = processor_seconds(ours) - used, machine()
        # A tenth more than are counted.
        run["processor_us"] = 1e6 * used / (run["requests"] * 1.1)
        run["busy"] = (busy_after - busy) / (had_after - had)
        return run

    def beside_backend(name: str, rate: float, number: int) -> tuple:
        return tuple(latency(load, ports[port], rate, seconds, number + 1) for port in [name, "backend"])

    for number in range(ROUNDS):
        unloaded.append(ours_at(UNLOADED, number))
        # Interleaved, so that a busy moment of the machine meets all of them.
        for name in names:
            if name == "litellm" and number >= LITELLM_ROUNDS:
                continue
            # The machine's speed changes within minutes: half of a peak is half of what is possible now.
            peaks[name].append(peak(ports[name], folder, seconds))
            rate = peaks[name][-1] / 2
            rates[name].append(rate)
            time.sleep(PAUSE)
            if name == "chainserve":
                http.append(ours_at(rate, number, REFUSED, 404))
                whole, direct = ours_at(rate, number), None
                alike.append(beside_backend("nginx", rate, number))
            elif name in [*OURS, "relay"]:
                # Nothing is taken off ours: its backend is its own block server.
                whole, direct = latency(load, ports[name], rate, seconds, number + 1), None
            else:
                whole, direct = beside_backend(name, rate, number)
            rounds[name].append((whole, direct))
            say(f"{name} at {rate:.0f}/s: {whole} direct: {direct}")
    peaks, rates = ({name: median(values) for name, values in found.items()} for found in (peaks, rates))
    report(peaks, rates, rounds, alike, seconds)
    print("\nWhat ours is made of (`--journal-durability process`; medians of the rounds):\n")
    print("| | requests/s | p50 | p99 | processor time a request | machine busy |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    half = rates["chainserve"]
    for title, rate, runs in [
        ("a chat request", half, [whole for whole, _ in rounds["chainserve"]]),
        ("HTTP and JSON alone: a request that is refused (404)", half, http),
        ("a chat request when little else is asked", UNLOADED, unloaded),
    ]:
        middle = {key: median([run[key] for run in runs]) for key in ["p50", "p99", "processor_us", "busy"]}
        print(
            f"| {title} | {rate:.0f} | {middle['p50']:.2f} ms | {middle['p99']:.2f} ms |"
            f" {middle['processor_us']:.0f} µs | {100 * middle['busy']:.0f} % of {os.cpu_count()} |"
        )
    print("\nProcessor time is that of the orchestrator with its journal, looking for events included, and of the block server; the generator's is in the last column only.")


def added(runs: list, quantile: str) -> list:
    """What each round's quantile is above the backend's, ms."""
    return [whole[quantile] - (direct[quantile] if direct else 0) for whole, direct in runs]


def report(peaks: dict, rates: dict, rounds: dict, alike: list, seconds: int) -> None:
    print("## Gateway: requests per second and added latency\n")
    print("`make bench ARGS=gateway`\n")
    print(
        f"Chat requests of one token, not streamed. {ROUNDS} interleaved rounds ({LITELLM_ROUNDS} of LiteLLM), the medians of them; in each, one"
        f" after the other:\n\n* the peak: {CONNECTIONS} connections kept open (wrk), {seconds} s;\n* the latency: Poisson arrivals at half"
        f" of that peak, of each one's own, over {CONNECTIONS} connections (`load.c`), {seconds} s, from when a request was due, whether or not"
        " a connection was free;\n  each round's quantile, less that of the backend asked directly at that rate (for ours and the relay nothing is taken off).\n\nnginx and LiteLLM"
        " stand before an nginx that answers from memory; ours before one emulated block-server process, whose time is counted in, and so\nthe"
        " relay: HTTP in, one step of a block server, HTTP out, nothing else. The last column has the least and the greatest p99 of the rounds.\n"
    )
    print("| | peak requests/s | against LiteLLM | at requests/s | added p50 | added p99 | rounds' p99 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in rounds:
        p99 = added(rounds[name], "p99")
        print(
            f"| {LABELS[name]} | {peaks[name]:.0f} | {peaks[name] / peaks['litellm']:.1f}× | {rates[name]:.0f}"
            f" | {median(added(rounds[name], 'p50')):.2f} ms | {median(p99):.2f} ms | {min(p99):.2f} … {max(p99):.2f} |"
        )
    theirs = median(added(rounds["nginx"], "p99"))
    difference, floor = (median(added(rounds[name], "p99")) - theirs for name in ["chainserve", "relay"])
    reached = sum(value < theirs + GOAL for value in added(rounds["chainserve"], "p99"))
    late = max(run["late_p99"] for pairs in rounds.values() for pair in pairs for run in pair if run)
    print(
        f"\nnginx at ours' rate: p50 {median(added(alike, 'p50')):.2f} ms, p99 {median(added(alike, 'p99')):.2f} ms."
        f"\n\nOurs against nginx: {peaks['chainserve'] / peaks['nginx']:.2f}× its rate, p99 {difference:+.2f} ms"
        f" (goal: below {GOAL:+} ms, which {reached} of the {ROUNDS} rounds are; 20× LiteLLM's rate). The relay: p99 {floor:+.2f} ms.\nThe generator, which shares the machine, sent at p99 {late:.3f} ms late at most."
    )


main()
