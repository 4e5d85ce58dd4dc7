"""Files of weights, read without running anything that the file asks for.

They are told apart by what is in them and not by their suffix. What ``torch.save`` wrote is read as
tensors and plain values. Any other pickle is a little program that may call any function of any
module; weights need a dozen of them, those that NumPy, PyTorch and Python's containers pickle
themselves with. Functions of this file, which check what they are given, take their place; every
other name is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from bestie_d2.errors import InputError

ZIP = b"PK\x03\x04"
PROGRAM = "constants.pkl"  # a zip archive of torch.jit.save has it
CONTENT = "data.pkl"  # that of torch.save: everything but the tensors' memory
HEADS = 3  # pickles before tensors' memory in the older form: version, machine, content
FOREIGN_NAME = re.compile(r"GLOBAL (\S+)|[Uu]nsupported class (\S+)|but got <class '([^']+)'>")
UNPICKLER_ERROR = "WeightsUnpickler error:"
MOMENTUM = "_momentum"  # how Caffe2 ends the names of what its optimizer keeps
COUNTER = "num_batches_tracked"
PLAIN_TYPE = re.compile(r"[|<>=]?[biufcSU]\d+")  # numbers, truth values and text, by NumPy's codes
LONGEST_NAME = 100  # characters that an error repeats of what a file calls


class Refused(pickle.UnpicklingError):
    """The file wants something that weights do not need; the text is its name."""


def read_weights(path: str, *, without_tensors: bool = False) -> object:
    """What a file of weights holds: tensors or arrays in plain containers.

    Args:
        without_tensors: the caller reads no tensor, so a file of ``torch.save`` is only mapped.

    Raises:
        InputError: no such file, no weights, or something beside them, which is named.
    """
    try:
        return _read(path, mapped=without_tensors)
    except FileNotFoundError:
        raise InputError(f"checkpoint {path}: no such file") from None
    except OSError as error:
        raise InputError(f"checkpoint {path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # whatever their readers raise on a damaged file
        raise _unreadable(path, error) from None


def _read(path: str, mapped: bool) -> object:
    load_torch = partial(torch.load, path, map_location="cpu", weights_only=True)
    if path.endswith(".safetensors"):
        return load_torch()
    with open(path, "rb") as file:
        if file.read(len(ZIP)) == ZIP:
            with zipfile.ZipFile(file) as archive:
                if any(name.endswith(f"/{PROGRAM}") for name in archive.namelist()):
                    raise Refused("a TorchScript program")
                # PyTorch writes checksums, and does not look at them.
                if not mapped and (changed := archive.testzip()):
                    raise zipfile.BadZipFile(f"damaged: {changed} does not fit its checksum")
                for name in archive.namelist():
                    if name.endswith(f"/{CONTENT}"):
                        _check_names(archive.open(name))
            return load_torch(mmap=mapped)
        if tarfile.is_tarfile(path):  # PyTorch before 2.6 reads it without any protection
            raise Refused("a tar archive")
        file.seek(0)
        content = WeightsUnpickler(file, encoding="latin1").load()
        if isinstance(content, int) and content == torch.serialization.MAGIC_NUMBER:
            for _ in range(HEADS):
                _check_names(file)
            return load_torch()  # the form before the zip archive: several pickles in a row
    return content


def _check_names(file: IO[bytes]) -> None:
    """Refuse a pickle with a long name, over which PyTorch's search for a message takes hours."""
    for code, value, _ in pickletools.genops(file):
        if code.name == "GLOBAL" and len(str(value)) > LONGEST_NAME:
            raise Refused(str(value)[:LONGEST_NAME])


