#!/usr/bin/env python3
"""Sets a pool up as docs/operations.md says, and then comes to it with everything that is wrong.

    Scripts/check-security.py [--binary .build-tls/release/chainserve] [--quick]

Needs a build with TLS (`make release`), curl and openssl. Makes an authority and certificates, starts two emulated block
servers with mutual TLS at 127.0.0.2 and 127.0.0.3 and an orchestrator with HTTPS and keys, and uses them with curl and
with `status`, `bench` and `restart`. Then: certificates of another authority, role and host, expired ones and none, plain
text to TLS and TLS to plain text; keys that are missing, wrong, or lack the right or the room; bodies and heads that are
too large; and clients that send nothing, half of it, byte by byte, or do not read, until each is closed (two minutes;
--quick leaves these out). At the end no prompt, key or request identifier may be in a log or in the metrics. Ends with
status 1 when something is not as it must be. Only Python's own library is needed.
"""
import argparse
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROFILE = {"stepSeconds": 0.01, "promptSecondsPerBlock": 0.005, "prefillSecondsPerTokenBlock": 0.0001,
           "decodeSecondsPerBlock": 0.002, "sharing": "parallel", "timeScale": 1, "carriesClock": True}
SECRET, MARK = "a prompt that nobody else may read", "request-identifier-4711"
# The service's own bounds (docs/operations.md), seconds, and what a busy machine may add to each.
IDLE, BODY, UNREAD, HELLO, SLACK = 75, 30, 30, 5, 15
failures = []


def expect(condition, what):
    print(("ok      " if condition else "FAILED  ") + what, flush=True)
    if not condition:
        failures.append(what)


