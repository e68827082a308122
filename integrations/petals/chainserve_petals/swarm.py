"""PETALS' wire, spoken directly: sessions pinned to one server and to the blocks asked for, and no client of its own.

PETALS' own client chooses servers, retries and repairs by itself; here all of that is the orchestrator's. What is left
is small: hivemind's peer-to-peer daemon, one call (`rpc_info`) and one stream (`rpc_inference`). The requests of a
stream name blocks one by one, so any part of what a server hosts can be asked for, and one job may use a server twice.

A first request of zero tokens makes a server reserve the session's cache and answer at once; without an `alloc_timeout`
it refuses immediately when there is no room. That is how an open is exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import Any

import hivemind  # noqa: F401  (its submodules need it first)
import numpy as np
import torch
from hivemind.compression import deserialize_torch_tensor, serialize_torch_tensor
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.control import P2PDaemonError
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure, P2PHandlerError
from hivemind.proto import runtime_pb2
from hivemind.utils.multiaddr import Multiaddr
from hivemind.utils.serializer import MSGPackSerializer

from .backend import Refused, ServerLost
from .wire import VALUE_SIZE, RefusalCode

HANDLER = "TransformerConnectionHandler"
# What a PETALS server's messages say of an error, and what that means to an orchestrator.
REFUSALS = {
    "Could not allocate": RefusalCode.CACHE_FULL,
    "does not serve": RefusalCode.BLOCKS_NOT_HOSTED,
    "Cannot allocate KV cache": RefusalCode.SEQUENCE_TOO_LONG,
    "Maximum length exceeded": RefusalCode.SEQUENCE_TOO_LONG,
}
_NOTHING = torch.empty(0)
_NO_HYPOTHESES = torch.empty(0, dtype=torch.int64)


def refusal(text: str) -> Refused:
    """What a server's error message is to an orchestrator."""
    for part, code in REFUSALS.items():
        if part in text:
            return Refused(code, f"the PETALS server refused: {text.strip()}")
    return Refused(RefusalCode.ENGINE, f"the PETALS server failed: {text.strip() or 'no reason given'}")


@dataclass(frozen=True)
class PeerAddress:
    """A PETALS server: its peer, and where it listens when that is known."""

    peer: str
    transport: str | None = None

    @staticmethod
    def read(text: str) -> PeerAddress:
        """Reads `/ip4/10.0.0.7/tcp/31337/p2p/Qm…`, or the peer alone."""
        transport, separator, peer = text.rpartition("/p2p/")
        peer = peer if separator else text
        try:
            PeerID.from_base58(peer)
        except Exception:
            raise ValueError(
                f"'{text}' is no PETALS server: give the address that it prints when it starts, such as"
                " /ip4/10.0.0.7/tcp/31337/p2p/Qm…"
            ) from None
        return PeerAddress(peer, transport or None)

    @property
    def place(self) -> tuple[str, int] | None:
        """Host and port, where the transport is plain TCP."""
        match (self.transport or "").split("/"):
            case ["", "ip4" | "ip6" | "dns" | "dns4" | "dns6", host, "tcp", port] if port.isdigit():
                return host, int(port)
            case _:
                return None


@dataclass(frozen=True)
class ServerFacts:
    """What a server says about itself."""

    version: str
    free_tokens: int
    """Tokens of one block for which cache is free."""
    width: int
    dtype: str


