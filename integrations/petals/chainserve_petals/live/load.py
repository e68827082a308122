"""Requests in an open loop, and what became of each."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any

# Of the prompts, which are numbers and not texts: what is computed does not depend on them.
VOCABULARY = 49152


def prompt(number: int, tokens: int) -> list[int]:
    """A prompt of so many tokens, different for every request."""
    return [(7919 * position + 104729 * number + 17) % VOCABULARY for position in range(max(1, tokens))]


@dataclass
class Record:
    """One request. Times in seconds since the run began; `wait` is a length of time."""

    arrival: float
    sent: float = 0.0
    wait: float = 0.0
    end: float = 0.0
    tokens: int = 0
    attempts: int = 1
    chain: str = ""
    error: str = ""

    def json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Service:
    """Where ChainServe's API is."""

    host: str
    port: int
    model: str
    limit: float
    """Seconds that a request may take."""

    async def run(self, requests: list[tuple[float, int, int]]) -> list[Record]:
        """Makes every request `(arrival, input tokens, output tokens)` at its time."""
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def one(number: int) -> Record:
            arrival, inputs, outputs = requests[number]
            await asyncio.sleep(max(0.0, start + arrival - loop.time()))
            record = Record(arrival=arrival, sent=loop.time() - start)
            try:
                async with asyncio.timeout(self.limit):
                    self._note(record, await self._complete(prompt(number, inputs), outputs))
            except (OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
                record.error = repr(error)
            record.end = loop.time() - start
            return record

        return list(await asyncio.gather(*(one(number) for number in range(len(requests)))))

    @staticmethod
    def _note(record: Record, answer: tuple[int, Any]) -> None:
        status, content = answer
        if status != 200:
            record.error = f"{status}: {json.dumps(content)[:200]}"
            return
        about = content["chainserve"]
        record.wait = about["wait_ms"] / 1000
        record.tokens = content["usage"]["completion_tokens"]
        record.attempts = about["attempts"]
        record.chain = about["chain"]

    async def _complete(self, tokens: list[int], outputs: int) -> tuple[int, Any]:
        body = json.dumps(
            {"model": self.model, "prompt": tokens, "max_tokens": outputs, "temperature": 0, "ignore_eos": True}
        ).encode()
        return await self._call("POST", "/v1/completions", body)

    async def _call(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
        return parse_answer(answer)


def parse_answer(answer: bytes) -> tuple[int, Any]:
    """Status and JSON body of a whole HTTP/1.1 answer, chunked or not. Throws `ValueError`."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if not separator or len(parts) < 2 or not parts[1].isdigit():
        raise ValueError(f"no HTTP answer: {answer[:80]!r}")
    headers = {line.partition(":")[0].strip().lower(): line.partition(":")[2].strip() for line in lines[1:]}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    return int(parts[1]), json.loads(body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        if count == 0:
            break
        whole += rest[:count]
        body = rest[count + 2 :]
    return whole
