"""The messages of ChainServe's wire protocol, and the bounds on what they carry.

One message is one frame: see `wire`, which turns them into bytes and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

PROTOCOL_VERSION = 2

# Most payload bytes by kind of frame, and most UTF-8 bytes of a name or reason.
MAXIMUM_PIECE_SIZE = 256 << 10
MAXIMUM_MANIFEST_SIZE = 4 << 20
MAXIMUM_CONTROL_SIZE = 16 << 10
FIXED_FIELDS_SIZE = 64
MAXIMUM_TEXT_SIZE = 2048
# Hidden states are cut into pieces of this many bytes: whole values, and a power of two with their header.
PIECE_SIZE = (128 << 10) - FIXED_FIELDS_SIZE
# Largest size or offset accepted.
MAXIMUM_SIZE = 1 << 56
LARGEST_COUNT = (1 << 31) - 1
VALUE_SIZE = 4


class FrameType(IntEnum):
    HELLO = 1
    HELLO_REPLY = 2
    GOODBYE = 3
    PING = 4
    PONG = 5
    LOAD = 10
    LOAD_PROGRESS = 11
    LOADED = 12
    LOAD_REFUSED = 13
    RANGE_REQUEST = 14
    RANGE_PIECE = 15
    OPEN = 20
    OPENED = 21
    OPEN_REFUSED = 22
    STEP = 23
    STEP_RESULT = 24
    STEP_FAILED = 25
    CLOSE = 26
    CLOSED = 27


class GoodbyeCode(IntEnum):
    OTHER = 0
    SHUTTING_DOWN = 1
    DRAINING = 2
    VERSION_MISMATCH = 3
    SEAT_TAKEN = 4
    PROTOCOL_VIOLATION = 5
    SILENT = 6
    # To a block server: it is to stop and start again.
    RESTART = 7


class RefusalCode(IntEnum):
    OTHER = 0
    NOT_LOADED = 1
    BUSY = 2
    DRAINING = 3
    CACHE_FULL = 4
    BLOCKS_NOT_HOSTED = 5
    JOB_ALREADY_OPEN = 6
    JOB_UNKNOWN = 7
    WRONG_POSITION = 8
    WRONG_SHAPE = 9
    SEQUENCE_TOO_LONG = 10
    STEP_TOO_LARGE = 11
    NOT_FINITE = 12
    OVERLOADED = 13
    MEMORY_TOO_SMALL = 14
    WRONG_MODEL = 15
    BAD_MANIFEST = 16
    BAD_RANGE = 17
    STORAGE = 18
    ENGINE = 19


class HealthState(IntEnum):
    WAITING = 0
    LOADING = 1
    READY = 2
    DRAINING = 3


class LoadStage(IntEnum):
    VERIFYING = 0
    RECEIVING = 1
    BUILDING = 2


class WireError(Exception):
    """Bytes that were not understood. Always ends the connection."""


@dataclass(frozen=True)
class Hello:
    """Introduces an orchestrator. One of another version is read no further than its version."""

    name: str
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class HelloReply:
    """Introduces a block server: its memory in bytes, and the most tokens of a step that it takes."""

    name: str
    memory: int
    is_emulated: bool
    process_id: int
    step_tokens: int
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Goodbye:
    code: GoodbyeCode
    text: str
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Ping:
    id: int


@dataclass(frozen=True)
class Health:
    """What a server says of itself at any moment, even while it computes."""

    state: HealthState = HealthState.WAITING
    units_used: int = 0
    units_total: int = 0
    open_jobs: int = 0
    queue_depth: int = 0
    steps_run: int = 0


@dataclass(frozen=True)
class Pong:
    id: int
    health: Health


@dataclass(frozen=True)
class Refusal:
    """Why something was not done, for programs (`code`) and for people (`text`)."""

    code: RefusalCode
    text: str


@dataclass(frozen=True)
class Load:
    """Tells a server its blocks; `manifest` is JSON."""

    load: int
    unit_count: int
    sequence_length: int
    step_tokens: int
    compute_size: int
    threads: int
    manifest: bytes


@dataclass(frozen=True)
class LoadProgress:
    load: int
    stage: LoadStage
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True)
class Loaded:
    load: int
    first_block: int
    block_count: int
    width: int
    unit_count: int
    sequence_length: int
    step_tokens: int
    memory_used: int
    is_emulated: bool
    was_loaded: bool
    # Digest of the manifest that was loaded (`wire.manifest_checksum`).
    checksum: int


@dataclass(frozen=True)
class LoadRefused:
    load: int
    refusal: Refusal


@dataclass(frozen=True)
class RangeRequest:
    load: int
    from_offset: int
    byte_count: int


@dataclass(frozen=True)
class RangePiece:
    load: int
    offset: int
    crc32: int
    data: bytes


@dataclass(frozen=True)
class Open:
    job: int
    first_block: int
    block_count: int


@dataclass(frozen=True)
class Opened:
    job: int
    units_free: int


@dataclass(frozen=True)
class OpenRefused:
    job: int
    refusal: Refusal


@dataclass(frozen=True)
class StepPiece:
    """Part of the hidden states of a step: row-major `[token_count][width]` float32, the bytes from `offset` on."""

    job: int
    step: int
    position: int
    token_count: int
    offset: int
    hidden: bytes


@dataclass(frozen=True)
class Step:
    piece: StepPiece


@dataclass(frozen=True)
class StepResult:
    piece: StepPiece


@dataclass(frozen=True)
class StepFailed:
    job: int
    step: int
    refusal: Refusal


@dataclass(frozen=True)
class Close:
    job: int


@dataclass(frozen=True)
class Closed:
    job: int
    units_free: int


Message = (
    Hello
    | HelloReply
    | Goodbye
    | Ping
    | Pong
    | Load
    | LoadProgress
    | Loaded
    | LoadRefused
    | RangeRequest
    | RangePiece
    | Open
    | Opened
    | OpenRefused
    | Step
    | StepResult
    | StepFailed
    | Close
    | Closed
)