class Swarm:
    """This process's place in the peer-to-peer network."""

    def __init__(self, p2p: P2P, prefix: str) -> None:
        self._p2p = p2p
        self._prefix = prefix

    @staticmethod
    async def join(prefix: str, initial_peers: list[str]) -> Swarm:
        """Joins as a client: it listens to nobody and announces nothing."""
        p2p = await P2P.create(
            initial_peers=initial_peers or None,
            host_maddrs=None,
            no_listen=True,
            dht_mode="client",
            auto_nat=False,
            nat_port_map=False,
            use_relay=bool(initial_peers),
            startup_timeout=60,
        )
        return Swarm(p2p, prefix)

    async def leave(self) -> None:
        await self._p2p.shutdown()

    def uid(self, block: int) -> str:
        """PETALS' name of a block, counted from 1 here and from 0 there."""
        return f"{self._prefix}.{block - 1}"

    async def connect(self, address: PeerAddress, timeout: float) -> None:
        """Throws `ServerLost` when the server cannot be reached.

        libp2p does not dial again for a while after a failure, longer each time and up to minutes. So a server that may
        not listen yet is first tried with a plain connection, which has no such memory.
        """
        await self._try(address, timeout)
        known = [Multiaddr(address.transport)] if address.transport else []
        try:
            async with asyncio.timeout(timeout):
                await self._p2p._client.connect(PeerID.from_base58(address.peer), known)
        except (ControlFailure, P2PDaemonError, OSError, TimeoutError, EOFError) as error:
            raise ServerLost(f"the PETALS server {address.peer} cannot be reached: {error!r}") from None

    @staticmethod
    async def _try(address: PeerAddress, timeout: float) -> None:
        place = address.place
        if place is None:
            return
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(*place)
            writer.close()
        except (OSError, TimeoutError) as error:
            raise ServerLost(f"nobody listens at {address.transport}: {error!r}") from None

    async def facts(self, address: PeerAddress, block: int, timeout: float) -> ServerFacts:
        """Asks a server about a block. Throws `ServerLost`, and `Refused` when it does not host the block."""
        try:
            async with asyncio.timeout(timeout):
                answer = await self._p2p._call_unary_protobuf_handler(
                    PeerID.from_base58(address.peer),
                    f"{HANDLER}.rpc_info",
                    runtime_pb2.ExpertUID(uid=self.uid(block)),
                    runtime_pb2.ExpertInfo,
                )
        except P2PHandlerError as error:
            if "KeyError" in str(error):
                raise Refused(
                    RefusalCode.BLOCKS_NOT_HOSTED,
                    f"the PETALS server {address.peer} does not host block {block} as {self.uid(block)}",
                ) from None
            raise ServerLost(f"the PETALS server {address.peer} does not answer: {error}") from None
        except (ControlFailure, P2PDaemonError, OSError, TimeoutError, EOFError) as error:
            raise ServerLost(f"the PETALS server {address.peer} does not answer: {error!r}") from None
        info: dict[str, Any] = MSGPackSerializer.loads(answer.serialized_info)
        hidden = info["inference_schema"][0][0]
        return ServerFacts(
            version=str(info.get("version")),
            free_tokens=int(info["cache_tokens_available"]),
            width=int(hidden.size[-1]),
            dtype=str(hidden.dtype).removeprefix("torch."),
        )

    async def open(
        self,
        address: PeerAddress,
        blocks: range,
        *,
        width: int,
        max_length: int,
        step_timeout: float,
    ) -> PetalsStream:
        """Opens a session for these blocks, its cache reserved. Throws `Refused` or `ServerLost`."""
        try:
            async with asyncio.timeout(step_timeout):
                _, reader, writer = await self._p2p.call_binary_stream_handler(
                    PeerID.from_base58(address.peer), f"{HANDLER}.rpc_inference"
                )
        except (ControlFailure, P2PDaemonError, OSError, TimeoutError, EOFError) as error:
            raise ServerLost(f"the PETALS server {address.peer} cannot be reached: {error!r}") from None
        uid = " ".join(self.uid(block) for block in blocks)
        stream = PetalsStream(address.peer, reader, writer, uid, width, step_timeout)
        try:
            await stream.reserve(max_length)
        except BaseException:
            await stream.close()
            raise
        return stream


class PetalsStream:
    """One job's session on one server."""

    _step_ids = itertools.count()

    def __init__(
        self,
        peer: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        uid: str,
        width: int,
        step_timeout: float,
    ) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._uid = uid
        self._width = width
        self._step_timeout = step_timeout
        self._is_computing = False
        self._has_ended = False

    async def reserve(self, max_length: int) -> None:
        """The first request: no tokens, only the cache."""
        empty = torch.empty((1, 0, self._width), dtype=torch.float32)
        await self._exchange(empty, {"max_length": max_length})

    async def step(self, hidden: bytes, token_count: int) -> bytes:
        """Carries hidden states through the blocks. Throws `Refused` or `ServerLost`."""
        values = torch.frombuffer(bytearray(hidden), dtype=torch.float32)
        result = await self._exchange(values.reshape(1, token_count, self._width), {})
        array = result.to(torch.float32).contiguous().numpy().astype("<f4", copy=False)
        if array.size * VALUE_SIZE != len(hidden):
            raise Refused(RefusalCode.WRONG_SHAPE, f"the PETALS server returned {tuple(array.shape)}")
        return bytes(np.ascontiguousarray(array).tobytes())

    async def _exchange(self, hidden: torch.Tensor, metadata: dict[str, Any]) -> torch.Tensor:
        request = runtime_pb2.ExpertRequest(
            uid=self._uid,
            tensors=[serialize_torch_tensor(tensor) for tensor in (hidden, _NOTHING, _NO_HYPOTHESES)],
            metadata=MSGPackSerializer.dumps({"step_id": str(next(self._step_ids)), **metadata}),
        )
        self._is_computing = True
        try:
            async with asyncio.timeout(self._step_timeout):
                await P2P.send_protobuf(request, self._writer)
                response, error = await P2P.receive_protobuf(runtime_pb2.ExpertResponse, self._reader)
        except TimeoutError:
            raise ServerLost(
                f"the PETALS server {self._peer} did not answer a step within {self._step_timeout:g} s"
            ) from None
        except (OSError, EOFError) as failure:  # an incomplete read is an EOFError
            self._has_ended = True
            raise SessionEnded(f"the session on the PETALS server {self._peer} ended: {failure!r}") from None
        self._is_computing = False
        if error is not None:
            self._has_ended = True
            raise refusal(error.message)
        result: torch.Tensor = deserialize_torch_tensor(response.tensors[0])
        return result

    async def close(self) -> None:
        """Ends the session, and waits, briefly, until the server has given its cache back.

        A request of no tensors is PETALS' end of a session. In the middle of a step the stream is cut instead: the
        server notices, stops waiting for its own computation and frees the cache.
        """
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            if not self._has_ended and not self._is_computing:
                async with asyncio.timeout(1.0):
                    await P2P.send_protobuf(runtime_pb2.ExpertRequest(), self._writer)
                    await self._reader.read()
        self._has_ended = True
        self._writer.close()


class SessionEnded(ServerLost):
    """A stream ended: the server is gone, or only the session. Whoever knows more decides."""
