"""A ChainServe service over PETALS servers of this machine, as a user starts it, and what transformers says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("CHAINSERVE_CACHE", Path.home() / ".cache" / "chainserve"))
MODEL = CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.petals"
GGUF = MODEL / "SmolLM2-135M-Instruct.Q4_1.f32.gguf"
START_LIMIT = 600.0
REQUEST_LIMIT = 300.0

# Three servers; no two of them hold the model alone, both chains enter a server in the middle of its range, and either
# of them goes on when the other's second server is lost.
CLUSTER = """
engine: petals
model: {{name: smollm2-135m-instruct, gguf: "{gguf}", max_sequence_length: 256}}
petals: {{model: "{folder}"}}
demand: {{arrival_rate: 0.2, mean_input_tokens: 16, mean_output_tokens: 24}}
servers:
  - {{name: amber, memory: 284 MB, communication_time: 0.2, block_time: 0.1}}
  - {{name: birch, memory: 265 MB, communication_time: 0.2, block_time: 0.1}}
  - {{name: cedar, memory: 265 MB, communication_time: 0.3, block_time: 0.2}}
placement:
  - {{server: amber, first_block: 1, block_count: 18}}
  - {{server: birch, first_block: 13, block_count: 18}}
  - {{server: cedar, first_block: 13, block_count: 18}}
"""


def missing() -> str | None:
    """What the suite needs and does not find."""
    if not (MODEL / "hf" / "config.json").exists() or not GGUF.exists():
        return "the converted model is not there: run `make petals`"
    if not os.access(os.environ.get("CHAINSERVE", ""), os.X_OK):
        return "CHAINSERVE does not name the built command: run Scripts/test-petals.sh"
    return None


@dataclass
class Answer:
    text: str
    chain: str
    attempts: int
    seconds: float
    pieces: int = 0


class Service:
    """A running `chainserve serve`."""

    def __init__(self, process: subprocess.Popen[str], url: str, lines: list[str]) -> None:
        self.process = process
        self.url = url
        self.lines = lines

    def call(self, path: str, body: dict[str, Any] | None = None, patience: float | None = None) -> Any:
        """`patience`: seconds that the request may wait for a chain; the service's own limit without it."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json"}
        if patience is not None:
            headers["x-request-timeout"] = f"{patience:g}"
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT) as response:
            return json.load(response)

    def status(self) -> Any:
        return self.call("/status")

    def server(self, name: str) -> Any:
        return next(server for server in self.status()["servers"] if server["name"] == name)

    def detokenize(self, tokens: list[int]) -> str:
        return str(self.call("/detokenize", {"model": "smollm2-135m-instruct", "tokens": tokens})["prompt"])

    def body(self, prompt: list[int], tokens: int, **more: Any) -> dict[str, Any]:
        return {
            "model": "smollm2-135m-instruct",
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            **more,
        }

    def complete(self, prompt: list[int], tokens: int, patience: float | None = None) -> Answer:
        start = time.monotonic()
        answer = self.call("/v1/completions", self.body(prompt, tokens), patience)
        about = answer["chainserve"]
        text = answer["choices"][0]["text"]
        return Answer(text, about["chain"], about["attempts"], time.monotonic() - start)

    @contextlib.contextmanager
    def stream(self, prompt: list[int], tokens: int) -> Iterator[Iterator[str]]:
        """The pieces of text of a streamed answer; leaving the block early disconnects."""
        data = json.dumps(self.body(prompt, tokens, stream=True)).encode()
        request = urllib.request.Request(self.url + "/v1/completions", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT) as response:

            def pieces() -> Iterator[str]:
                for line in response:
                    content = line.decode().strip()
                    if not content.startswith("data: ") or content == "data: [DONE]":
                        continue
                    for choice in json.loads(content[6:]).get("choices", []):
                        if choice.get("text"):
                            yield choice["text"]

            yield pieces()

    def wait_for(self, what: str, condition: Any, limit: float = START_LIMIT) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {limit:g} s\n" + "\n".join(self.lines[-20:])
            time.sleep(0.2)


@contextlib.contextmanager
def serving(folder: Path, gguf: Path = GGUF, cluster: str = CLUSTER, peer: str = "") -> Iterator[Service]:
    """Starts the service and its PETALS servers, waits until they serve, and stops everything."""
    file = folder / "pool.yaml"
    file.write_text(cluster.format(gguf=gguf, folder=MODEL / "hf", peer=peer))
    process = subprocess.Popen(
        [os.environ["CHAINSERVE"], "serve", str(file), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True).start()  # type: ignore[union-attr]
    found: list[str] = []
    deadline = time.monotonic() + START_LIMIT
    try:
        while not found:
            assert process.poll() is None, "the service ended:\n" + "".join(lines)
            assert time.monotonic() < deadline, "the service did not start:\n" + "".join(lines)
            time.sleep(0.2)
            found = re.findall(r"at (http://\S+)/v1", "".join(lines))
        yield Service(process, found[0], lines)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        print("".join(lines))


def transformers_tokens(prompts: list[list[int]], count: int) -> list[list[int]]:
    """What transformers generates, greedily, from the same weights in one piece."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(str(MODEL / "hf"))
    results: list[list[int]] = []
    with torch.inference_mode():
        for prompt in prompts:
            # Not `generate`, which stops where the model does: past that token the comparison goes on.
            ids = torch.tensor([prompt])
            past = None
            made: list[int] = []
            for _ in range(count):
                output = model(ids, past_key_values=past, use_cache=True)
                past = output.past_key_values
                made.append(int(output.logits[0, -1].argmax()))
                ids = torch.tensor([[made[-1]]])
            results.append(made)
    return results
