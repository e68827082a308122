"""ChainServe's wire protocol as a block server speaks it: messages, frames, bounds.

The same bytes as the Swift module ChainWire writes and reads; `tests/frames.json`, which ChainWire's own tests
compare with their encoder, is the proof. One message is one frame: twelve bytes of header (little-endian)

    0  magic      u16
    2  type       u8
    3  reserved   u8    0
    4  length     u32   bytes of the payload
    8  checksum   u32   CRC-32 (zlib) of the eight bytes above and the payload

and then the payload. Nothing here does I/O.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from .messages import (
    FIXED_FIELDS_SIZE as FIXED_FIELDS_SIZE,
    LARGEST_COUNT as LARGEST_COUNT,
    MAXIMUM_CONTROL_SIZE as MAXIMUM_CONTROL_SIZE,
    MAXIMUM_MANIFEST_SIZE as MAXIMUM_MANIFEST_SIZE,
    MAXIMUM_PIECE_SIZE as MAXIMUM_PIECE_SIZE,
    MAXIMUM_SIZE as MAXIMUM_SIZE,
    MAXIMUM_TEXT_SIZE as MAXIMUM_TEXT_SIZE,
    PIECE_SIZE as PIECE_SIZE,
    PROTOCOL_VERSION as PROTOCOL_VERSION,
    VALUE_SIZE as VALUE_SIZE,
    Close as Close,
    Closed as Closed,
    FrameType as FrameType,
    Goodbye as Goodbye,
    GoodbyeCode as GoodbyeCode,
    Health as Health,
    HealthState as HealthState,
    Hello as Hello,
    HelloReply as HelloReply,
    Load as Load,
    Loaded as Loaded,
    LoadProgress as LoadProgress,
    LoadRefused as LoadRefused,
    LoadStage as LoadStage,
    Message as Message,
    Open as Open,
    Opened as Opened,
    OpenRefused as OpenRefused,
    Ping as Ping,
    Pong as Pong,
    RangePiece as RangePiece,
    RangeRequest as RangeRequest,
    Refusal as Refusal,
    RefusalCode as RefusalCode,
    Step as Step,
    StepFailed as StepFailed,
    StepPiece as StepPiece,
    StepResult as StepResult,
    WireError as WireError,
)

MAGIC = 0xC5A7
HEADER_SIZE = 12


def manifest_checksum(manifest: bytes) -> int:
    """Digest of a manifest as a load carries it: FNV-1a, 64 bits."""
    digest = 0xCBF29CE484222325
    for byte in manifest:
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return digest


def maximum_payload_size(frame_type: FrameType) -> int:
    if frame_type in (FrameType.STEP, FrameType.STEP_RESULT, FrameType.RANGE_PIECE):
        return MAXIMUM_PIECE_SIZE + FIXED_FIELDS_SIZE
    if frame_type is FrameType.LOAD:
        return MAXIMUM_MANIFEST_SIZE + FIXED_FIELDS_SIZE
    return MAXIMUM_CONTROL_SIZE


@dataclass(frozen=True)
class Header:
    frame_type: FrameType
    length: int
    checksum: int
    checked: bytes

    @staticmethod
    def read(data: bytes) -> Header:
        """Reads twelve bytes; throws when what follows would not be a frame of ours."""
        magic, type_byte, _, length, checksum = struct.unpack("<HBBII", data)
        if magic != MAGIC:
            raise WireError(f"the peer does not speak ChainServe's protocol: a frame began with {magic}, not {MAGIC}")
        try:
            frame_type = FrameType(type_byte)
        except ValueError:
            raise WireError(f"a frame of unknown type {type_byte} came") from None
        limit = maximum_payload_size(frame_type)
        if length > limit:
            raise WireError(f"a {frame_type.name} frame of {length} bytes came, at most {limit} are allowed")
        return Header(frame_type, length, checksum, bytes(data[:8]))


def decode(header: Header, payload: bytes) -> Message:
    """The message of a frame; `payload` has `header.length` bytes."""
    if zlib.crc32(payload, zlib.crc32(header.checked)) != header.checksum:
        raise WireError(f"a {header.frame_type.name} frame came with a wrong checksum")
    reader = _Reader(header.frame_type, payload)
    message = _decode_payload(reader)
    reader.expect_end()
    return message


def encode(message: Message) -> bytes:
    """The message as a frame."""
    frame_type, payload = _encode_payload(message)
    checked = struct.pack("<HBBI", MAGIC, frame_type, 0, len(payload))
    checksum = zlib.crc32(payload, zlib.crc32(checked))
    return checked + struct.pack("<I", checksum) + payload


# --- Writing ----------------------------------------------------------------------------------------------------


def _count(value: int) -> bytes:
    return struct.pack("<I", max(0, min(value, LARGEST_COUNT)))


def _size(value: int) -> bytes:
    return struct.pack("<Q", max(0, value))


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) > MAXIMUM_TEXT_SIZE:
        data = data[:MAXIMUM_TEXT_SIZE].decode(errors="ignore").encode()
    return struct.pack("<H", len(data)) + data


def _refusal(value: Refusal) -> bytes:
    return struct.pack("<H", value.code) + _text(value.text)


def _health(value: Health) -> bytes:
    return struct.pack(
        "<BIIIIQ",
        value.state,
        value.units_used,
        value.units_total,
        value.open_jobs,
        value.queue_depth,
        value.steps_run,
    )


def _piece(value: StepPiece) -> bytes:
    fields = struct.pack("<QQIIQ", value.job, value.step, value.position, value.token_count, value.offset)
    return fields + value.hidden


def _encode_payload(message: Message) -> tuple[FrameType, bytes]:
    match message:
        case Hello():
            return FrameType.HELLO, struct.pack("<H", message.version) + _text(message.name)
        case HelloReply():
            return FrameType.HELLO_REPLY, (
                struct.pack("<H", message.version)
                + _text(message.name)
                + _size(message.memory)
                + struct.pack("<Bi", message.is_emulated, message.process_id)
                + _count(message.step_tokens)
            )
        case Goodbye():
            return FrameType.GOODBYE, struct.pack("<HH", message.version, message.code) + _text(message.text)
        case Ping():
            return FrameType.PING, struct.pack("<Q", message.id)
        case Pong():
            return FrameType.PONG, struct.pack("<Q", message.id) + _health(message.health)
        case Open():
            fields = struct.pack("<QII", message.job, message.first_block, message.block_count)
            return FrameType.OPEN, fields
        case Opened():
            return FrameType.OPENED, struct.pack("<Q", message.job) + _count(message.units_free)
        case OpenRefused():
            return FrameType.OPEN_REFUSED, struct.pack("<Q", message.job) + _refusal(message.refusal)
        case Step():
            return FrameType.STEP, _piece(message.piece)
        case StepResult():
            return FrameType.STEP_RESULT, _piece(message.piece)
        case StepFailed():
            fields = struct.pack("<QQ", message.job, message.step)
            return FrameType.STEP_FAILED, fields + _refusal(message.refusal)
        case Close():
            return FrameType.CLOSE, struct.pack("<Q", message.job)
        case Closed():
            return FrameType.CLOSED, struct.pack("<Q", message.job) + _count(message.units_free)
        case _:
            return _encode_loading(message)


def _encode_loading(message: Message) -> tuple[FrameType, bytes]:
    match message:
        case Load():
            fields = struct.pack(
                "<QIIIQI",
                message.load,
                message.unit_count,
                message.sequence_length,
                message.step_tokens,
                message.compute_size,
                message.threads,
            )
            return FrameType.LOAD, fields + message.manifest
        case LoadProgress():
            fields = struct.pack("<QBQQ", message.load, message.stage, message.bytes_done, message.bytes_total)
            return FrameType.LOAD_PROGRESS, fields
        case Loaded():
            fields = struct.pack(
                "<QIIIIIIQBBQ",
                message.load,
                message.first_block,
                message.block_count,
                message.width,
                message.unit_count,
                message.sequence_length,
                message.step_tokens,
                message.memory_used,
                message.is_emulated,
                message.was_loaded,
                message.checksum,
            )
            return FrameType.LOADED, fields
        case LoadRefused():
            return FrameType.LOAD_REFUSED, struct.pack("<Q", message.load) + _refusal(message.refusal)
        case RangeRequest():
            fields = struct.pack("<QQQ", message.load, message.from_offset, message.byte_count)
            return FrameType.RANGE_REQUEST, fields
        case RangePiece():
            fields = struct.pack("<QQI", message.load, message.offset, message.crc32)
            return FrameType.RANGE_PIECE, fields + message.data
        case _:
            raise TypeError(f"{type(message).__name__} is not a message")


# --- Reading ----------------------------------------------------------------------------------------------------


class _Reader:
    """Reads a payload whose checksum is right but whose content is still not trusted."""

    def __init__(self, frame_type: FrameType, data: bytes) -> None:
        self.frame_type = frame_type
        self._data = data
        self._at = 0

    def malformed(self, what: str) -> WireError:
        return WireError(f"a {self.frame_type.name} frame came malformed: {what}")

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise self.malformed(f"{len(self._data) - self._at} bytes too many")

    def integer(self, layout: str, field: str) -> int:
        size = struct.calcsize(layout)
        if self._at + size > len(self._data):
            raise self.malformed(f"ends before its {field}")
        (value,) = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += size
        return int(value)

    def identifier(self, field: str) -> int:
        return self.integer("Q", field)

    def count(self, field: str) -> int:
        value = self.integer("I", field)
        if value > LARGEST_COUNT:
            raise self.malformed(f"{field} is {value}")
        return value

    def size(self, field: str) -> int:
        value = self.integer("Q", field)
        if value > MAXIMUM_SIZE:
            raise self.malformed(f"{field} is {value}")
        return value

    def flag(self, field: str) -> bool:
        value = self.integer("B", field)
        if value > 1:
            raise self.malformed(f"{field} is {value}")
        return value == 1

    def text(self, field: str) -> str:
        length = self.integer("H", field)
        if length > MAXIMUM_TEXT_SIZE:
            raise self.malformed(f"{field} has {length} bytes")
        if self._at + length > len(self._data):
            raise self.malformed(f"ends before its {field}")
        data = self._data[self._at : self._at + length]
        self._at += length
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self.malformed(f"{field} is not UTF-8") from None

    def rest(self) -> bytes:
        data = self._data[self._at :]
        self._at = len(self._data)
        return data

    def refusal(self) -> Refusal:
        code = self.integer("H", "code")
        known = RefusalCode(code) if code in RefusalCode._value2member_map_ else RefusalCode.OTHER
        return Refusal(known, self.text("text"))

    def piece(self) -> StepPiece:
        piece = StepPiece(
            job=self.identifier("job"),
            step=self.identifier("step"),
            position=self.count("position"),
            token_count=self.count("token count"),
            offset=self.size("offset"),
            hidden=self.rest(),
        )
        if len(piece.hidden) == 0 or len(piece.hidden) % VALUE_SIZE != 0:
            raise self.malformed(f"{len(piece.hidden)} bytes are not whole values")
        if piece.offset % VALUE_SIZE != 0:
            raise self.malformed(f"offset {piece.offset} is not at a whole value")
        if piece.token_count == 0:
            raise self.malformed("no tokens")
        return piece


def _decode_payload(reader: _Reader) -> Message:
    match reader.frame_type:
        case FrameType.HELLO:
            version = reader.integer("H", "version")
            if version != PROTOCOL_VERSION:
                reader.rest()
                return Hello(name="", version=version)
            return Hello(name=reader.text("name"), version=version)
        case FrameType.HELLO_REPLY:
            version = reader.integer("H", "version")
            if version != PROTOCOL_VERSION:
                reader.rest()
                return HelloReply("", 0, False, 0, 0, version=version)
            return HelloReply(
                version=version,
                name=reader.text("name"),
                memory=reader.size("memory"),
                is_emulated=reader.flag("emulated"),
                process_id=reader.integer("i", "process id"),
                step_tokens=reader.count("step tokens"),
            )
        case FrameType.GOODBYE:
            version = reader.integer("H", "version")
            code = reader.integer("H", "code")
            known = GoodbyeCode(code) if code in GoodbyeCode._value2member_map_ else GoodbyeCode.OTHER
            return Goodbye(known, reader.text("text"), version=version)
        case FrameType.PING:
            return Ping(reader.identifier("id"))
        case FrameType.PONG:
            return Pong(reader.identifier("id"), _decode_health(reader))
        case FrameType.OPEN:
            return Open(reader.identifier("job"), reader.count("first block"), reader.count("block count"))
        case FrameType.OPENED:
            return Opened(reader.identifier("job"), reader.count("units free"))
        case FrameType.OPEN_REFUSED:
            return OpenRefused(reader.identifier("job"), reader.refusal())
        case FrameType.STEP:
            return Step(reader.piece())
        case FrameType.STEP_RESULT:
            return StepResult(reader.piece())
        case FrameType.STEP_FAILED:
            return StepFailed(reader.identifier("job"), reader.identifier("step"), reader.refusal())
        case FrameType.CLOSE:
            return Close(reader.identifier("job"))
        case FrameType.CLOSED:
            return Closed(reader.identifier("job"), reader.count("units free"))
        case _:
            return _decode_loading(reader)


def _decode_health(reader: _Reader) -> Health:
    state = reader.integer("B", "state")
    if state not in HealthState._value2member_map_:
        raise reader.malformed(f"state {state}")
    return Health(
        HealthState(state),
        units_used=reader.count("units used"),
        units_total=reader.count("units total"),
        open_jobs=reader.count("open jobs"),
        queue_depth=reader.count("queue depth"),
        steps_run=reader.identifier("steps run"),
    )


def _decode_loading(reader: _Reader) -> Message:
    match reader.frame_type:
        case FrameType.LOAD:
            return Load(
                load=reader.identifier("load"),
                unit_count=reader.count("unit count"),
                sequence_length=reader.count("sequence length"),
                step_tokens=reader.count("step tokens"),
                compute_size=reader.size("compute size"),
                threads=reader.count("threads"),
                manifest=reader.rest(),
            )
        case FrameType.LOAD_PROGRESS:
            load = reader.identifier("load")
            stage = reader.integer("B", "stage")
            if stage not in LoadStage._value2member_map_:
                raise reader.malformed(f"stage {stage}")
            return LoadProgress(load, LoadStage(stage), reader.size("bytes done"), reader.size("bytes total"))
        case FrameType.LOADED:
            return Loaded(
                load=reader.identifier("load"),
                first_block=reader.count("first block"),
                block_count=reader.count("block count"),
                width=reader.count("width"),
                unit_count=reader.count("unit count"),
                sequence_length=reader.count("sequence length"),
                step_tokens=reader.count("step tokens"),
                memory_used=reader.size("memory used"),
                is_emulated=reader.flag("emulated"),
                was_loaded=reader.flag("was loaded"),
                checksum=reader.identifier("checksum"),
            )
        case FrameType.LOAD_REFUSED:
            return LoadRefused(reader.identifier("load"), reader.refusal())
        case FrameType.RANGE_REQUEST:
            return RangeRequest(reader.identifier("load"), reader.size("offset"), reader.size("byte count"))
        case _:
            return RangePiece(
                reader.identifier("load"), reader.size("offset"), reader.integer("I", "crc"), reader.rest()
            )
