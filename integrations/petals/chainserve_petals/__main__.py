"""The worker: `python -m chainserve_petals --pool FILE`.

Stands between one orchestrator and PETALS servers. For each server of the pool it listens at an address of its own and
says so on standard output (`listening NAME HOST:PORT`, then `ready`); to the orchestrator each is a block server like
any other. Ends on SIGTERM or SIGINT, and with `--exit-with-parent` at the end of standard input, with every server that
it started. Exit status: 0 done, 2 wrong usage or invalid input.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from .pool import Pool, PoolError, read_model, read_pool
from .server import receive_signals


def main() -> int:
    parser = argparse.ArgumentParser(prog="chainserve_petals", description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True, help="the pool file (JSON)")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input ends")
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    arguments = parser.parse_args()
    receive_signals()
    logging.basicConfig(level=arguments.log_level.upper(), format="petals worker: %(message)s", stream=sys.stderr)
    try:
        pool = read_pool(arguments.pool)
        if any(server.peer is None for server in pool.servers):
            read_model(pool.model)
        asyncio.run(serve(pool, arguments.exit_with_parent))
    except PoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


async def serve(pool: Pool, exit_with_parent: bool) -> None:
    """Serves the pool until it is told to stop."""
    # Imported late: it takes seconds, and a pool file that is wrong should not.
    from .engine import EngineBounds, PetalsEngine
    from .node import Node
    from .process import ServerProcess, ServerSettings
    from .swarm import PeerAddress, Swarm

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if exit_with_parent:
        _stop_with_parent(loop, stop)
    try:
        attached = {server.name: PeerAddress.read(server.peer) for server in pool.servers if server.peer}
    except ValueError as error:
        raise PoolError(str(error)) from None
    settings = ServerSettings(
        model=pool.model,
        prefix=pool.dht_prefix,
        state=pool.state,
        initial_peers=pool.initial_peers,
        host=pool.host,
        dtype=pool.torch_dtype,
        device=pool.device,
        handlers=pool.handlers,
    )
    swarm = await Swarm.join(pool.dht_prefix, list(pool.initial_peers))
    engines: list[PetalsEngine] = []
    nodes: list[Node] = []
    try:
        for server in pool.servers:
            process = None
            if server.name not in attached:
                process = ServerProcess(server.name, settings, server.threads)
                await process.prepare()
            engine = PetalsEngine(
                server.name,
                swarm,
                memory=server.memory,
                model=read_model(pool.model) if process is not None else None,
                process=process,
                address=attached.get(server.name),
                value_size=pool.value_size,
                bounds=EngineBounds(step_timeout=pool.step_timeout),
            )
            engines.append(engine)
            node = Node(server.name, server.memory, engine)
            try:
                port = await node.listen(pool.host, server.port)
            except OSError as error:
                raise PoolError(
                    f"server {server.name}: cannot listen at {pool.host}:{server.port}: {error.strerror};"
                    " give another `port`, or 0 for any free one"
                ) from None
            nodes.append(node)
            print(f"listening {server.name} {pool.host}:{port}", flush=True)
        print("ready", flush=True)
        await stop.wait()
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
        await asyncio.gather(*(engine.stop() for engine in engines))
        await swarm.leave()


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def wait() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
