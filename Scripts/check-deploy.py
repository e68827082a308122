#!/usr/bin/env python3
"""Checks the files of deploy/ with the programs that they are for, as far as these are installed.

    Scripts/check-deploy.py [--binary .build/release/chainserve]

systemd units: `systemd-analyze verify` and `security`, and every option of their command lines is one that the binary
knows. Prometheus (Debian's package `prometheus`): promtool on configuration, rules and their tests; then a Prometheus
scrapes a live emulated pool, evaluates all rules, fires ChainServeServerLost when a block server hangs (the rules'
`for:` shortened to 2 s), and answers every query of the Grafana file. Ends with status 1 when something is not as it
must be, 77 when none of the programs is there. Only Python's own library is needed.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNITS = ("chainserve.service", "chainserve-node.service")
# Worse exposure than this, of 10, is too bad for a process that strangers talk to.
WORST_EXPOSURE = 2.5
POOL = """engine: emulated
model: {name: toy, block_count: 6, block_size: 10 MB, cache_size: 1 MB}
demand: {arrival_rate: 4, mean_input_tokens: 20, mean_output_tokens: 10}
servers:
  - {name: a, memory: 100 MB, communication_time: 20 ms, block_time: 5 ms}
  - {name: b, memory: 100 MB, communication_time: 20 ms, block_time: 5 ms}
"""
# What shows nothing until something goes wrong: empty answers are right.
QUIET = ("_refused_total", "_failed_total", "_rejected_total", 'state!="ready"')
failures = []


def expect(condition, what):
    print(("ok      " if condition else "FAILED  ") + what)
    if not condition:
        failures.append(what)


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    return done.returncode, done.stdout + done.stderr


def read(*parts):
    with open(os.path.join(ROOT, *parts)) as file:
        return file.read()


def check_units(binary, folder):
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not there (Debian: systemd)")
        return False
    for name in UNITS:
        text = read("deploy", "systemd", name)
        # The program where it is now instead of where it will be installed.
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(text.replace("/opt/chainserve/bin/chainserve", binary))
        status, said = run("systemd-analyze", "verify", "--man=no", path)
        expect(status == 0 and not said.strip(), f"systemd: {name} {said.strip()}")
        status, said = run("systemd-analyze", "security", "--offline=true", "--no-pager", path)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        expect(found and float(found[1]) <= WORST_EXPOSURE,
               f"systemd: {name} exposes {found[1] if found else said} of 10")
        line = re.sub(r"\\\n\s*", "", text)
        command = re.search(r"^ExecStart=\S+ (\S+) (.*)$", line, re.M)
        _, known = run(binary, "help", command[1])
        missing = [o for o in re.findall(r"--[a-z-]+", command[2]) if not re.search(rf"{o}\b", known)]
        expect(not missing, f"systemd: {name} gives options that `chainserve {command[1]}` has {missing}")
    return True


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Pool:
    def __init__(self, binary, folder):
        path = os.path.join(folder, "pool.yaml")
        with open(path, "w") as file:
            file.write(POOL)
        self.log = os.path.join(folder, "service.log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [binary, "up", path, "--no-prompt", "--port", "0", "--no-journal"], stdout=log, stderr=log)
        for _ in range(600):
            found = re.search(r"^serving .* at http://127\.0\.0\.1:(\d+)/v1", open(self.log).read(), re.M)
            if found:
                self.port = int(found[1])
                return
            time.sleep(0.1)
        raise SystemExit("the service did not start: " + open(self.log).read())

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return answer.read().decode()

    def ask(self):
        body = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions", json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=60).read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Prometheus:
    def __init__(self, folder, target):
        self.port = free_port()
        config = read("deploy", "prometheus", "prometheus.yml")
        config = config.replace("15s", "1s").replace("127.0.0.1:8000", f"127.0.0.1:{target}")
        rules = re.sub(r"for: \w+", "for: 2s", read("deploy", "prometheus", "rules.yml"))
        for name, text in (("prometheus.yml", config), ("rules.yml", rules)):
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        with open(os.path.join(folder, "prometheus.log"), "w") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stdout=log, stderr=log)

    def api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def values(self, expression):
        return self.api("query", query=expression)["result"]

    def until(self, what, condition, seconds=60):
        deadline = time.time() + seconds
        while time.time() < deadline:
            try:
                if condition():
                    return expect(True, what)
            except (OSError, ValueError, LookupError):
                pass
            time.sleep(0.5)
        expect(False, f"{what} (not within {seconds} s)")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def check_prometheus_files():
    folder = os.path.join(ROOT, "deploy", "prometheus")
    for arguments in (["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"],
                      ["test", "rules", "rules_test.yml"]):
        status, said = run("promtool", *arguments, cwd=folder)
        expect(status == 0, f"promtool {' '.join(arguments)} {said.strip() if status else ''}")


def check_queries(prometheus):
    """The Grafana file's queries, with the variables that Grafana would put in."""
    dashboard = json.loads(read("deploy", "grafana", "chainserve.json"))
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    for query in queries:
        asked = query.replace("$__rate_interval", "1m").replace("$model", ".*")
        try:
            found = prometheus.values(asked)
        except ValueError as error:
            expect(False, f"Grafana: {query}: {error}")
            continue
        if not found and not any(part in query for part in QUIET):
            expect(False, f"Grafana: {query}: shows nothing")
    expect(True, f"Grafana: {len(queries)} queries evaluated")
    labels = prometheus.api("label/model_name/values")
    expect(labels == ["toy"], f"Grafana: the variable `model` can be chosen from {labels}")


