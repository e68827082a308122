"""The PETALS engine whole: right answers on pinned chains with sub-ranges, together, and across a killed server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from service import MODEL, Service, missing, serving, transformers_tokens

TOKENS = 24
LONG = 48
# Prompts as texts; the converted tokenizer makes tokens of them.
PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time in 1873, a",
    "List three colours of the rainbow:",
)

reason = missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=reason or "")


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "hf" / "tokenizer.json"))
    return [list(tokenizer.encode(text).ids) for text in PROMPTS]


@pytest.fixture(scope="module")
def expected(prompts: list[list[int]]) -> list[list[int]]:
    return transformers_tokens(prompts, LONG)


@pytest.fixture(scope="module")
def service(expected: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Depends on the reference, so that its model is not in memory beside the servers' while they start."""
    start = time.monotonic()
    with serving(tmp_path_factory.mktemp("petals")) as service:
        print(f"\nready after {time.monotonic() - start:.1f} s")
        yield service


def test_the_engine_is_named(service: Service) -> None:
    status = service.status()
    assert status["engine"] == "petals"
    assert [server["state"] for server in status["servers"]] == ["ready"] * 3
    assert [chain["servers"] for chain in status["chains"]] == [["amber", "birch"], ["amber", "cedar"]]
    # Both chains enter their second server in the middle of what it hosts.
    assert [chain["blocks"] for chain in status["chains"]] == [[18, 12], [18, 12]]
    assert [chain["capacity"] for chain in status["chains"]] == [2, 2]


def test_the_converted_tokenizer(service: Service, prompts: list[list[int]]) -> None:
    for text, tokens in zip(PROMPTS, prompts, strict=True):
        answer = service.call("/tokenize", {"model": "smollm2-135m-instruct", "prompt": text})
        assert answer["tokens"] == tokens


def test_greedy_output_is_that_of_transformers(
    service: Service, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    start = time.monotonic()
    for prompt, tokens in zip(prompts, expected, strict=True):
        answer = service.complete(prompt, TOKENS)
        assert answer.text == service.detokenize(tokens[:TOKENS])
        assert (answer.chain, answer.attempts) == ("amber > birch", 1)
    print(f"\none at a time: {len(prompts) * TOKENS / (time.monotonic() - start):.1f} tokens/s")


def test_four_jobs_at_once(service: Service, prompts: list[list[int]], expected: list[list[int]]) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda prompt: service.complete(prompt, TOKENS), prompts))
    print(f"\nfour at once: {len(prompts) * TOKENS / (time.monotonic() - start):.1f} tokens/s in all")
    for answer, tokens in zip(answers, expected, strict=True):
        assert answer.text == service.detokenize(tokens[:TOKENS])
    chains = sorted(answer.chain for answer in answers)
    assert chains == ["amber > birch"] * 2 + ["amber > cedar"] * 2


def test_a_client_that_goes_frees_its_caches(service: Service, prompts: list[list[int]]) -> None:
    with service.stream(prompts[0], 200) as pieces:
        next(pieces)
        assert service.server("amber")["slots_used"] == 18
        assert service.server("birch")["slots_used"] == 12
    service.wait_for("the caches", lambda: all(server["slots_used"] == 0 for server in service.status()["servers"]), 30)
    # PETALS' own books agree: as many jobs as planned fit again, at once.
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: service.complete(prompts[0], 1), range(4)))) == 4


def test_a_killed_server_changes_nothing(service: Service, prompts: list[list[int]], expected: list[list[int]]) -> None:
    victim = service.server("birch")["pid"]
    text = ""
    with service.stream(prompts[2], LONG) as pieces:
        for count, piece in enumerate(pieces, start=1):
            text += piece
            if count == 8:
                os.kill(victim, signal.SIGKILL)
                killed = time.monotonic()
            elif count == 9:
                print(f"\nthe token after the kill came after {time.monotonic() - killed:.1f} s")
    assert text == service.detokenize(expected[2])
    # It went on over the other chain, and the server comes back, as another process.
    service.wait_for("birch", lambda: service.server("birch")["state"] == "ready")
    assert service.server("birch")["pid"] != victim
    answer = service.complete(prompts[3], TOKENS)
    assert answer.text == service.detokenize(expected[3][:TOKENS])
    assert answer.chain == "amber > birch"


def test_nothing_is_left_behind(tmp_path: Path, prompts: list[list[int]]) -> None:
    """Last: a service of its own, killed the hard way; its worker and its servers go with it."""
    with serving(tmp_path) as service:
        pids = [server["pid"] for server in service.status()["servers"]]
        assert all(pids)
        service.process.kill()
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline, "servers outlived the service"
            time.sleep(0.2)
