"""Processes that the experiment starts: each in a session of its own, with a log, and gone with the experiment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_LIMIT = 300.0
LOOK = 0.2
STOP_LIMIT = 5.0
# Of a line that a child answers with.
LONGEST_LINE = 1 << 24


class ChildError(Exception):
    """A process ended or did not become ready, with the end of its log."""


class Child:
    """One process; its number is its session's, in which all that it starts stays."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def session(self) -> int:
        return self._process.pid

    @staticmethod
    async def start(name: str, command: list[str], log: Path, *, talks: bool = False) -> Child:
        """`talks`: its standard output is ours to read, not the log's."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "PYTHONWARNINGS": "ignore",
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if talks else output,
                stderr=output,
                env=environment,
                start_new_session=True,
                limit=LONGEST_LINE,
            )
        return Child(name, log, process)

    @staticmethod
    async def python(name: str, module: str, settings: Any, log: Path, *, talks: bool = False) -> Child:
        command = [sys.executable, "-m", f"chainserve_petals.live.{module}", json.dumps(settings)]
        return await Child.start(name, command, log, talks=talks)

    async def say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        await self._process.stdin.drain()

    async def line(self, limit: float) -> str:
        """The next line of its standard output. Throws `ChildError`."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ChildError(f"{self.name} said nothing for {limit:g} s: {self.last_words()}") from None
        if not line:
            raise ChildError(f"{self.name} ended: {self.last_words()}")
        return line.decode().strip()

    async def wait_for(self, what: Callable[[str], bool], limit: float = START_LIMIT) -> str:
        """Returns the log once it satisfies `what`. Throws `ChildError`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while True:
            text = self.log.read_text(errors="replace")
            if what(text):
                return text
            if self._process.returncode is not None:
                raise ChildError(f"{self.name} ended: {self.last_words()}")
            if loop.time() > deadline:
                raise ChildError(f"{self.name} was not ready within {limit:g} s: {self.last_words()}")
            await asyncio.sleep(LOOK)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) + f" (its log is {self.log})"

    async def stop(self, gently: bool = False) -> None:
        """Ends it and all that it started; asked first if `gently`."""
        if gently and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_LIMIT):
                    await self._process.wait()
            except TimeoutError:
                pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        await self._process.wait()