class Folder:
    """Everything of one pool: files, commands run among them, processes that run."""

    def __init__(self, binary, path):
        self.binary, self.path, self.processes = binary, path, []
        self.environment = dict(os.environ, CHAINSERVE_CACHE=os.path.join(path, "cache"))
        self.environment.pop("CHAINSERVE_API_KEY", None)

    def run(self, *arguments, seconds=60):
        done = subprocess.run([self.binary, *arguments], cwd=self.path, env=self.environment, text=True,
                              capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr

    def made(self, *arguments):
        status, output, errors = self.run(*arguments)
        if status:
            raise SystemExit(f"{arguments}: {errors}")
        return output.strip()

    def shell(self, *command, **options):
        return subprocess.run(command, cwd=self.path, text=True, capture_output=True, timeout=60, **options)

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(text)

    def read(self, name):
        with open(os.path.join(self.path, name), errors="replace") as file:
            return file.read()

    def start(self, log, says, *arguments):
        with open(os.path.join(self.path, log), "w") as out:
            process = subprocess.Popen([self.binary, *arguments], cwd=self.path, env=self.environment, stdout=out,
                                       stderr=out, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        for _ in range(300):
            found = re.search(says, self.read(log), re.M)
            if found:
                return process, found[1]
            if process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"{arguments} did not start: {self.read(log)}")

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        self.processes.remove(process)

    def stop_all(self):
        for process in list(reversed(self.processes)):
            try:
                self.stop(process)
            except subprocess.TimeoutExpired:
                process.kill()


def pool_options(who, authority="pki/ca.crt"):
    return ["--pool-certificate", f"{who}.crt", "--pool-key", f"{who}.key", "--pool-authority", authority]


class Pool(Folder):
    def authority(self):
        self.made("pki", "init", "my-pool")
        self.made("pki", "issue", "orchestrator")
        self.made("pki", "issue", "server", "a", "--host", "127.0.0.2")
        self.made("pki", "issue", "server", "b", "--host", "127.0.0.3", "--host", "localhost")
        self.made("pki", "issue", "gateway", "--host", "127.0.0.1", "--host", "localhost")
        self.made("pki", "init", "other-pool", "--folder", "other")
        self.made("pki", "issue", "orchestrator", "--folder", "other")
        self.made("pki", "issue", "server", "a", "--host", "127.0.0.2", "--folder", "other")
        self.made("pki", "issue", "server", "elsewhere", "--host", "10.9.8.7")
        listed = self.made("pki", "list")
        expect(all(name in listed for name in ("ca ", "orchestrator", "server-a", "server-b", "gateway")), "pki list")
        for name in os.listdir(os.path.join(self.path, "pki")):
            mode = os.stat(os.path.join(self.path, "pki", name)).st_mode & 0o077
            if name.endswith(".key") and mode:
                expect(False, f"{name} is open to others")
        self.expire("server-a", "chainserve://my-pool/server/a", "IP:127.0.0.2", "serverAuth")
        self.expire("orchestrator", "chainserve://my-pool/orchestrator", None, "clientAuth")

    def expire(self, name, uri, host, usage):
        """A certificate of the pool's authority that ended in 2020, in expired/."""
        os.makedirs(os.path.join(self.path, "expired/new"), exist_ok=True)
        names = f"URI:{uri}" + (f",{host}" if host else "")
        self.write("expired/openssl.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=expired/index\nserial=expired/serial\n"
                   "new_certs_dir=expired/new\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n[e]\n"
                   f"extendedKeyUsage={usage}\nsubjectAltName={names}\n[req]\ndistinguished_name=n\n[n]\n")
        self.write("expired/index", "")
        self.write("expired/serial", "01\n")
        for command in (
            ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config",
             "expired/openssl.cnf", "-subj", f"/CN={name}", "-keyout", f"expired/{name}.key", "-out", "expired/request"],
            ["ca", "-batch", "-notext", "-config", "expired/openssl.cnf", "-cert", "pki/ca.crt", "-keyfile",
             "pki/ca.key", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extensions", "e", "-in",
             "expired/request", "-out", f"expired/{name}.crt"]):
            done = self.shell("openssl", *command)
            if done.returncode:
                raise SystemExit(f"openssl: {done.stderr}")

    def keys(self):
        self.client = self.made("key", "add", "client")
        self.watcher = self.made("key", "add", "watcher", "--may", "observe")
        self.operator = self.made("key", "add", "operator", "--may", "operate")
        self.slow = self.made("key", "add", "slow", "--requests-per-minute", "2")
        self.one = self.made("key", "add", "one", "--requests-in-flight", "1")
        for name in ("client", "watcher", "operator"):
            self.write(f"{name}.key", getattr(self, name) + "\n")
        expect(self.client not in self.read("keys.json"), "the keys file holds no key")

    def node(self, name, host, certificate=None, authority="pki/ca.crt", log=None):
        options = pool_options(certificate, authority) if certificate else []
        process, address = self.start(
            log or f"node-{name}.log", r"^listening (\S+)", "node", "--listen", f"{host}:0", "--memory", "100 MB",
            "--name", name, "--emulate", json.dumps(PROFILE), "--log-level", "debug", *options)
        return process, address

    def cluster(self, file, addresses):
        rows = [f'  - {{name: {n}, memory: 100 MB, communication_time: 20 ms, block_time: 10 ms, address: "{a}"}}'
                for n, a in addresses]
        self.write(file, "engine: emulated\n"
                   "model: {name: toy, block_count: 4, block_size: 10 MB, cache_size: 2 MB}\n"
                   "demand: {arrival_rate: 2, mean_input_tokens: 20, mean_output_tokens: 20}\nservers:\n"
                   + "\n".join(rows) + "\n")

    def serve(self, *more):
        process, self.port = self.start(
            "service.log", r"^serving .* at https://127\.0\.0\.1:(\d+)/v1", "serve", "cluster.yaml", "--port", "0",
            "--keys", "keys.json", "--tls-certificate", "pki/gateway.crt", "--tls-key", "pki/gateway.key",
            *pool_options("pki/orchestrator"), "--log-level", "debug", "--log-format", "json", *more)
        self.port = int(self.port)
        self.url = f"https://127.0.0.1:{self.port}"
        return process

    def curl(self, path, *more, key=None, data=None, authority="pki/ca.crt", url=None):
        """Status (0 when there was none), answer, and what curl said."""
        command = ["curl", "-sS", "-m", "30", "-w", "\n%{http_code}", (url or self.url) + path, *more]
        if authority:
            command += ["--cacert", authority]
        if key:
            command += ["-H", f"Authorization: Bearer {key}"]
        if data is not None:
            self.write("body.json", json.dumps(data))
            command += ["-d", "@body.json"]
        done = self.shell(*command)
        body, _, code = done.stdout.rpartition("\n")
        return int(code or 0), body, done.stderr

    def secure(self, count=1):
        """A connection with TLS."""
        context = ssl.create_default_context(cafile=os.path.join(self.path, "pki/ca.crt"))
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname="127.0.0.1")


def chat(tokens=5, **more):
    return {"model": "toy", "max_tokens": tokens, "messages": [{"role": "user", "content": SECRET}], **more}


