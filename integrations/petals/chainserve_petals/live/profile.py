"""What steps take on the emulated PETALS servers, measured at the wire: one session at a time, as `chainserve profile`.

decode step   a + b·m                  (m blocks)
prompt step   a' + b'·m + d·m·(n − 1)  (n tokens)
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..swarm import PeerAddress, Swarm

PROMPT_SIZES = (4, 16, 40)
PROMPT_REPEATS = 3
DECODE_REPEATS = 10
STEP_LIMIT = 60.0
CALL_LIMIT = 10.0


def fit(decode: Sequence[tuple[int, float]], prompts: Sequence[tuple[int, int, float]]) -> dict[str, float]:
    """Least squares of the two models above over `(blocks, seconds)` and `(blocks, tokens, seconds)`."""
    rows = [[1.0, blocks] for blocks, _ in decode]
    steps = np.linalg.lstsq(np.array(rows), np.array([seconds for _, seconds in decode]), rcond=None)[0]
    rows = [[1.0, blocks, blocks * (tokens - 1)] for blocks, tokens, _ in prompts]
    first = np.linalg.lstsq(np.array(rows), np.array([seconds for *_, seconds in prompts]), rcond=None)[0]
    names = ("step", "step_block", "prompt", "prompt_block", "prompt_block_token")
    return {name: max(0.0, float(value)) for name, value in zip(names, [*steps, *first], strict=True)}


async def profile(
    prefix: str, servers: list[tuple[str, PeerAddress, range]], width: int
) -> dict[str, dict[str, float]]:
    """The fits by server, each hosting a range of blocks, counted from 1. They must be idle."""
    swarm = await Swarm.join(prefix, [])
    try:
        return {name: await _measure(swarm, address, blocks, width) for name, address, blocks in servers}
    finally:
        await swarm.leave()


async def _measure(swarm: Swarm, address: PeerAddress, hosted: range, width: int) -> dict[str, float]:
    await swarm.connect(address, CALL_LIMIT)
    decode: list[tuple[int, float]] = []
    prompts: list[tuple[int, int, float]] = []
    for count in sorted({1, (len(hosted) + 1) // 2, len(hosted)}):
        length = DECODE_REPEATS + 1 + PROMPT_REPEATS * sum(PROMPT_SIZES)
        stream = await swarm.open(address, hosted[-count:], width=width, max_length=length, step_timeout=STEP_LIMIT)
        try:

            async def step(tokens: int, stream: object = stream) -> float:
                hidden = np.linspace(-1, 1, tokens * width, dtype="<f4").tobytes()
                start = time.monotonic()
                await stream.step(hidden, tokens)  # type: ignore[attr-defined]
                return time.monotonic() - start

            await step(1)
            for tokens in PROMPT_SIZES:
                prompts.append((count, tokens, _typical([await step(tokens) for _ in range(PROMPT_REPEATS)])))
            decode.append((count, _typical([await step(1) for _ in range(DECODE_REPEATS)])))
        finally:
            await stream.close()
    return fit(decode, prompts)


def _typical(values: list[float]) -> float:
    """The lower quartile: what else the machine does only ever adds to a time."""
    return sorted(values)[len(values) // 4]
