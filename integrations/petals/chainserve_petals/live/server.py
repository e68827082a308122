"""One PETALS server of the experiment: `python -m chainserve_petals.live.server SETTINGS`.

`SETTINGS` is JSON: the `arguments` of PETALS' own `run_server`, the `device` that the server is held to, and a file
for the counts of `holds`. The server is stock, with the patches that it takes to start, and with two things of the
emulation: the answers of steps are kept back until the device would be done with them, and what PETALS measures of
its own speed with `--throughput auto` is the device's, not this machine's.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..server import end_with_parent, receive_signals
from .devices import Device, HoldCount, append_hold_count


def emulate(device: Device, holds: Path) -> None:
    """Holds PETALS' handler to the device. Before its processes are started, which inherit it."""
    import asyncio

    from petals.server import handler, server

    original = handler.TransformerConnectionHandler.rpc_inference

    @functools.wraps(original)
    async def rpc_inference(self: Any, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        until = 0.0
        count = HoldCount()

        async def watched() -> AsyncIterator[Any]:
            nonlocal until
            async for request in requests:
                tokens = request.tensors[0].size[1] if request.tensors else 0
                taken = device.step_time(len(request.uid.split(" ")), tokens)
                until = time.monotonic() + taken if taken else 0.0
                yield request

        try:
            async for response in original(self, watched(), context):
                now = time.monotonic()
                if until:
                    count.add(until, now)
                if until > now:
                    await asyncio.sleep(until - now)
                yield response
        finally:
            if count.steps:
                append_hold_count(holds, count)

    def throughput(_model: str, config: Any, *_: Any, num_blocks: int, **__: Any) -> dict[str, float]:
        return device.rates(num_blocks, config.hidden_size)

    handler.TransformerConnectionHandler.rpc_inference = rpc_inference
    server.get_server_throughput = throughput


def main() -> None:
    receive_signals()
    settings = json.loads(sys.argv[1])
    end_with_parent()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    from .. import patches

    patches.apply()
    from petals.cli import run_server

    patches.apply_after_import()
    emulate(Device.read(settings["device"]), Path(settings["holds"]))
    sys.argv[1:] = settings["arguments"]
    run_server.main()


if __name__ == "__main__":
    main()
