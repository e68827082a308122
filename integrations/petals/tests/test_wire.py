"""The codec against frames that ChainServe's Swift encoder made."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

from chainserve_petals import wire

FRAMES: dict[str, str] = json.loads((Path(__file__).parent / "frames.json").read_text())["frames"]

# What the frames say, as `Tests/ChainWireTests/GoldenFramesTests.swift` has it.
PIECE = wire.StepPiece(job=1, step=2, position=600, token_count=512, offset=0, hidden=bytes(range(24)))
HEALTH = wire.Health(
    wire.HealthState.READY, units_used=39, units_total=40, open_jobs=4, queue_depth=3, steps_run=1 << 60
)
EXPECTED: dict[str, wire.Message] = {
    "hello": wire.Hello("orchestrator"),
    "helloReply": wire.HelloReply("päris-1", 1 << 50, True, -1, 512),
    "goodbye": wire.Goodbye(wire.GoodbyeCode.DRAINING, "finishing 3 jobs"),
    "goodbyeOfAnotherVersion": wire.Goodbye(wire.GoodbyeCode.OTHER, "", version=9),
    "ping": wire.Ping((1 << 64) - 1),
    "pong": wire.Pong(7, HEALTH),
    "load": wire.Load(3, wire.LARGEST_COUNT, 2048, 512, 1, 0, b'{"modelName":"x"}'),
    "loadProgress": wire.LoadProgress(3, wire.LoadStage.RECEIVING, 5, 1 << 40),
    "loaded": wire.Loaded(3, 1, 10, 576, 40, 2048, 512, 123_456_789, False, True, 0x0123456789ABCDEF),
    "loadRefused": wire.LoadRefused(3, wire.Refusal(wire.RefusalCode.MEMORY_TOO_SMALL, "24484 bytes declared")),
    "rangeRequest": wire.RangeRequest(3, 1 << 33, 4 << 20),
    "rangePiece": wire.RangePiece(3, 1 << 33, (1 << 32) - 1, bytes([0xAB] * 9)),
    "open": wire.Open(1, 11, 20),
    "opened": wire.Opened(1, 0),
    "openRefused": wire.OpenRefused(1, wire.Refusal(wire.RefusalCode.CACHE_FULL, "none free")),
    "step": wire.Step(PIECE),
    "stepResult": wire.StepResult(PIECE),
    "stepFailed": wire.StepFailed(1, 2, wire.Refusal(wire.RefusalCode.NOT_FINITE, "job 1: not finite")),
    "close": wire.Close((1 << 64) - 1),
    "closed": wire.Closed((1 << 64) - 1, 40),
}


def decode(frame: bytes) -> wire.Message:
    header = wire.Header.read(frame[: wire.HEADER_SIZE])
    assert header.length == len(frame) - wire.HEADER_SIZE
    return wire.decode(header, frame[wire.HEADER_SIZE :])


def test_every_frame_is_known() -> None:
    assert set(FRAMES) == set(EXPECTED)
    types = {bytes.fromhex(frame)[2] for frame in FRAMES.values()}
    assert types == {int(frame_type) for frame_type in wire.FrameType}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_swift_frames(name: str) -> None:
    frame = bytes.fromhex(FRAMES[name])
    assert wire.encode(EXPECTED[name]) == frame
    assert decode(frame) == EXPECTED[name]


def test_layout_by_hand() -> None:
    assert wire.encode(wire.Ping(5)).hex() == "a7c5040008000000" + "65e73bba" + "0500000000000000"


def test_hello_of_another_version_is_read_no_further() -> None:
    payload = struct.pack("<H", 9) + b"whatever else it has"
    checked = struct.pack("<HBBI", wire.MAGIC, wire.FrameType.HELLO, 0, len(payload))
    frame = checked + struct.pack("<I", zlib.crc32(payload, zlib.crc32(checked))) + payload
    assert decode(frame) == wire.Hello("", version=9)


def damaged(name: str, at: int, value: int) -> bytes:
    frame = bytearray(bytes.fromhex(FRAMES[name]))
    frame[at] = value
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (damaged("ping", 0, 0), "does not speak"),
        (damaged("ping", 2, 99), "unknown type 99"),
        (damaged("ping", 15, 1), "wrong checksum"),
        (damaged("ping", 7, 1), "at most"),
    ],
)
def test_damaged_frames(frame: bytes, what: str) -> None:
    with pytest.raises(wire.WireError, match=what):
        header = wire.Header.read(frame[: wire.HEADER_SIZE])
        wire.decode(header, frame[wire.HEADER_SIZE :])


def framed(frame_type: wire.FrameType, payload: bytes) -> bytes:
    checked = struct.pack("<HBBI", wire.MAGIC, frame_type, 0, len(payload))
    return checked + struct.pack("<I", zlib.crc32(payload, zlib.crc32(checked))) + payload


@pytest.mark.parametrize(
    ("frame_type", "payload", "what"),
    [
        (wire.FrameType.OPEN, bytes(15), "ends before its block count"),
        (wire.FrameType.OPEN, bytes(17), "1 bytes too many"),
        (wire.FrameType.OPEN, bytes(8) + b"\xff" * 8, "first block is"),
        (wire.FrameType.STEP, struct.pack("<QQIIQ", 1, 2, 0, 1, 0), "0 bytes are not whole values"),
        (wire.FrameType.STEP, struct.pack("<QQIIQ", 1, 2, 0, 1, 0) + b"123", "3 bytes are not whole"),
        (wire.FrameType.STEP, struct.pack("<QQIIQ", 1, 2, 0, 1, 2) + b"1234", "offset 2"),
        (wire.FrameType.STEP, struct.pack("<QQIIQ", 1, 2, 0, 0, 0) + b"1234", "no tokens"),
        (wire.FrameType.HELLO, struct.pack("<HH", wire.PROTOCOL_VERSION, 5) + b"abc", "ends before its name"),
        (wire.FrameType.HELLO, struct.pack("<HH", wire.PROTOCOL_VERSION, 2) + b"\xff\xfe", "not UTF-8"),
        (wire.FrameType.LOAD_PROGRESS, struct.pack("<QBQQ", 1, 9, 0, 0), "stage 9"),
    ],
)
def test_malformed_payloads(frame_type: wire.FrameType, payload: bytes, what: str) -> None:
    with pytest.raises(wire.WireError, match=what):
        decode(framed(frame_type, payload))


def test_long_texts_are_cut_at_a_character() -> None:
    message = decode(wire.encode(wire.Goodbye(wire.GoodbyeCode.OTHER, "ä" * 5000)))
    assert isinstance(message, wire.Goodbye)
    assert message.text == "ä" * (wire.MAXIMUM_TEXT_SIZE // 2)
