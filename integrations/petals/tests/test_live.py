"""The live experiment's parts that need no servers: devices, delays, relay, accounting, and what is read."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from chainserve_petals.live import stock
from chainserve_petals.live.delays import DelayLine, FrameSplitter, StepWatch
from chainserve_petals.live.devices import Device, HoldCount, append_hold_count, read_hold_counts
from chainserve_petals.live.load import Record, Service, parse_answer, prompt
from chainserve_petals.live.profile import fit
from chainserve_petals.live.relay import Relay, Route
from chainserve_petals.live.spec import SpecError, parse_spec, read_spec
from chainserve_petals.live.usage import TICK, parse_machine, parse_process
from chainserve_petals.process import free_port
from chainserve_petals.wire import Close, FrameType, Open, Ping, Step, StepPiece, StepResult, WireError, encode

DEVICE = Device(block_time=0.02, prompt_share=0.1)


def test_a_step_takes_its_blocks_and_tokens() -> None:
    assert DEVICE.step_time(3, 1) == pytest.approx(0.06)
    assert DEVICE.step_time(3, 11) == pytest.approx(0.12)
    # Reserving caches is no computation.
    assert DEVICE.step_time(3, 0) == 0


def test_rates_are_those_that_petals_would_measure() -> None:
    rates = DEVICE.rates(blocks=9, width=576)
    assert rates["inference_rps"] == pytest.approx(50)
    # 1,024 tokens take 0.02·(1 + 0.1·1023) s in a block.
    assert rates["forward_rps"] == pytest.approx(1024 / 2.066)
    assert rates["throughput"] == pytest.approx(rates["forward_rps"] / 5)
    assert DEVICE.rates(blocks=1, width=10**6)["throughput"] == pytest.approx(6.25)


def test_bytes_arrive_late_and_in_order() -> None:
    line = DelayLine(0.5)
    line.put(b"one", 10.0)
    line.put(b"two", 10.0)
    line.put(b"three", 10.2)
    assert line.size == 11 and line.next_due == 10.5
    assert line.take(10.49) == b""
    assert line.take(10.5) == b"onetwo"
    assert line.next_due == 10.7 and line.size == 5
    assert line.take(11.0) == b"three" and line.next_due is None


def test_what_is_held_is_overtaken() -> None:
    line = DelayLine(0.1)
    line.put(b"held", 1.0, held_until=2.0)
    line.put(b"free", 1.5)
    assert line.take(1.6) == b"free"
    assert line.take(2.0) == b""
    assert line.take(2.1) == b"held"


def test_frames_are_cut_wherever_the_bytes_are() -> None:
    frames = [encode(Ping(7)), encode(Open(1, 5, 10)), encode(Close(1))]
    splitter = FrameSplitter()
    found: list[tuple[FrameType, bytes]] = []
    for byte in b"".join(frames):
        found += splitter.feed(bytes([byte]))
    assert found == list(zip((FrameType.PING, FrameType.OPEN, FrameType.CLOSE), frames, strict=True))
    with pytest.raises(WireError):
        FrameSplitter().feed(b"GET / HTTP/1.1\r\n")


def piece(job: int, step: int, tokens: int, offset: int = 0) -> StepPiece:
    return StepPiece(job=job, step=step, position=0, token_count=tokens, offset=offset, hidden=b"\0" * 8)


def test_a_step_is_held_until_the_device_is_done() -> None:
    watch = StepWatch(DEVICE)
    watch.request(FrameType.OPEN, encode(Open(job=4, first_block=11, block_count=5)), 1.0)
    watch.request(FrameType.STEP, encode(Step(piece(4, 1, 11))), 2.0)
    watch.request(FrameType.STEP, encode(Step(piece(4, 1, 11, offset=8))), 2.5)
    # 5 blocks, 11 tokens: 0.2 s from the last piece on.
    assert watch.answer(FrameType.STEP_RESULT, encode(StepResult(piece(4, 1, 11))), 2.6) == pytest.approx(2.7)
    assert watch.answer(FrameType.STEP_RESULT, encode(StepResult(piece(4, 1, 11, offset=8))), 2.6) > 2.6
    assert watch.answer(FrameType.PONG, b"", 2.6) == 0
    assert watch.holds.steps == 1 and watch.holds.late == 0
    watch.request(FrameType.STEP, encode(Step(piece(4, 2, 1))), 3.0)
    assert watch.answer(FrameType.STEP_RESULT, encode(StepResult(piece(4, 2, 1))), 3.5) == pytest.approx(3.1)
    assert watch.holds.late == 1 and watch.holds.late_seconds == pytest.approx(0.4)
    watch.request(FrameType.CLOSE, encode(Close(4)), 4.0)
    assert watch.answer(FrameType.STEP_RESULT, encode(StepResult(piece(4, 2, 1))), 4.0) == 0


def test_hold_counts_add_up(tmp_path: Path) -> None:
    path = tmp_path / "holds"
    assert read_hold_counts(path, 0) == (HoldCount(), 0)
    append_hold_count(path, HoldCount(5, 1, 0.25))
    append_hold_count(path, HoldCount(3, 0, 0.0))
    total, end = read_hold_counts(path, 0)
    assert total == HoldCount(8, 1, 0.25)
    append_hold_count(path, HoldCount(1, 1, 1.0))
    assert read_hold_counts(path, end)[0] == HoldCount(1, 1, 1.0)


def test_the_relay_delays_both_ways() -> None:
    async def run() -> tuple[float, dict[str, float]]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 16):
                writer.write(data)
            writer.close()

        target = await asyncio.start_server(echo, "127.0.0.1", 0)
        listen = free_port("127.0.0.1")
        relay = Relay([Route(listen, target.sockets[0].getsockname()[1], 0.1, None)])
        await relay.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", listen)
        loop = asyncio.get_running_loop()
        start = loop.time()
        sent = bytes(range(256)) * 2000
        writer.write(sent)
        received = await reader.readexactly(len(sent))
        taken = loop.time() - start
        assert received == sent
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await relay.stop()
        target.close()
        return taken, relay.counts()

    taken, counts = asyncio.run(asyncio.wait_for(run(), 20))
    assert taken >= 0.2
    assert counts["bytes"] == 2 * 512000


def test_answers_are_read() -> None:
    body = json.dumps({"a": "b" * 40}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    assert parse_answer(head + b"\r\n" + body) == (200, {"a": "b" * 40})
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    assert parse_answer(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks) == (200, {"a": "b" * 40})
    with pytest.raises(ValueError):
        parse_answer(b"")


def test_a_failed_request_is_a_record_with_its_reason() -> None:
    async def run(service: Service) -> list[str]:
        return [record.error for record in await service.run([(0.0, 4, 2), (0.05, 4, 2)])]

    nobody = Service("127.0.0.1", free_port("127.0.0.1"), "m", 5)
    errors = asyncio.run(run(nobody))
    assert len(errors) == 2 and all("Connect" in error for error in errors)


def test_a_stock_request_that_takes_too_long_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are served, and nobody waits for it."""
    lengths = {0: 0.01, 1: 30.0, 2: 0.01}

    def serve(_: object, request: tuple[float, int, int], number: int, start: float, __: int) -> Record:
        time.sleep(lengths[number])
        return Record(arrival=request[0], sent=request[0], end=time.monotonic() - start, tokens=request[2])

    monkeypatch.setattr(stock, "serve", serve)
    begun = time.monotonic()
    records = stock.run(None, [(0.0, 4, 2), (0.1, 4, 2), (0.2, 4, 2)], 16, limit=0.5)
    assert time.monotonic() - begun < 10
    assert [record.tokens for record in records] == [2, 0, 2]
    assert [bool(record.error) for record in records] == [False, True, False]
    assert records[1].end == pytest.approx(0.6)