def _unreadable(path: str, error: Exception) -> InputError:
    """One line for a file that is no weights, without PyTorch's advice to load it unprotected."""
    text = str(error)
    foreign = FOREIGN_NAME.search(text)
    name = text if isinstance(error, Refused) else foreign and next(filter(None, foreign.groups()))
    if name:
        return InputError(
            f"checkpoint {path}: holds {name}, which is no weights: not loaded; where the file "
            "comes from, save the state dict alone: torch.save(model.state_dict(), FILE)"
        )
    lines = text.rpartition(UNPICKLER_ERROR)[2].strip().splitlines()
    told = lines and not isinstance(error, LookupError)  # whose text is a number of a table
    reason = lines[0].strip() if told else "damaged, or of another form"
    return InputError(f"checkpoint {path}: not readable as PyTorch weights ({reason})")


def as_tensors(state: object) -> dict[str, Tensor] | None:
    """A state dict of tensors or arrays, with tensors alone; ``None`` for anything else."""
    if not isinstance(state, Mapping):
        return None
    tensors = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray) and np.can_cast(value.dtype, np.complex128):
            value = torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
        if not isinstance(key, str) or not isinstance(value, Tensor):
            return None
        tensors[key] = value
    return tensors


def of_model_zoo(content: object) -> dict[str, Any] | None:
    """Detectron2's model zoo's files as its checkpointer wants them, or ``None`` for another file.

    They are known by ``__author__``, pycls' by ``model_state``, and Caffe2's, with or without
    ``blobs``, by arrays that have no further folder. Their tensors are matched to the model's by
    the likeness of names.
    """
    if not isinstance(content, Mapping):
        return None
    if "__author__" in content:
        state = as_tensors(content.get("model"))
        return {**content, "model": state} if state else None
    author, left_out = "Caffe2", MOMENTUM
    given = content.get("blobs", content)
    if "model_state" in content:
        author, left_out, given = "pycls", COUNTER, content["model_state"]
    if not isinstance(given, Mapping):
        return None
    given = {k: v for k, v in given.items() if not str(k).endswith(left_out)}
    if author == "Caffe2" and not all(isinstance(value, np.ndarray) for value in given.values()):
        return None
    state = as_tensors(given)
    return {"model": state, "__author__": author, "matching_heuristics": True} if state else None


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

    @classmethod
    def empty(cls, *ignored: object) -> _Array:
        """``_reconstruct``: what it makes is filled by ``__setstate__``."""
        return cls(0, np.int8)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        super().__setstate__((1, shape, _dtype_of(kind), fortran, _bytes_of(data)))


def _dtype_of(kind: object) -> np.dtype:
    if not isinstance(kind, _Type):
        raise Refused(f"an array of {type(kind).__name__}")
    return kind.dtype


def _bytes_of(data: object) -> bytes:
    """A copy, so that no array shares the memory of another; Python 2's strings are bytes."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise Refused(f"a NumPy array made of {type(data).__name__}")
    return bytes(data)


def _array_from_buffer(data: object, kind: object, shape: tuple, order: Any) -> np.ndarray:
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


def _first_argument(data: object, *ignored: object) -> object:
    return data


ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _Function(_encode),
    ("numpy", "ndarray"): _Function(_Array.empty),
    ("numpy", "dtype"): _Function(_Type),
    ("torch.storage", "_load_from_bytes"): _Function(_storage),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_first_argument),
}
for _python in ("builtins", "__builtin__"):  # Python 3 and 2
    ALLOWED |= {(_python, kind.__name__): kind for kind in (set, frozenset, complex)}
    ALLOWED[_python, "bytes"] = _Function(_no_bytes)
for _numpy in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    ALLOWED[f"{_numpy}.multiarray", "_reconstruct"] = _Function(_Array.empty)
    ALLOWED[f"{_numpy}.multiarray", "scalar"] = _Function(_scalar)
    ALLOWED[f"{_numpy}.numeric", "_frombuffer"] = _Function(_array_from_buffer)


# The one written in Python: the other takes memory for as many memos as a file says that it has.
class WeightsUnpickler(pickle._Unpickler):
    """Arrays, tensors, numbers, text and plain containers, from Python 2 or 3; anything else is
    ``Refused`` before it is imported or called. A bare NumPy dtype comes as a stand-in."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        full = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}")
        raise Refused(full[:LONGEST_NAME])
