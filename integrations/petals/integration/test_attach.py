"""A PETALS server that somebody else started: attached to, checked against the plan, lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import MODEL, START_LIMIT, Service, missing, serving, transformers_tokens

reason = missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=reason or "")

# Blocks 3 to 30 are started here, the first ones are somebody else's.
CLUSTER = """
engine: petals
model: {{name: smollm2-135m-instruct, gguf: "{gguf}", max_sequence_length: 128}}
petals: {{model: "{folder}", prefix: shared}}
demand: {{arrival_rate: 0.1, mean_input_tokens: 16, mean_output_tokens: 8}}
servers:
  - {{name: theirs, memory: 100 MB, communication_time: 0.2, block_time: 0.1, peer: "{peer}"}}
  - {{name: ours, memory: MEMORY, communication_time: 0.2, block_time: 0.1}}
placement:
  - {{server: theirs, first_block: 1, block_count: 4}}
  - {{server: ours, first_block: 3, block_count: 28}}
"""
PROMPT = [504, 3575, 282, 4649, 314]
TOKENS = 8


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server for blocks 1 to 4 with cache for 100 MB less its weights, and its address."""
    log = tmp_path / "server.log"
    arguments = [
        *(sys.executable, "-m", "chainserve_petals.server", str(MODEL / "hf")),
        *("--dht_prefix", "shared", "--block_indices", "0:4", "--device", "cpu", "--torch_dtype", "float32"),
        *("--throughput", "1", "--num_handlers", "2", "--new_swarm", "--attn_cache_tokens", "7200"),
        *("--inference_max_length", "128", "--cache_dir", str(tmp_path / "cache")),
        *("--host_maddrs", "/ip4/127.0.0.1/tcp/0", "--identity_path", str(tmp_path / "identity")),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + START_LIMIT
        while "Started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        found = re.search(r"Running a server on \['(/ip4/127[^']+)'", log.read_text())
        assert found is not None, log.read_text()
        yield found[1], process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def attached(tmp_path: Path, running: tuple[str, subprocess.Popen[bytes]], memory: str) -> Iterator[Service]:
    """A service over both servers that has answered, and whose attached server was killed after that."""
    peer, process = running
    expected = transformers_tokens([PROMPT], TOKENS)[0]
    with serving(tmp_path, cluster=CLUSTER.replace("MEMORY", memory), peer=peer) as service:
        answer = service.complete(PROMPT, TOKENS)
        assert answer.text == service.detokenize(expected)
        assert answer.chain == "theirs > ours"
        # It runs on this machine by chance: no process of ours.
        assert service.server("theirs").get("pid") in (None, 0)
        os.killpg(process.pid, signal.SIGKILL)
        yield service


def test_a_server_of_somebody_else(tmp_path: Path, running: tuple[str, subprocess.Popen[bytes]]) -> None:
    # The other server has no room for the blocks that are lost.
    with attached(tmp_path, running, "420 MB") as service:
        with pytest.raises(urllib.error.HTTPError) as error:
            service.complete(PROMPT, TOKENS, patience=20)
        assert error.value.code >= 500
        service.wait_for("the loss", lambda: service.server("theirs")["state"] != "ready", 60)


def test_the_pool_is_composed_anew_without_it(tmp_path: Path, running: tuple[str, subprocess.Popen[bytes]]) -> None:
    expected = transformers_tokens([PROMPT], TOKENS)[0]
    # The other server can hold the whole model.
    with attached(tmp_path, running, "450 MB") as service:
        answer = service.complete(PROMPT, TOKENS)
        assert answer.text == service.detokenize(expected)
        assert answer.chain == "ours"
