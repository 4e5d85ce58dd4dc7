"""tools/export_model.py: files with the network's maps and, grouped, the predictor's objects."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from torch import nn

from bestie_d2 import BESTIEPredictor
from bestie_d2.engine import model_export
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.model_export import describe, file_of
from bestie_d2.errors import InputError
from bestie_d2.functional import group_instances
from bestie_d2.labeling.grouping import CenterClustering
from bestie_d2.modeling import BESTIE

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "export_model.py"
# Its networks have other backbones and heads than the run's, which is HRNet with ConvInstanceHead.
RESNET, LITE = "bestie_voc_R50.yaml", "bestie_voc_animals.yaml"
CONVNEXT = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME", "convnext_atto"]
FLIP = ["MODEL.BESTIE.TEST.FLIP", "True"]
MASK_RCNN_YAML = """
_BASE_: "{configs}/mrcnn_shapes.yaml"
MODEL: {{DEVICE: "cpu"}}
DATASETS: {{CUSTOM: [], TRAIN: ["gone"]}}
OUTPUT_DIR: "{folder}/output"
"""
EXAMPLE = """
import runpy, sys
sys.modules["detectron2"] = None  # as where there is none
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def export(run_main, load_tool, finished_run) -> Callable[..., str]:
    """Runs the tool; returns what it printed, or complained of."""

    def run(output: Path, *options: str, code: int = 0, folder: Path = finished_run) -> str:
        argv = [str(TOOL), "--run", str(folder), "--output", str(output)]
        return run_main(load_tool(TOOL), [*argv, *options], code)

    return run


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    """60x90, blurred noise."""
    values = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(values, (0, 0), 3).astype(float)
    path = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)).save(path)
    return path


def network(config: str, overrides: list[str]) -> tuple[BESTIE, dict]:
    """With weights that see something, and its description."""
    options = [*overrides, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    cfg = load_config(str(ROOT / "configs" / config), options)
    model = build_model(cfg).eval()
    decoders = getattr(model.head, "decoders", model.head)
    for branch in (decoders.seg, decoders.center, decoders.offset):
        nn.init.normal_(branch[-1].weight, std=30.0)
    return model, describe(cfg, model)


@pytest.mark.parametrize(("config", "overrides"), [(RESNET, []), (RESNET, CONVNEXT), (LITE, FLIP)])
def test_onnx_maps_of_any_size(config, overrides):
    model, description = network(config, overrides)
    content, _ = file_of(model, description, ".onnx")
    session = onnxruntime.InferenceSession(content)
    for sides, size in (((40, 200), (40, 200)), ((32, 33), (77, 50))):
        image = torch.randint(256, (3, *sides), dtype=torch.uint8)
        found = session.run(None, {"image": image.numpy(), "size": np.array(size)})
        for one, other in zip(found, model.predict_maps(image, size), strict=True):
            assert other.std() > 0.01
            atol = 1e-4 * max(1.0, float(other.abs().max()))
            torch.testing.assert_close(torch.from_numpy(one), other, atol=atol, rtol=0)


def test_an_onnx_file_finds_the_predictor_s_objects_without_detectron2(
    export, finished_run, picture, tmp_path
):
    output = tmp_path / "a.onnx"
    output.write_text("mine")
    assert f"{output}: its maps" in export(output, "--overwrite")
    found = tmp_path / "found.npz"
    argv = [str(ROOT / "examples" / "exported_model.py"), *map(str, (output, picture, found))]
    run = subprocess.run(
        [sys.executable, "-c", EXAMPLE.format(argv=argv)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr
    objects = np.load(found)
    expected = BESTIEPredictor.from_run(finished_run)(picture)
    assert len(expected) > 1
    order = np.argsort(-objects["scores"], kind="stable")
    assert (objects["masks"][order] == expected.pred_masks.numpy()).all()
    assert objects["classes"][order].tolist() == expected.pred_classes.tolist()
    assert objects["scores"][order] == pytest.approx(expected.scores.numpy(), abs=1e-4)
    named = [line.split()[0] for line in run.stdout.splitlines()]
    assert named == [["cat", "hund"][class_id] for class_id in objects["classes"]]


def test_a_torchscript_file_finds_the_predictor_s_objects(export, finished_run, picture, tmp_path):
    """As docs/predict.md shows it."""
    output = tmp_path / "new" / "a.ts"
    export(output, "MODEL.BESTIE.TEST.MIN_AREA", "9")
    files = {"bestie_d2": ""}
    loaded = torch.jit.load(output, _extra_files=files)
    assert "Device" not in str(loaded.inlined_graph)  # it runs where it is loaded to
    told = json.loads(files["bestie_d2"])
    assert told["classes"] == ["cat", "hund"]
    assert told["channels"] == "RGB"
    assert told["pixel_mean"] == [123.675, 116.28, 103.53]
    assert told["pixel_std"] == [58.395, 57.12, 57.375]
    assert told["resize"] == {"side": 0, "shortest": 96, "longest": 200}
    assert told["size_divisibility"] == 32
    assert told["score_threshold"] == 0.2
    options = told["grouping"]
    assert (options["min_area"], options["kernel"]) == (9, 11)
    options["clustering"] = CenterClustering(**options["clustering"])
    seen = np.asarray(Image.open(picture).resize((144, 96), Image.Resampling.BILINEAR))
    maps = loaded(torch.from_numpy(seen.transpose(2, 0, 1).copy()), torch.tensor((60, 90)))
    masks, classes, scores = group_instances(*maps, **options)
    overrides = ["MODEL.BESTIE.TEST.MIN_AREA", "9"]
    expected = BESTIEPredictor.from_run(finished_run, overrides=overrides)(picture)
    order = torch.sort(scores, descending=True, stable=True).indices[: len(expected)]
    assert len(expected) > 1
    assert torch.equal(masks[order], expected.pred_masks)
    assert torch.equal(classes[order], expected.pred_classes)
    assert scores[order].tolist() == pytest.approx(expected.scores.tolist(), abs=1e-6)


class FixedSides(nn.Module):
    """A head that takes the sides of the first picture for all."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features, size):
        return self.head(features, tuple(map(int, size)))


def test_a_network_that_fixes_sizes_or_cannot_be_traced_is_refused(monkeypatch):
    model, description = network("bestie_shapes.yaml", [])
    head, model.head = model.head, FixedSides(model.head)
    with pytest.raises(InputError, match=r"as \.ts: on a picture of another size .* differ by inf"):
        file_of(model, description, ".ts")
    model.head = head
    monkeypatch.setattr(model_export, "OPSET", 99)
    with pytest.raises(InputError, match=r"cannot be exported as \.onnx \(\w+: "):
        file_of(model, description, ".onnx")


def test_what_is_refused(export, finish_run, monkeypatch, tmp_path):
    assert "a name that ends in .onnx or .ts" in export(tmp_path / "a.pt", code=2)
    (tmp_path / "a.onnx").write_text("mine")
    assert "is there already; --overwrite" in export(tmp_path / "a.onnx", code=2)
    assert (tmp_path / "a.onnx").read_text() == "mine"
    (tmp_path / "run").mkdir()
    run = finish_run(tmp_path / "run", MASK_RCNN_YAML, ["a", "b", "c", "d"])
    complaints = export(tmp_path / "b.ts", code=2, folder=run)
    assert "'GeneralizedRCNN': BESTIE is exported here; Detectron2 has" in complaints
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    complaints = export(tmp_path / "b.onnx", code=2)
    assert "needs packages: pip install onnx onnxruntime" in complaints
    assert not list(tmp_path.glob("b.*"))
