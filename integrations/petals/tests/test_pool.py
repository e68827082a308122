"""Pool files, assignments, and the arguments of servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import manifest

from chainserve_petals.backend import Refused, read_assignment
from chainserve_petals.pool import PoolError, parse_pool, read_model, read_pool
from chainserve_petals.wire import RefusalCode


def pool(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": "/models/tiny",
        "dht_prefix": "tiny",
        "state": "/tmp/state",
        "servers": [{"name": "a", "memory": 1000}, {"name": "b", "memory": 2000, "peer": "Qm1"}],
    }
    return content | changes


def test_a_pool() -> None:
    read = parse_pool(pool(torch_dtype="bfloat16"), "pool.json")
    assert [server.name for server in read.servers] == ["a", "b"]
    assert read.servers[1].peer == "Qm1"
    assert read.value_size == 2


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (pool(servers=[]), "at least one server"),
        (pool(servers=[{"name": "a", "memory": 1}] * 2), "`a` is used twice"),
        (pool(servers=[{"name": "a"}]), "`memory` is missing"),
        (pool(servers=[{"name": "a", "memory": 0}]), "whole number from 1"),
        (pool(servers=[{"name": "a", "memory": 1, "colour": 1}]), "unknown key `colour`"),
        (pool(threads=2), "unknown key `threads`"),
        (pool(dht_prefix="a.b"), "without dots"),
        (pool(torch_dtype="float64"), "one of float32"),
        ([], "must be a JSON object"),
        ({key: value for key, value in pool().items() if key != "model"}, "`model` is missing"),
    ],
)
def test_pools_that_are_wrong(content: Any, what: str) -> None:
    with pytest.raises(PoolError, match=what):
        parse_pool(content, "pool.json")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="cannot be read"):
        read_pool(tmp_path / "none.json")
    with pytest.raises(PoolError, match="make petals"):
        read_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PoolError, match="not a Llama model"):
        read_model(tmp_path)


def test_an_assignment() -> None:
    read = read_assignment(manifest(2, 3), unit_count=7, sequence_length=16, step_tokens=8)
    assert (read.first_block, read.end_block, read.hosts_last_block) == (2, 5, False)
    # PETALS has a pool of tokens for each block: 7 units of 16 tokens over 3 blocks, rounded up.
    assert read.cache_tokens == 38
    # Three tensors of 3 × 3, and 2 × 3 values a token of cache.
    assert read.memory(4) == 4 * (3 * 9 + 6 * 7 * 16)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"parameters": 3}', manifest(0, 1), manifest(5, 3)])
def test_manifests_that_are_wrong(text: bytes) -> None:
    with pytest.raises(Refused) as error:
        read_assignment(text, unit_count=1, sequence_length=1, step_tokens=1)
    assert error.value.refusal.code is RefusalCode.BAD_MANIFEST


def test_numbers_that_are_wrong() -> None:
    with pytest.raises(Refused):
        read_assignment(manifest(), unit_count=0, sequence_length=1, step_tokens=1)


def test_differences_between_models() -> None:
    one = read_assignment(manifest(), unit_count=1, sequence_length=1, step_tokens=1).model
    other = read_assignment(manifest(headCount=3), unit_count=1, sequence_length=1, step_tokens=1).model
    assert one.difference(one) is None
    assert one.difference(other) == "its heads is 1, not 3"