def used_rightly(pool):
    code, body, _ = pool.curl("/v1/chat/completions", "-H", f"X-Request-ID: {MARK}", key=pool.client, data=chat())
    expect(code == 200 and json.loads(body)["choices"][0]["message"]["content"], f"curl is answered over HTTPS {code}")
    code, body, _ = pool.curl("/v1/chat/completions", "-N", key=pool.client, data=chat(stream=True))
    expect(code == 200 and body.strip().endswith("data: [DONE]"), "and by a stream")
    code, _, _ = pool.curl("/health", url=f"https://localhost:{pool.port}")
    expect(code == 200, "/health needs no key, and the name localhost will do")
    secure = ("--url", pool.url, "--tls-authority", "pki/ca.crt")
    status, text, errors = pool.run("status", *secure, "--key-file", "watcher.key")
    expect(status == 0 and "EMULATED" in text, f"status over HTTPS {errors}")
    status, text, errors = pool.run("bench", *secure, "--key-file", "client.key", "--requests", "5", "--request-rate",
                                    "5", "--output-tokens", "4", "--json")
    expect(status == 0 and json.loads(text)["completed"] == 5, f"bench over HTTPS {errors if status else ''}")
    status, text, errors = pool.run("restart", "a", *secure, "--key-file", "operator.key", seconds=90)
    expect(status == 0 and "restarted a" in text, f"restart over HTTPS {errors}")
    status, _, errors = pool.run("status", "--url", pool.url, "--key-file", "watcher.key")
    expect(status == 1 and "--tls-authority" in errors, f"status without the authority says what to do: {errors.strip()}")
    status, _, errors = pool.run("status", "--url", pool.url, "--tls-authority", "other/ca.crt", "--key-file",
                                 "watcher.key")
    expect(status == 1 and "TLS failed" in errors, f"status with another authority: {errors.strip()}")
    for file in ("absent.crt", "keys.json"):
        status, _, errors = pool.run("status", "--url", pool.url, "--tls-authority", file)
        expect(status == 2 and file in errors, f"a file that is no certificate: {errors.strip()}")
    status, _, errors = pool.run("status", "--url", f"http://127.0.0.1:{pool.port}", "--key-file", "watcher.key")
    expect(status == 1, f"status in plain text to HTTPS: {errors.strip()}")


def wrong_keys(pool):
    path, asks = "/v1/chat/completions", chat()
    for key, data, where, code, word in [
        (None, asks, path, 401, "missing_api_key"), ("cs-" + "0" * 40, asks, path, 401, "invalid_api_key"),
        (pool.client[:-1], asks, path, 401, "invalid_api_key"), (pool.watcher, asks, path, 403, "insufficient_rights"),
        (pool.client, None, "/metrics", 403, "insufficient_rights"), (None, None, "/", 401, "missing_api_key"),
        (pool.client, {"servers": []}, "/admin/restart", 403, "insufficient_rights"),
        (None, None, "/v1/models", 401, "missing_api_key"), (pool.watcher, None, "/metrics", 200, "chainserve_ready"),
    ]:
        got, body, _ = pool.curl(where, key=key, data=data)
        expect(got == code and word in body, f"{where} {got} {word}")
    codes = [pool.curl(path, key=pool.slow, data=asks)[0] for _ in range(3)]
    expect(codes == [200, 200, 429], f"two requests a minute {codes}")
    long = threading.Thread(target=pool.curl, args=(path,), kwargs={"key": pool.one, "data": chat(100)})
    long.start()
    time.sleep(0.5)
    code, body, _ = pool.curl(path, "-D", "-", key=pool.one, data=asks)
    expect(code == 429 and "retry-after" in body.lower(), f"one request at a time: {code}")
    long.join()
    pool.made("key", "remove", "slow")
    time.sleep(1.5)
    expect(pool.curl("/v1/models", key=pool.slow)[0] == 401, "a key that was removed is unknown within a second or so")


def too_large(pool):
    def head(text, more=0):
        connection = pool.secure()
        connection.settimeout(20)
        try:
            connection.sendall(text.encode())
            for _ in range(more):
                connection.sendall(b"x" * (64 << 10))
        except OSError:
            pass  # closed while we were sending: the answer is there
        try:
            return connection.recv(4096).decode(errors="replace").split("\r\n")[0]
        except OSError as error:
            return str(error)

    key = f"Authorization: Bearer {pool.client}\r\n"
    said = head(f"GET /health HTTP/1.1\r\nHost: a\r\nX-Long: {'x' * 40000}\r\n\r\n")
    expect("431" in said, f"a head of 40 KB: {said}")
    said = head(f"POST /v1/completions HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 5000000\r\n\r\n")
    expect("413" in said, f"a body of 5 MB, announced: {said}")
    said = head(f"POST /v1/completions HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n500000\r\n", 76)
    expect("413" in said, f"a body of 5 MB, in a chunk: {said}")
    said = head("\x16\x03 this is no HTTP\r\n\r\n")
    expect("400" in said, f"no HTTP: {said}")
    code, body, _ = pool.curl("/v1/completions", key=pool.client,
                              data={"model": "toy", "prompt": "x" * 3_000_000, "max_tokens": 1})
    expect(code == 400 and "shorten the prompt" in body, f"a prompt of 3 MB: {code}")
    expect(pool.curl("/health")[0] == 200, "and the service goes on")


