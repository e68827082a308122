"""The stock client of the experiment: `python -m chainserve_petals.live.stock SETTINGS`.

`SETTINGS` is JSON: the `model` folder, the swarm's `initial_peers` and `prefix`, the number of `blocks`, and the
`sequence_length` that a session reserves. Joins the swarm, waits until every block is served, prints `ready`, reads
one line of JSON, the requests as `[arrival, input tokens, output tokens]`, and makes each at its time, whatever
became of the others (an open loop). One process holds all sessions, one thread each, as an API server over PETALS
does. Prints one line of JSON: the records.

Placement of sessions, retries and repairs are those of PETALS' own client, whose settings are left as they are. Times
are taken around its calls. A request waits from its arrival until the calls begin that lead to its first token:
choosing a route, refused attempts and the pauses between them are waiting; opening sessions and computing is service.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from typing import Any

from ..server import end_with_parent, receive_signals
from .load import Record, prompt

LOCAL = threading.local()
# Seconds until every block of the swarm must be served, and between two looks.
SWARM_LIMIT = 180.0
LOOK = 1.0


class FirstPass:
    """What the first pass through all blocks consists of."""

    def __init__(self) -> None:
        self.is_over = False
        self.served = 0.0
        self.failures = 0
        self.route: list[str] = []


def mend() -> None:
    """The one change to PETALS' client beyond what it takes to start it.

    A session's finaliser closes it by a call that the network thread has to answer. When the interpreter happens to run
    it in that thread, after a refusal for instance, the thread waits for itself and every session of the process stands
    still for good. Sessions are closed by their `with` all the same.
    """
    from petals.client import inference_session

    for kind in (inference_session._ServerInferenceSession, inference_session.InferenceSession):
        kind.__del__ = lambda self: None


def observe() -> None:
    """Takes times around the calls of PETALS' client; changes nothing that they do."""
    from petals.client import inference_session
    from petals.client.routing import sequence_manager

    sessions = inference_session.InferenceSession
    spans = inference_session._ServerInferenceSession
    enter, step, whole = sessions._enter_server_sessions, spans.step, sessions.step
    failure = sequence_manager.RemoteSequenceManager.on_request_failure

    @functools.wraps(enter)
    def timed_enter(self: Any, chosen: Any) -> Any:
        start = time.monotonic()
        opened = enter(self, chosen)
        for session in opened:
            session.opening_time = (time.monotonic() - start) / len(opened)
        return opened

    @functools.wraps(step)
    def timed_step(self: Any, *arguments: Any, **named: Any) -> Any:
        start = time.monotonic()
        result = step(self, *arguments, **named)
        first: FirstPass = LOCAL.first
        if not first.is_over:
            first.served += time.monotonic() - start + self.opening_time
            first.route.append(f"{self.span.start}:{self.span.end}")
        return result

    @functools.wraps(whole)
    def timed_whole(self: Any, *arguments: Any, **named: Any) -> Any:
        result = whole(self, *arguments, **named)
        LOCAL.first.is_over = True
        if not hasattr(LOCAL, "first_end"):
            LOCAL.first_end = time.monotonic()
        return result

    @functools.wraps(failure)
    def counted_failure(self: Any, peer: Any) -> Any:
        if hasattr(LOCAL, "first"):
            LOCAL.first.failures += 1
        return failure(self, peer)

    sessions._enter_server_sessions = timed_enter
    spans.step = timed_step
    sessions.step = timed_whole
    sequence_manager.RemoteSequenceManager.on_request_failure = counted_failure


def wait_for_swarm(model: Any, blocks: int) -> None:
    """Returns when the client knows an online server for every block."""
    from petals.data_structures import ServerState

    manager = model.transformer.h.sequence_manager
    deadline = time.monotonic() + SWARM_LIMIT
    manager.rpc_info  # noqa: B018  (starts the thread that keeps the routes)
    while True:
        manager.update(wait=True)
        served = sum(
            any(server.state == ServerState.ONLINE for server in info.servers.values())
            for info in manager.state.sequence_info.block_infos
        )
        if served == blocks:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"only {served} of {blocks} blocks are served after {SWARM_LIMIT:g} s")
        time.sleep(LOOK)


def serve(model: Any, request: tuple[float, int, int], number: int, start: float, length: int) -> Record:
    """One request, from its arrival to its last token."""
    import torch

    arrival, inputs, outputs = request
    LOCAL.first = FirstPass()
    LOCAL.__dict__.pop("first_end", None)
    record = Record(arrival=arrival, sent=time.monotonic() - start)
    try:
        with torch.inference_mode(), model.inference_session(max_length=length) as session:
            begun = time.monotonic()
            ids = torch.tensor([prompt(number, inputs)])
            made = model.generate(ids, max_new_tokens=outputs, min_new_tokens=outputs, do_sample=False, session=session)
            record.tokens = int(made.shape[1] - inputs)
            # Of the calls before the first token, what did not lead to it.
            record.wait = (LOCAL.first_end - begun) - LOCAL.first.served + (begun - start - arrival)
    except Exception as error:
        record.error = repr(error)
    record.end = time.monotonic() - start
    record.attempts = 1 + LOCAL.first.failures
    record.chain = " > ".join(LOCAL.first.route)
    return record


def run(model: Any, requests: list[tuple[float, int, int]], length: int, limit: float) -> list[Record]:
    """Makes every request at its time.

    One that is not served `limit` seconds after its arrival has failed, as in the other systems; PETALS' client cannot
    be interrupted and goes on trying for it until the process ends.
    """
    start = time.monotonic()
    records: list[Record | None] = [None] * len(requests)

    def one(number: int) -> None:
        records[number] = serve(model, requests[number], number, start, length)

    threads: list[threading.Thread] = []
    for number, request in enumerate(requests):
        time.sleep(max(0.0, start + request[0] - time.monotonic()))
        thread = threading.Thread(target=one, args=(number,), daemon=True)
        thread.start()
        threads.append(thread)
    served = []
    for (arrival, _, _), thread, number in zip(requests, threads, range(len(requests)), strict=True):
        end = arrival + limit
        thread.join(max(0.0, start + end - time.monotonic()))
        record = records[number]
        if record is None or record.end > end:
            record = Record(arrival=arrival, sent=arrival, end=end, error=f"not served within {limit:g} s")
        served.append(record)
    return served


def main() -> None:
    receive_signals()
    settings = json.loads(sys.argv[1])
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    from .. import patches

    patches.apply()
    import torch
    from petals import AutoDistributedModelForCausalLM

    mend()
    observe()
    torch.set_num_threads(1)
    model = AutoDistributedModelForCausalLM.from_pretrained(
        settings["model"], initial_peers=settings["initial_peers"], dht_prefix=settings["prefix"]
    )
    model.generation_config.eos_token_id = None
    wait_for_swarm(model, int(settings["blocks"]))
    # Compiles and loads what the first request would otherwise pay for.
    serve(model, (0.0, 4, 2), 0, time.monotonic(), int(settings["sequence_length"]))
    print("ready", flush=True)
    line = sys.stdin.readline()
    end_with_parent()
    requests = [tuple(request) for request in json.loads(line)]
    records = run(model, requests, int(settings["sequence_length"]), float(settings["request_limit"]))
    print(json.dumps([record.json() for record in records]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