def check_names(pool):
    """What the operations guide and the rules call a metric is one."""
    shown = pool.get("/metrics")
    names = set(re.findall(r"^# TYPE (\S+) ", shown, re.M))
    guide = re.findall(r"^\| (.*?) \|", read("docs", "operations.md"), re.M)
    told = {name for row in guide for name in re.findall(r"`((?:chainserve_|vllm:|gen_ai_)\w+)`", row)}
    # Counted from the first key that is turned away: this pool asks for none.
    missing = told - names - {"chainserve_keys_rejected_total"}
    expect(told and not missing, f"every metric of the guide is there {sorted(missing)}")
    own = {name for name in names if name.startswith("chainserve_")}
    expect(not own - told, f"every metric of ours is in the guide {sorted(own - told)}")


def check_live(binary, folder):
    pool = Pool(binary, folder)
    prometheus = Prometheus(folder, pool.port)
    stopped = None
    ends = threading.Event()

    def load():
        while not ends.is_set():
            try:
                pool.ask()
            except OSError:
                time.sleep(0.2)

    client = threading.Thread(target=load)
    client.start()
    try:
        prometheus.until("Prometheus scrapes the service",
                         lambda: prometheus.values('up{job="chainserve"}')[0]["value"][1] == "1")
        prometheus.until("recording rules have values", lambda: all(
            prometheus.values(f"chainserve:{name}") for name in
            ("arrivals:rate5m", "load:ratio5m", "response:mean5m", "response:p95_5m", "chain_service:mean15m")))
        groups = prometheus.api("rules")["groups"]
        sick = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        expect(groups and not sick, f"all {sum(len(g['rules']) for g in groups)} rules are evaluated {sick}")
        prometheus.until("the mean response is measured", lambda: float(
            prometheus.values("chainserve:response:mean5m")[0]["value"][1]) > 0)
        check_queries(prometheus)
        check_names(pool)
        stopped = next(s["pid"] for s in json.loads(pool.get("/status"))["servers"] if s["name"] == "a")
        os.kill(stopped, signal.SIGSTOP)
        prometheus.until("ChainServeServerLost fires for a server that hangs", lambda: any(
            alert["state"] == "firing" and alert["labels"]["alertname"] == "ChainServeServerLost"
            and alert["labels"]["server"] == "a" for alert in prometheus.api("alerts")["alerts"]))
    finally:
        ends.set()
        if stopped:
            try:
                os.kill(stopped, signal.SIGCONT)
            except ProcessLookupError:
                pass
        client.join()
        prometheus.stop()
        pool.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=os.path.join(ROOT, ".build/release/chainserve"))
    binary = os.path.abspath(parser.parse_args().binary)
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary} is not there: build it with `make build`, or name it with --binary")
    with tempfile.TemporaryDirectory() as folder:
        some = check_units(binary, folder)
        if shutil.which("promtool") and shutil.which("prometheus"):
            some = True
            check_prometheus_files()
            check_live(binary, folder)
        else:
            print("skipped: promtool and prometheus are not there (Debian: prometheus)")
    if not some:
        sys.exit(77)
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