def wrong_certificates(pool, addresses):
    """`profile` connects as the orchestrator does, and says what it met."""
    def attempt(file, certificate, authority="pki/ca.crt"):
        options = pool_options(certificate, authority) if certificate else []
        start = time.monotonic()
        status, _, errors = pool.run("profile", file, *options)
        last = errors.strip().splitlines()[-1] if errors.strip() else ""
        return status, last, time.monotonic() - start

    pool.cluster("one.yaml", [("b", addresses["b"])])
    for what, certificate, authority in [
        ("an orchestrator of another authority", "other/orchestrator", "pki/ca.crt"),
        ("an orchestrator that expired", "expired/orchestrator", "pki/ca.crt"),
        ("a block server as orchestrator", "pki/server-a", "pki/ca.crt"),
        ("a gateway as orchestrator", "pki/gateway", "pki/ca.crt"),
        ("an orchestrator that trusts another authority", "pki/orchestrator", "other/ca.crt"),
        ("an orchestrator in plain text", None, None),
    ]:
        status, said, seconds = attempt("one.yaml", certificate, authority)
        expect(status != 0 and seconds < 20, f"{what} is refused in {seconds:.1f} s: {said}")
    for what, name, host, certificate, authority in [
        ("a block server of another authority", "a", "127.0.0.2", "other/server-a", "other/ca.crt"),
        ("a block server that expired", "a", "127.0.0.2", "expired/server-a", "pki/ca.crt"),
        ("a block server at another host", "a", "127.0.0.2", "pki/server-elsewhere", "pki/ca.crt"),
        ("an orchestrator as block server", "a", "127.0.0.2", "pki/orchestrator", "pki/ca.crt"),
        ("a block server in plain text", "a", "127.0.0.2", None, None),
    ]:
        process, address = pool.node(name, host, certificate, authority, log="wrong-node.log")
        pool.cluster("wrong.yaml", [(name, address)])
        status, said, seconds = attempt("wrong.yaml", "pki/orchestrator")
        expect(status != 0 and seconds < 20, f"{what} is refused in {seconds:.1f} s: {said}")
        pool.stop(process)
    for arguments in (["node", "--listen", "0.0.0.0:0", "--memory", "1 GB"],
                      ["serve", "cluster.yaml", "--host", "0.0.0.0", "--port", "0", *pool_options("pki/orchestrator")]):
        status, _, errors = pool.run(*arguments)
        expect(status == 2 and "--insecure-plain-text" in errors, f"{arguments[0]} beyond loopback in plain text")
    host, port = addresses["b"].rsplit(":", 1)
    done = pool.shell("openssl", "s_client", "-connect", f"{host}:{port}", "-CAfile", "pki/ca.crt", "-ign_eof",
                      input="hello\n")
    expect("alert" in done.stderr, "openssl without a certificate is turned away by a block server")
    done = pool.shell("openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", input="hello\n")
    expect(done.returncode != 0, "and TLS 1.2 between servers, too")
    expect(pool.curl("/health", authority=None)[0] == 0, "curl without the authority turns the gateway away")
    start = time.monotonic()
    code, _, errors = pool.curl("/health", url=f"http://127.0.0.1:{pool.port}")
    expect(code != 200 and time.monotonic() - start < 10, f"plain HTTP to the HTTPS port: {code} {errors.strip()}")


