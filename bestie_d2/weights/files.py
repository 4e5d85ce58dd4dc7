"""Files of weights, told apart by what is in them and not by their suffix.

Nothing that a file asks for is run: what ``torch.save`` wrote is read as tensors and plain values,
any other pickle by :mod:`bestie_d2.weights.pickles`.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bestie_d2.errors import InputError
from bestie_d2.weights.pickles import Refused, WeightsUnpickler

ZIP = b"PK\x03\x04"
PROGRAM = "constants.pkl"  # a zip archive of torch.jit.save has it
FOREIGN_NAME = re.compile(r"GLOBAL (\S+)|[Uu]nsupported class (\S+)|but got <class '([^']+)'>")
UNPICKLER_ERROR = "WeightsUnpickler error:"
MOMENTUM = "_momentum"  # how Caffe2 ends the names of what its optimizer keeps
COUNTER = "num_batches_tracked"


def read_weights(path: str) -> object:
    """What a file of weights holds: tensors or arrays in plain containers.

    Raises:
        InputError: no such file, no weights, or something beside them, which is named.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        raise InputError(f"checkpoint {path}: no such file") from None
    except OSError as error:
        raise InputError(f"checkpoint {path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # whatever their readers raise on a damaged file
        raise _unreadable(path, error) from None


def _read(path: str) -> object:
    if path.endswith(".safetensors"):
        return _load_torch(path)
    with open(path, "rb") as file:
        head = file.read(len(ZIP))
        file.seek(0)
        if head == ZIP:
            with zipfile.ZipFile(file) as archive:
                if any(name.endswith(f"/{PROGRAM}") for name in archive.namelist()):
                    raise Refused("a TorchScript program")
            return _load_torch(path)
        if _is_tar(path):  # PyTorch before 2.6 reads it without any protection
            raise Refused("a tar archive")
        content = WeightsUnpickler(file).load()
    if isinstance(content, int) and content == torch.serialization.MAGIC_NUMBER:
        return _load_torch(path)  # the form before the zip archive: several pickles in a row
    return content


def _load_torch(path: str) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_tar(path: str) -> bool:
    try:
        tarfile.open(path, "r:").close()
    except tarfile.TarError:
        return False
    return True


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
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        return None
    try:
        return {key: _as_tensor(value) for key, value in state.items()}
    except TypeError:
        return None


def _as_tensor(value: object) -> Tensor:
    """Raises TypeError for what is neither a tensor nor an array of numbers."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        raise TypeError
    return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))


def of_model_zoo(content: object) -> dict[str, object] | None:
    """Detectron2's model zoo's files as its checkpointer wants them, or ``None`` for another file.

    They are known by ``__author__``, pycls' by ``model_state``, and Caffe2's, with or without
    ``blobs``, by arrays that have no further folder. Their tensors are matched to the model's by
    the likeness of names.
    """
    if not isinstance(content, Mapping):
        return None
    if "__author__" in content:
        state, author = as_tensors(content.get("model")), content["__author__"]
        return state and {**content, "model": state}
    if "model_state" in content:
        state, author = as_tensors(content["model_state"]), "pycls"
        state = state and {k: v for k, v in state.items() if not k.endswith(COUNTER)}
    else:
        blobs = content.get("blobs", content)
        if not isinstance(blobs, Mapping):
            return None
        blobs = {k: v for k, v in blobs.items() if not str(k).endswith(MOMENTUM)}
        arrays = all(isinstance(value, np.ndarray) for value in blobs.values())
        state, author = as_tensors(blobs) if arrays else None, "Caffe2"
    return state and {"model": state, "__author__": author, "matching_heuristics": True}
