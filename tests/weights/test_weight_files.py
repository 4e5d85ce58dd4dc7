"""Files of weights of any origin: the same tensors as ever, or a line on what they hold."""

from __future__ import annotations

import argparse
import functools
import gzip
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.weights.checkpoint import BestieCheckpointer
from bestie_d2.weights.reading import read_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class Python2Pickler(pickle._Pickler):
    """Text and bytes as Python 2 wrote them: one kind of string."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        data = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def write_as_python_2(content: object, path: Path) -> None:
    with path.open("wb") as file:
        Python2Pickler(file, 2).dump(content)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))


def write_as_python_3(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def small_mask_rcnn():
    cfg = load_config(str(CONFIGS / "mrcnn_nuclei.yaml"), ["MODEL.DEVICE", "cpu"])
    return build_model(cfg)


def zoo_file(arrays: dict[str, np.ndarray]) -> dict:
    return {"model": arrays, "__author__": "Model Zoo", "matching_heuristics": True}


def caffe2_file(arrays: dict[str, np.ndarray]) -> dict:
    stem = arrays["backbone.bottom_up.stem.conv1.weight"]
    return {
        "blobs": {"conv1_w": stem, "conv1_w_momentum": stem, "lr": np.float32([0.1])},
        "cfg": "MODEL: ResNet",
    }


def imagenet_file(arrays: dict[str, np.ndarray]) -> dict:
    return caffe2_file(arrays)["blobs"]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("write", [write_as_python_2, write_as_python_3])
@pytest.mark.parametrize("form", [zoo_file, caffe2_file, imagenet_file])
def test_the_model_zoos_files_give_the_same_tensors_as_ever(write, form, tmp_path):
    source, ours, theirs = small_mask_rcnn(), small_mask_rcnn(), small_mask_rcnn()
    theirs.load_state_dict(ours.state_dict())
    path = tmp_path / "model_final.pkl"
    write(form({key: value.numpy() for key, value in source.state_dict().items()}), path)
    DetectionCheckpointer(theirs).load(str(path))
    BestieCheckpointer(ours).load(str(path))
    stem = "backbone.bottom_up.stem.conv1.weight"
    assert torch.equal(ours.state_dict()[stem], source.state_dict()[stem])
    for key, expected in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], expected), key


def test_suffixes_that_lie_change_nothing(tmp_path):
    model = nn.Linear(2, 1)
    state = {"model": dict(model.state_dict())}
    arrays = {key: value.numpy() for key, value in state["model"].items()}
    zip_as_pickle, pickle_as_torch = tmp_path / "a.pkl", tmp_path / "b.pth"
    old_form = tmp_path / "c.pkl"
    torch.save(state, zip_as_pickle)
    torch.save(state, old_form, _use_new_zipfile_serialization=False)
    write_as_python_3(zoo_file(arrays), pickle_as_torch)
    for path in (zip_as_pickle, old_form, pickle_as_torch):
        copy = nn.Linear(2, 1)
        BestieCheckpointer(copy).load(str(path))
        assert torch.equal(copy.weight, model.weight)
        assert torch.equal(copy.bias, model.bias)


def test_files_of_pycls_are_matched_by_name(tmp_path):
    model, copy = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save({"model_state": model.state_dict(), "epoch": 3}, tmp_path / "a.pyth")
    BestieCheckpointer(copy).load(str(tmp_path / "a.pyth"))
    assert torch.equal(copy.weight, model.weight)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (Path("a"), "pathlib.PosixPath"),
        (functools.partial(print), "functools.partial"),
        (CfgNode(), "detectron2.config.config.CfgNode"),
    ],
)
def test_pytorch_files_with_more_than_weights_are_named(extra, name, zipped, tmp_path):
    path = str(tmp_path / "more.pth")
    torch.save({"model": {}, "args": extra}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError) as refusal:
        read_weights(path)
    assert str(refusal.value) == (
        f"checkpoint {path}: holds {name}, which is no weights: not loaded; where the file comes "
        "from, save the state dict alone: torch.save(model.state_dict(), FILE)"
    )


def write_script(path: str) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), path)


def write_tar(path: str) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "storages")


def write_npz(path: str) -> None:
    with open(path, "wb") as file:
        np.savez(file, a=np.array([{}], object))


def write_half(path: str) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    os.truncate(path, os.path.getsize(path) // 2)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_script, "holds a TorchScript program, which is no weights"),
        (write_tar, "holds a tar archive, which is no weights"),
        (write_npz, "not readable as PyTorch weights"),
        (write_half, "not readable as PyTorch weights"),
        (lambda path: open(path, "w").close(), "not readable as PyTorch weights"),
        (lambda path: Path(path).write_bytes(gzip.compress(b"a")), ".*damaged, or of another form"),
        (os.mkdir, "cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_archives_of_another_kind_are_told(write, message, tmp_path):
    path = str(tmp_path / "other.pth")
    write(path)
    with pytest.raises(InputError, match=rf"other\.pth: {message}") as refusal:
        read_weights(path)
    assert "weights_only" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
