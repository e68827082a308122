"""The emulated network: `python -m chainserve_petals.live.relay ROUTES`.

`ROUTES` is a JSON list of `{"listen": PORT, "target": PORT, "delay": SECONDS, "device": DEVICE or null}`, loopback
only. Connections to `listen` go on to `target`, every byte delayed one way by `delay` in both directions. With a
device, the stream is ChainServe's wire protocol and the answers of steps are kept back until the device would be
done; PETALS' streams are encrypted, so there the server's launcher does the same (`live.server`).

Prints `ready`, then for every line on standard input a line of JSON: bytes carried and how the devices' times were
kept. Ends with standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..server import receive_signals
from ..wire import WireError
from .delays import DelayLine, FrameSplitter, StepWatch
from .devices import Device, HoldCount

# Bytes of one direction that may be under way before its sender has to wait.
MOST_UNDER_WAY = 4 << 20
READ_SIZE = 1 << 16


@dataclass(frozen=True)
class Route:
    listen: int
    target: int
    delay: float
    device: Device | None

    @staticmethod
    def read(content: dict[str, Any]) -> Route:
        device = content.get("device")
        return Route(
            int(content["listen"]),
            int(content["target"]),
            float(content["delay"]),
            Device.read(device) if device is not None else None,
        )


class Direction:
    """One direction of one connection: a reader that fills the line and a writer that empties it."""

    def __init__(self, line: DelayLine, put: Callable[[bytes, float], None]) -> None:
        self._line = line
        self._put = put
        self._wake = asyncio.Event()
        self._has_ended = False
        self._room = asyncio.Event()
        self._room.set()
        self.bytes = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.gather(self._fill(reader), self._empty(writer))

    async def _fill(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(READ_SIZE):
                self.bytes += len(data)
                self._put(data, loop.time())
                self._wake.set()
                if self._line.size > MOST_UNDER_WAY:
                    self._room.clear()
                    await self._room.wait()
        except OSError:
            pass
        finally:
            self._has_ended = True
            self._wake.set()

    async def _empty(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                due = self._line.next_due
                if due is None:
                    if self._has_ended:
                        break
                    await self._wake.wait()
                elif (pause := due - loop.time()) > 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), pause)
                else:
                    writer.write(self._line.take(loop.time()))
                    if self._line.size <= MOST_UNDER_WAY:
                        self._room.set()
                    await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.close()
        finally:
            self._room.set()


class Relay:
    """All routes of one process."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = routes
        self._servers: list[asyncio.Server] = []
        self._watches: list[StepWatch] = []
        self._directions: list[Direction] = []

    async def start(self, host: str = "127.0.0.1") -> None:
        for route in self._routes:

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route = route) -> None:
                await self._connect(route, host, reader, writer)

            self._servers.append(await asyncio.start_server(accept, host, route.listen))

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    def counts(self) -> dict[str, float]:
        total = HoldCount()
        for watch in self._watches:
            total.steps += watch.holds.steps
            total.late += watch.holds.late
            total.late_seconds += watch.holds.late_seconds
        return {"bytes": sum(direction.bytes for direction in self._directions), **total.json()}

    async def _connect(
        self, route: Route, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(host, route.target)
        except OSError:
            writer.close()
            return
        onward, back = self._directions_of(route)
        self._directions += [onward, back]
        try:
            await asyncio.gather(onward.carry(reader, onward_writer), back.carry(onward_reader, writer))
        except WireError as error:
            print(f"relay: {error}", file=sys.stderr)
        finally:
            writer.close()
            onward_writer.close()

    def _directions_of(self, route: Route) -> tuple[Direction, Direction]:
        there, back = DelayLine(route.delay), DelayLine(route.delay)
        if route.device is None:
            return Direction(there, there.put), Direction(back, back.put)
        watch = StepWatch(route.device)
        self._watches.append(watch)
        requests, answers = FrameSplitter(), FrameSplitter()

        def send(data: bytes, now: float) -> None:
            for frame_type, frame in requests.feed(data):
                watch.request(frame_type, frame, now + route.delay)
                there.put(frame, now)

        def answer(data: bytes, now: float) -> None:
            for frame_type, frame in answers.feed(data):
                back.put(frame, now, watch.answer(frame_type, frame, now))

        return Direction(there, send), Direction(back, answer)


async def serve(routes: list[Route]) -> None:
    relay = Relay(routes)
    await relay.start()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(relay.counts()), flush=True)
    await relay.stop()


def main() -> None:
    receive_signals()
    asyncio.run(serve([Route.read(content) for content in json.loads(sys.argv[1])]))


if __name__ == "__main__":
    main()
