"""Pickled weights, read without running anything that the file asks for.

A pickle is a little program that may call any function of any module. Weights need a dozen of them:
those that NumPy, PyTorch and Python's own containers pickle themselves with. They are replaced by
functions of this file, which check what they are given; every other name is refused.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

PLAIN_TYPE = re.compile(r"[|<>=]?[biufcSU]\d+")  # numbers, truth values and text, by NumPy's codes
LONGEST_NAME = 100  # characters that an error repeats of what a file calls


class Refused(pickle.UnpicklingError):
    """The file wants something that weights do not need; the text is its name."""


class _Function:
    """A function that a pickle may call and do nothing else with."""

    def __init__(self, call: Callable) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise Refused("a change of a function")


class _Type:
    """NumPy's dtype while it is unpickled: a name, then a state with the order of the bytes."""

    def __init__(self, code: object, *flags: object) -> None:
        if not isinstance(code, str) or not PLAIN_TYPE.fullmatch(code):
            raise Refused(f"a NumPy array of {str(code)[:LONGEST_NAME]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that checks the type that it is to get: NumPy trusts it."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        super().__setstate__((1, shape, _dtype_of(kind), fortran, _bytes_of(data)))


def _dtype_of(kind: object) -> np.dtype:
    if type(kind) is not _Type:
        raise Refused(f"an array of {type(kind).__name__}")
    return kind.dtype


def _bytes_of(data: object) -> bytes:
    """A copy, so that no array shares the memory of another; Python 2's strings are bytes."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise Refused(f"a NumPy array made of {type(data).__name__}")
    return bytes(data)


def _new_array(*ignored: object) -> _Array:
    """``_reconstruct``: what it makes is filled by ``__setstate__``."""
    return _Array(0, np.int8)


def _array_from_buffer(data: object, kind: object, shape: tuple, order: str) -> np.ndarray:
    flat = np.frombuffer(_bytes_of(data), _dtype_of(kind))
    return flat.reshape(shape, order=order).copy(order="K")


def _scalar(kind: object, data: object) -> np.generic:
    return np.frombuffer(_bytes_of(data), _dtype_of(kind), count=1)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """``_codecs.encode``, with which Python 3 writes bytes for Python 2."""
    if encoding not in ("latin1", "utf-8"):
        raise Refused(f"the encoding {str(encoding)[:LONGEST_NAME]!r}")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """``bytes()``; with a number it would take so much memory."""
    return b""


def _storage(data: object) -> torch.TypedStorage:
    """A tensor's memory, as ``torch.save`` wrote it in the older of its forms."""
    if not isinstance(data, bytes) or data.startswith(b"PK"):
        raise Refused("a tensor's memory in an unknown form")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: object, offset: int, size: tuple, stride: tuple, *ignored: object) -> Tensor:
    if not isinstance(storage, torch.TypedStorage):
        raise Refused(f"a tensor in {type(storage).__name__}")
    whole = torch.empty(0, dtype=storage.dtype).set_(storage)
    return whole.as_strided(size, stride, offset)  # PyTorch refuses what lies outside


def _parameter(data: Tensor, *ignored: object) -> Tensor:
    return data


ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _Function(_encode),
    ("numpy", "ndarray"): _Function(_new_array),
    ("numpy", "dtype"): _Function(_Type),
    ("torch.storage", "_load_from_bytes"): _Function(_storage),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
}
for _python in ("builtins", "__builtin__"):  # Python 3 and 2
    ALLOWED |= {(_python, kind.__name__): kind for kind in (set, frozenset, complex)}
    ALLOWED[_python, "bytes"] = _Function(_no_bytes)
for _numpy in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    ALLOWED[f"{_numpy}.multiarray", "_reconstruct"] = _Function(_new_array)
    ALLOWED[f"{_numpy}.multiarray", "scalar"] = _Function(_scalar)
    ALLOWED[f"{_numpy}.numeric", "_frombuffer"] = _Function(_array_from_buffer)


# The one written in Python: the other takes memory for as many memos as a file says that it has.
class WeightsUnpickler(pickle._Unpickler):
    """Arrays, tensors, numbers, text and plain containers, from Python 2 or 3.

    A bare NumPy dtype comes as a stand-in.

    Raises:
        Refused: at any other name, before anything of it is imported or called.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> object:
        try:
            return ALLOWED[module, name]
        except KeyError:
            full = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}")
            raise Refused(full[:LONGEST_NAME]) from None