def test_prompts_differ_between_requests() -> None:
    assert len(prompt(1, 9)) == 9 and prompt(1, 9) != prompt(2, 9)
    assert all(0 <= token < 49152 for token in prompt(123456, 128))


def test_processor_time_is_read() -> None:
    stat = "77 (a) name (b) S 1 70 70 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 5 6 7"
    session, seconds = parse_process(stat)
    assert session == 70 and seconds == pytest.approx(200 * TICK)
    busy, total = parse_machine("cpu  10 20 30 400 50 1 2 3 99 99\ncpu0 1 1 1 1\n")
    assert busy == pytest.approx(66 * TICK) and total == pytest.approx(516 * TICK)


def test_the_fit_finds_what_it_was_made_of() -> None:
    decode = [(m, 0.03 + 0.022 * m) for m in (1, 5, 10)]
    prompts = [(m, n, 0.04 + 0.025 * m + 0.001 * m * (n - 1)) for m in (1, 5, 10) for n in (4, 16, 40)]
    found = fit(decode, prompts)
    expected = {"step": 0.03, "step_block": 0.022, "prompt": 0.04, "prompt_block": 0.025, "prompt_block_token": 0.001}
    assert found == {name: pytest.approx(value) for name, value in expected.items()}


def test_wrong_specifications_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_spec(tmp_path / "absent.json")
    (tmp_path / "spec.json").write_text("[]")
    with pytest.raises(SpecError, match="is not an experiment"):
        read_spec(tmp_path / "spec.json")
    content = {"servers": [], "runs": [], "systems": [{"name": "x", "kind": "odd", "hosts": []}]}
    with pytest.raises(SpecError, match="unknown kind odd"):
        parse_spec(content)
    content = {"servers": [], "systems": [], "runs": [{"id": "a", "system": "x", "requests": []}]}
    with pytest.raises(SpecError, match="unknown system x"):
        parse_spec(content)
