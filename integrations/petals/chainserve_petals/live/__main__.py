"""Runs the experiment: `python -m chainserve_petals.live SPEC [--exit-with-parent]`.

Starts the systems that have runs to make, all of them at once, makes the runs one after the other in the order of the
file, and appends a line of JSON to the results for each: its requests, and what machine and emulation did meanwhile.
Of several lines for one run the last counts. Exit status: 0 done, 1 a system failed, 2 wrong input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..server import receive_signals
from .children import Child, ChildError
from .pools import Pool
from .profile import profile
from .spec import Run, Spec, SpecError, read_spec
from .usage import machine, sessions

PROFILE = "profile"
# Seconds between two runs, for sessions to close.
PAUSE = 2.0


def say(text: str) -> None:
    print(f"live: {text}", file=sys.stderr, flush=True)


def finished(path: Path) -> set[str]:
    """What there are results of. A last line cut short by an interruption is removed."""
    if not path.exists():
        return set()
    text = path.read_text()
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text)
    return {json.loads(line)["id"] for line in text.splitlines()}


def keep(spec: Spec, content: dict[str, Any]) -> None:
    with spec.results.open("a") as file:
        file.write(json.dumps(content) + "\n")


async def start_pools(spec: Spec, names: set[str]) -> dict[str, Pool]:
    pools: dict[str, Pool] = {}
    try:
        for system in spec.systems:
            if system.name in names:
                start = time.monotonic()
                pools[system.name] = await Pool.start(spec, system)
                say(f"{system.name}: {len(system.hosts)} servers after {time.monotonic() - start:.0f} s")
    except BaseException:
        await stop_pools(pools)
        raise
    return pools


async def stop_pools(pools: dict[str, Pool]) -> None:
    await asyncio.gather(*(pool.stop() for pool in pools.values()))


async def take_profiles(spec: Spec, pools: dict[str, Pool]) -> None:
    """Measures each system's servers once, before they are in service; stock ones are the same as pinned ones."""
    known = finished(spec.results)
    for name, pool in pools.items():
        key = f"{PROFILE}/{name}"
        if key in known or pool.system.kind == "stock":
            continue
        if pool.system.kind == "own":
            output = spec.state / name / "profile.yaml"
            command = [spec.chainserve, "profile", str(pool.cluster_file()), "--output", str(output)]
            child = await Child.start("chainserve profile", command, spec.state / name / "profile.log")
            await child.wait_for(lambda text: "written to" in text)
            await child.stop()
            keep(spec, {"id": key, "cluster": output.read_text()})
        else:
            hosted = []
            for host in pool.system.hosts:
                assert host.first is not None
                server = spec.servers[host.server].name
                hosted.append((server, pool.peers[server], range(host.first, host.first + host.count)))
            keep(spec, {"id": key, "servers": await profile(spec.name, hosted, spec.width)})
        say(f"{name}: profiled")


async def make(spec: Spec, pool: Pool, run: Run) -> dict[str, Any]:
    """One run, with what it cost."""
    front = await pool.front_of_run()
    try:
        groups = {
            "servers": {server.session for server in pool.servers},
            "front": {front.session},
            "relay": {pool.relay.session},
        }
        every = set().union(*groups.values())
        await pool.counts()
        before, machine_before, start = sessions(every), machine(), time.monotonic()
        records = await pool.serve(front, run.requests)
        wall = time.monotonic() - start
        after, machine_after = sessions(every), machine()
    finally:
        await pool.end_of_run(front)
    await asyncio.sleep(PAUSE)
    total = machine_after[1] - machine_before[1]
    return {
        "id": run.id,
        "system": run.system,
        "wall": wall,
        "records": [record.json() for record in records],
        "processor_seconds": {
            name: sum(after[session] - before[session] for session in group) for name, group in groups.items()
        },
        "machine": {"busy": machine_after[0] - machine_before[0], "total": total},
        "emulation": await pool.counts(),
    }


async def experiment(spec: Spec) -> None:
    if not spec.runs:
        return
    pools = await start_pools(spec, {run.system for run in spec.runs})
    try:
        await take_profiles(spec, pools)
        for pool in pools.values():
            await pool.open()
        for number, run in enumerate(spec.runs):
            content = await make(spec, pools[run.system], run)
            keep(spec, content)
            served = [record for record in content["records"] if not record["error"]]
            mean = sum(record["end"] - record["arrival"] for record in served) / max(1, len(served))
            say(
                f"{number + 1} of {len(spec.runs)}: {run.id}: mean response {mean:.2f} s, {len(served)} of"
                f" {len(run.requests)} served in {content['wall']:.0f} s"
            )
    finally:
        await stop_pools(pools)


async def interruptible(spec: Spec) -> None:
    """Ends everything that was started on SIGTERM and SIGINT too."""
    task = asyncio.ensure_future(experiment(spec))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def stop_with_parent() -> None:
    """Ends as on SIGTERM at the end of standard input."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def main() -> int:
    receive_signals()
    if "--exit-with-parent" in sys.argv[2:]:
        stop_with_parent()
    try:
        spec = read_spec(Path(sys.argv[1]))
        spec.state.mkdir(parents=True, exist_ok=True)
        asyncio.run(interruptible(spec))
    except (SpecError, IndexError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ChildError, asyncio.CancelledError) as error:
        print(f"error: {error or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
