"""A trained BESTIE as one file, ONNX or TorchScript, that runs without Detectron2 and this package.

It gives the maps of a picture of any size. A description in it says what is needed beside: how
pictures are resized, the classes, and what to call ``labeling.decode.group_instances`` with.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from bestie_d2.engine.predictor import SCORE_THRESHOLD, check_prediction, class_names
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.model_keys import with_keys
from bestie_d2.modeling import BESTIE
from bestie_d2.modeling.layers import upsample
from bestie_d2.modeling.traceable import TraceableMaps
from bestie_d2.storage.files import make_folder, replacing

DESCRIPTION = "bestie_d2"  # ONNX's metadata, and TorchScript's extra file, that holds it as JSON
INPUTS, OUTPUTS = ("image", "size"), ("sem_seg_prob", "center", "offset")
DYNAMIC_AXES = {
    "image": {1: "h", 2: "w"},
    "sem_seg_prob": {0: "C+1", 1: "H", 2: "W"},
    "center": {0: "C", 1: "H", 2: "W"},
    "offset": {1: "H", 2: "W"},
}
OPSET = 17  # ONNX's first with layer norms, and PyTorch 2.4 writes it
# Sides of the picture that the graph is traced with, of one that the file is tried on, and of the
# maps: those are no multiples of anything, so that each of a network's steps has to round.
TRACED, TRIED, TRIED_MAPS = (64, 96), (97, 161), (120, 75)
BLUR = 8  # of that picture, in pixels
# Of a map's largest value, or of 1 if that is larger: what rounding in another order leaves.
TOLERANCE = 1e-4


class ExportFormat(NamedTuple):
    """One kind of file: the packages that it takes to write and try it; a graph and a description
    to the file's content; this, a picture and a size to maps."""

    packages: Sequence[str]
    write: Callable[[nn.Module, str], bytes]
    run: Callable[[bytes, Tensor, Tensor], Sequence[Tensor]]


def export_model(cfg: CfgNode, output: str | os.PathLike, *, overwrite: bool = False) -> float:
    """Write the network of ``MODEL.WEIGHTS`` as ``output``, in the format of its suffix, once it
    gives the network's own maps on a picture of another size than it was made with.

    Returns:
        By how much they differ at most, as a share of a map's largest value.

    Raises:
        InputError: it is no BESTIE, cannot be exported, or ``output`` cannot be written.
    """
    output = Path(output)
    if output.suffix not in FORMATS:
        raise InputError(f"--output {output}: choose a name that ends in {' or '.join(FORMATS)}")
    if output.exists() and not overwrite:
        raise InputError(f"--output {output}: is there already; --overwrite replaces it")
    for package in FORMATS[output.suffix].packages:
        try:
            importlib.import_module(package)
        except ImportError:
            needed = " ".join(FORMATS[output.suffix].packages)
            raise InputError(
                f"--output {output}: this format needs packages: pip install {needed}"
            ) from None
    cfg = with_keys(cfg, {"MODEL.DEVICE": "cpu"})
    check_prediction(cfg)
    model, _ = load_trained_model(cfg)
    if not isinstance(model, BESTIE):
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}: BESTIE is exported here; "
            "Detectron2 has tools/deploy/export_model.py for its own models"
        )
    content, difference = file_of(model.eval(), describe(cfg, model), output.suffix)
    make_folder(output.parent, "--output")
    with replacing(output, "wb") as file:
        file.write(content)
    return difference


def describe(cfg: CfgNode, model: BESTIE) -> dict[str, Any]:
    """What the file says of itself (``docs/predict.md`` lists it); values of JSON."""
    grouping = {
        name: asdict(value) if is_dataclass(value) else value  # type: ignore[arg-type]
        for name, value in model.grouping.items()
    }
    sides = {"side": "TEST_SIDE", "shortest": "MIN_SIZE_TEST", "longest": "MAX_SIZE_TEST"}
    return {
        "classes": class_names(cfg),
        "channels": cfg.INPUT.FORMAT,
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": list(cfg.MODEL.PIXEL_STD),
        "resize": {name: cfg.INPUT[key] for name, key in sides.items()},
        "size_divisibility": model.size_divisibility,
        "score_threshold": SCORE_THRESHOLD,
        "grouping": grouping,
    }


def file_of(model: BESTIE, description: Mapping[str, Any], suffix: str) -> tuple[bytes, float]:
    """The content of a file of the format with this suffix, and the largest difference of its maps
    to the network's (see :func:`export_model`)."""
    form = FORMATS[suffix]
    image = _picture()
    expected = model.predict_maps(image, TRIED_MAPS)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a trace may lose, and of the exporters' age
            content = form.write(TraceableMaps(model), json.dumps(description))
            found = form.run(content, image, torch.tensor(TRIED_MAPS))
    except Exception as error:  # whatever a part of the network, or the runtime, raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"the network cannot be exported as {suffix} ({reason})") from error
    difference = max(map(_difference, found, expected))
    if not difference <= TOLERANCE:
        raise InputError(
            f"the network cannot be exported as {suffix}: on a picture of another size than it was "
            f"traced with its maps differ by {difference:.2g} of the largest value, more "
            f"than the {TOLERANCE:g} of rounding: some layer takes sizes for fixed, or the weights "
            "are random ones"
        )
    return content, difference


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))


def _picture() -> Tensor:
    """A picture of blurred spots: (3, h, w) uint8."""
    size = [side // BLUR for side in TRIED]
    spots = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    return upsample(spots * 255, TRIED)[0].to(torch.uint8)


def _example() -> tuple[Tensor, Tensor]:
    return torch.zeros(3, *TRACED, dtype=torch.uint8), torch.tensor(TRACED)


def _write_onnx(graph: nn.Module, description: str) -> bytes:
    import onnx
    from torch.onnx.utils import export  # follows a trace; the newer one needs one more package

    file = io.BytesIO()
    export(
        graph,
        _example(),
        file,  # type: ignore[arg-type]  # PyTorch declares a path
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_axes=DYNAMIC_AXES,
        opset_version=OPSET,
    )
    model = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(model, {DESCRIPTION: description})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _run_onnx(content: bytes, image: Tensor, size: Tensor) -> list[Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    maps = session.run(OUTPUTS, {"image": image.numpy(), "size": size.numpy()})
    return [torch.from_numpy(values) for values in maps]


def _write_torchscript(graph: nn.Module, description: str) -> bytes:
    file = io.BytesIO()
    traced = torch.jit.trace(graph, _example(), check_trace=False)  # the maps are compared instead
    torch.jit.save(traced, file, _extra_files={DESCRIPTION: description})
    return file.getvalue()


def _run_torchscript(content: bytes, image: Tensor, size: Tensor) -> tuple[Tensor, ...]:
    return torch.jit.load(io.BytesIO(content))(image, size)


FORMATS = {
    ".onnx": ExportFormat(("onnx", "onnxruntime"), _write_onnx, _run_onnx),
    ".ts": ExportFormat((), _write_torchscript, _run_torchscript),
}
