"""The pool file: what a worker is told when it starts. JSON, written by `chainserve`, or by hand.

    {"model": "/path/of/hf", "dht_prefix": "smollm2", "state": "/path/of/state", "initial_peers": [],
     "torch_dtype": "float32", "device": "cpu", "handlers": 2, "host": "127.0.0.1", "step_timeout": 60,
     "servers": [{"name": "paris-1", "memory": 200000000, "threads": 1, "port": 0},
                 {"name": "lyon-1", "memory": 200000000, "peer": "/ip4/10.0.0.7/tcp/31337/p2p/Qm…"}]}

A server with a `peer` runs already and is attached to; the others are started when an orchestrator says what they host.
`port` is where the worker listens for the orchestrator on the server's behalf; 0 takes any free one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .backend import ModelNumbers

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}


class PoolError(Exception):
    """What is wrong with a pool file, and how to mend it."""


@dataclass(frozen=True)
class PoolServer:
    name: str
    memory: int
    threads: int = 1
    port: int = 0
    peer: str | None = None


@dataclass(frozen=True)
class Pool:
    model: Path
    dht_prefix: str
    state: Path
    servers: tuple[PoolServer, ...]
    initial_peers: tuple[str, ...] = ()
    torch_dtype: str = "float32"
    device: str = "cpu"
    handlers: int = 2
    host: str = "127.0.0.1"
    step_timeout: float = 60.0

    @property
    def value_size(self) -> int:
        return DTYPES[self.torch_dtype]


def read_pool(path: Path) -> Pool:
    """Throws `PoolError`."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise PoolError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise PoolError(f"{path} is not JSON: {error}") from None
    return parse_pool(content, str(path))


def parse_pool(content: Any, source: str) -> Pool:
    keys = set(Pool.__dataclass_fields__)
    fields = _mapping(content, keys, source)
    for key in ("model", "dht_prefix", "state", "servers"):
        if key not in fields:
            raise PoolError(f"{source}: `{key}` is missing")
    if not isinstance(fields["servers"], list) or not fields["servers"]:
        raise PoolError(f"{source}: `servers` must be a list with at least one server")
    servers = tuple(_server(entry, f"{source}: servers[{index}]") for index, entry in enumerate(fields["servers"]))
    names = [server.name for server in servers]
    for name in names:
        if names.count(name) > 1:
            raise PoolError(f"{source}: the server name `{name}` is used twice")
    if fields.get("torch_dtype", "float32") not in DTYPES:
        raise PoolError(f"{source}: `torch_dtype` must be one of {', '.join(DTYPES)}")
    prefix = fields["dht_prefix"]
    if not isinstance(prefix, str) or not prefix or "." in prefix or " " in prefix:
        raise PoolError(f"{source}: `dht_prefix` must be a name without dots and spaces")
    return Pool(
        **{
            **fields,
            "model": Path(fields["model"]),
            "state": Path(fields["state"]),
            "servers": servers,
            "initial_peers": tuple(fields.get("initial_peers", ())),
        }
    )


def _mapping(content: Any, known: set[str], source: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise PoolError(f"{source} must be a JSON object")
    for key in content:
        if key not in known:
            raise PoolError(f"{source}: unknown key `{key}`; known are {', '.join(sorted(known))}")
    return content


def _server(content: Any, source: str) -> PoolServer:
    fields = _mapping(content, set(PoolServer.__dataclass_fields__), source)
    for key, kind in (("name", str), ("memory", int)):
        if not isinstance(fields.get(key), kind):
            raise PoolError(f"{source}: `{key}` is missing or no {kind.__name__}")
    for key in ("memory", "threads"):
        if key in fields and (not isinstance(fields[key], int) or fields[key] < 1):
            raise PoolError(f"{source}: `{key}` must be a whole number from 1 on")
    return PoolServer(**fields)


def read_model(folder: Path) -> ModelNumbers:
    """The numbers of a model folder. Throws `PoolError`."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        heads = int(config["num_attention_heads"])
        return ModelNumbers(
            block_count=int(config["num_hidden_layers"]),
            width=int(config["hidden_size"]),
            heads=heads,
            key_value_heads=int(config.get("num_key_value_heads", heads)),
            head_size=int(config["hidden_size"]) // heads,
        )
    except OSError as error:
        raise PoolError(
            f"{path} cannot be read ({error.strerror}); `make petals` converts the default model, and"
            " `Scripts/petals.sh --model FILE.gguf` another"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise PoolError(f"{path} is not a Llama model's configuration: {error!r}") from None