def slow_clients(pool, addresses):
    """Each in a thread of its own, until the service closes the connection."""
    key = f"Authorization: Bearer {pool.client}\r\n"
    post = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 1000\r\n\r\n"
    host, port = addresses["b"].rsplit(":", 1)

    def plain():
        return socket.create_connection(("127.0.0.1", pool.port))

    def server():
        return socket.create_connection((host, int(port)))

    def drip(connection, text):
        for byte in text:
            connection.sendall(byte.encode())
            time.sleep(2)

    def unread(connection):
        # Large answers one after another, none of which is read. The end cannot arrive behind what is not taken: the
        # system's table tells when the service has closed its side.
        one = f"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {pool.watcher}\r\n\r\n"
        connection.settimeout(5)
        try:
            for _ in range(4000):
                connection.sendall(one.encode())
        except TimeoutError:
            pass
        ours, theirs = (f":{p:04X}" for p in (connection.getsockname()[1], pool.port))
        deadline = time.monotonic() + UNREAD + SLACK + 10
        while time.monotonic() < deadline:
            rows = [row.split() for row in open("/proc/net/tcp").read().splitlines()]
            if not any(r[1].endswith(theirs) and r[2].endswith(ours) and r[3] == "01" for r in rows[1:]):
                break
            time.sleep(0.5)

    cases = [
        ("a connection that says nothing", IDLE, plain, lambda c: None),
        ("half a TLS greeting", IDLE, plain, lambda c: c.sendall(bytes.fromhex("160301020001"))),
        ("TLS and then nothing", IDLE, pool.secure, lambda c: None),
        ("half a head", IDLE, pool.secure, lambda c: c.sendall(b"GET /health HTTP/1.1\r\nHost:")),
        ("a head, byte by byte", IDLE, pool.secure, lambda c: drip(c, "GET /health HTTP/1.1\r\nX: " + "x" * 200)),
        ("half a body", BODY, pool.secure, lambda c: c.sendall((post + "{").encode())),
        ("a body, byte by byte", BODY, pool.secure, lambda c: (c.sendall(post.encode()), drip(c, "{" + " " * 200))),
        ("answers that are not read", UNREAD, pool.secure, unread),
        ("nothing said to a block server", HELLO, server, lambda c: None),
        ("half a TLS greeting to a block server", HELLO, server,
         lambda c: c.sendall(bytes.fromhex("160301020001"))),
    ]

    def wait(what, bound, connect, act):
        start = time.monotonic()
        try:
            connection = connect()
            connection.settimeout(bound + SLACK + 60)
            act(connection)
            while not what.startswith("answers") and connection.recv(65536):
                pass
        except TimeoutError:
            pass
        except OSError:
            pass
        seconds = time.monotonic() - start
        expect(seconds <= bound + SLACK, f"{what}: closed after {seconds:.0f} s (bound {bound} s)")

    threads = [threading.Thread(target=wait, args=case) for case in cases]
    for thread in threads:
        thread.start()
    time.sleep(2)
    code, _, _ = pool.curl("/v1/chat/completions", key=pool.client, data=chat())
    expect(code == 200, "others are served meanwhile")
    for thread in threads:
        thread.join()


def unseen(pool):
    metrics = pool.curl("/metrics", key=pool.watcher)[1]
    for log in ("service.log", "node-a.log", "node-b.log"):
        text = pool.read(log)
        for word in (SECRET, MARK, pool.client, pool.watcher):
            if word in text:
                expect(False, f"{log} tells '{word}'")
    expect(SECRET not in metrics and MARK not in metrics and pool.client not in metrics,
           "no prompt, request identifier or key in logs at level debug, nor in the metrics")


def check(pool, is_quick):
    status, _, errors = pool.run("pki", "init", "try", "--folder", "try")
    if "without TLS" in errors:
        raise SystemExit(f"{pool.binary} was built without TLS: `make release` builds one with it")
    pool.authority()
    pool.keys()
    addresses = {}
    for name, host in (("a", "127.0.0.2"), ("b", "127.0.0.3")):
        _, addresses[name] = pool.node(name, host, f"pki/server-{name}")
    pool.cluster("cluster.yaml", addresses.items())
    wrong_certificates_later = pool.serve()
    used_rightly(pool)
    wrong_keys(pool)
    too_large(pool)
    if not is_quick:
        slow_clients(pool, addresses)
    unseen(pool)
    pool.stop(wrong_certificates_later)
    service = pool.serve("--log-prompts")
    pool.curl("/v1/chat/completions", "-H", f"X-Request-ID: {MARK}", key=pool.client, data=chat())
    expect(SECRET in pool.read("service.log") and MARK in pool.read("service.log"), "--log-prompts tells them")
    wrong_certificates(pool, addresses)
    pool.stop(service)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=os.path.join(ROOT, ".build-tls/release/chainserve"))
    parser.add_argument("--quick", action="store_true", help="leave out the slow clients")
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary} is not there: `make release` builds it")
    with tempfile.TemporaryDirectory() as path:
        pool = Pool(binary, path)
        try:
            check(pool, options.quick)
        finally:
            pool.stop_all()
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
