# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Messages between the controller and a worker: pickle protocol 5 over a stream socket, tensors out of band.

A tensor's bytes go from its memory into the socket and from the socket into the memory of the new tensor, without a copy
inside pickle. Tensors arrive on CPU, dense, without gradient history, and only the elements of a view are sent.
Frame: `pickle_bytes u64, num_buffers u64, buffer_bytes u64 * num_buffers`, then the pickle, then the buffers.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Buffer = bytes | bytearray | memoryview
Frame = list[Buffer]
"""The pickle, then its out-of-band buffers."""

_U64 = struct.Struct("!Q")
_MAX_IOVEC = 512  # below IOV_MAX (1024 on Linux)


class _Pickler(pickle.Pickler):
    """Pickles plain tensors as (buffer, dtype, shape) instead of through torch's in-band storage bytes."""

    def reducer_override(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None or type(obj) not in (torch.Tensor, torch.nn.Parameter) or obj.layout != torch.strided:
            return NotImplemented
        dense = obj.detach().cpu().contiguous()
        raw = pickle.PickleBuffer(dense.reshape(-1).view(torch.uint8).numpy())
        return _tensor_from_buffer, (raw, dense.dtype, tuple(dense.shape))


def _tensor_from_buffer(raw: Buffer, dtype: Any, shape: tuple[int, ...]) -> Tensor:
    import torch

    if len(raw) == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)


def encode(message: Any) -> Frame:
    """Pickle a message; raises what pickle raises if something in it cannot be sent."""
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(message)
    return [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]


def decode(frame: Frame) -> Any:
    """The message of a frame; its tensors and arrays own the frame's buffers."""
    return pickle.loads(frame[0], buffers=frame[1:])


def send(sock: socket.socket, frame: Frame) -> None:
    """Write a whole frame; raises `OSError` (`TimeoutError` if the socket has a timeout) when the peer is gone."""
    sizes = [len(part) for part in frame]
    header = b"".join(map(_U64.pack, [sizes[0], len(frame) - 1, *sizes[1:]]))
    parts = [memoryview(part) for part in (header, *frame) if len(part)]
    while parts:
        num_sent = sock.sendmsg(parts[:_MAX_IOVEC])
        while parts and num_sent >= len(parts[0]):
            num_sent -= len(parts.pop(0))
        if num_sent:
            parts[0] = parts[0][num_sent:]


def receive(sock: socket.socket) -> Frame:
    """Read a whole frame; raises `EOFError` when the peer closed the connection."""
    num_bytes, num_buffers = (_U64.unpack(receive_exactly(sock, _U64.size))[0] for _ in range(2))
    raw = receive_exactly(sock, _U64.size * num_buffers)
    return [receive_exactly(sock, size) for size in (num_bytes, *(size for (size,) in _U64.iter_unpack(raw)))]


def receive_exactly(sock: socket.socket, num_bytes: int) -> bytearray:
    """Read exactly `num_bytes`; raises `EOFError` when the peer closed the connection before."""
    data = bytearray(num_bytes)
    view = memoryview(data)
    while len(view):
        num_read = sock.recv_into(view)
        if num_read == 0:
            raise EOFError(f"the peer closed the connection with {len(view)} of {num_bytes} bytes missing")
        view = view[num_read:]
    return data
