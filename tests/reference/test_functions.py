"""The released functions' inputs and outputs (see the README beside the vectors)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cut_excerpt import SCENE
from reference_vectors import read_scene

from bestie_d2.labeling.decode import group_instances
from bestie_d2.labeling.refinement import refine_labels, refine_labels_from_points
from bestie_d2.labeling.transfer import transfer_semantic_knowledge
from bestie_d2.modeling.losses import top_k_cross_entropy, weighted_l1, weighted_mse
from bestie_d2.ops.heatmap import find_peaks
from bestie_d2.structures import InstanceTargets, PointCues

TOLERANCE = 1e-5  # as the README beside the vectors states
SCENES = [("excerpt", SCENE), *(("whole", index) for index in range(6))]


def pytest_generate_tests(metafunc):
    names = ("reference", "index")
    metafunc.parametrize(names, SCENES, indirect=["reference"], scope="module")


@pytest.fixture(scope="module")
def scenes(reference: Path, index: int) -> list[dict[str, np.ndarray]]:
    """Scene ``index`` of every file."""
    found = sorted(reference.glob("functions_seed*.npz"))
    assert found, f"no functions_seed*.npz in {reference}"
    return [read_scene(path, index) for path in found]


def tensors(scene: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, PointCues]:
    """Weak map, tags and cues of a scene."""
    points = torch.from_numpy(scene["points"])
    cues = PointCues(points[:, [1, 0]], points[:, 2].long(), points[:, 3])
    return torch.from_numpy(scene["seg"]), torch.from_numpy(scene["label"]) > 0, cues


def predictions(scene: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(scene[name]) for name in ("logits", "heat", "offsets"))


def assert_targets(targets: InstanceTargets, scene: dict, name: str) -> None:
    for part in ("center", "offset", "weight"):
        ours = getattr(targets, part)
        if ours is None:
            continue
        theirs = scene[f"{name}_{part}"]
        np.testing.assert_allclose(ours.numpy().reshape(theirs.shape), theirs, atol=TOLERANCE)
    theirs = scene[f"{name}_weight"] > 0
    np.testing.assert_array_equal(targets.weight.numpy().reshape(theirs.shape) > 0, theirs)


@pytest.mark.parametrize(("name", "centers"), [("cls", "component"), ("point", "cue")])
def test_semantic_knowledge_transfer(scenes, name, centers):
    for scene in scenes:
        targets = transfer_semantic_knowledge(*tensors_in_order(scene), centers=centers)
        assert_targets(targets, scene, f"transfer_{name}")


def tensors_in_order(scene):
    weak, tags, cues = tensors(scene)
    return weak, cues, tags


@pytest.mark.parametrize("beta", [0, 3])
def test_self_refinement(scenes, beta):
    for scene in scenes:
        weak, tags, _ = tensors(scene)
        batch = (t[None] for t in (*predictions(scene), weak, tags))
        targets = refine_labels(*batch, clustering=beta > 0)
        assert_targets(targets, scene, f"refine_beta{beta}")


def test_refinement_from_points(scenes):
    for scene in scenes:
        weak, tags, cues = tensors(scene)
        _, _, offset = predictions(scene)
        targets = refine_labels_from_points(offset[None], weak[None], [cues], tags[None])
        assert_targets(targets, scene, "refinepoint")


@pytest.mark.parametrize("beta", [0, 3])
def test_decoding(scenes, beta):
    for scene in scenes:
        logits, center, offset = predictions(scene)
        masks, classes, scores = group_instances(
            logits.softmax(0), center, offset, clustering=beta > 0
        )
        packed = scene[f"decode_beta{beta}_masks"]
        their_masks = np.unpackbits(packed, axis=-1)[..., : masks.shape[-1]].astype(bool)
        theirs = zip(
            scene[f"decode_beta{beta}_labels"].tolist(),
            (mask.tobytes() for mask in their_masks),
            scene[f"decode_beta{beta}_scores"].tolist(),
            strict=True,
        )
        ours = zip(
            classes.tolist(),
            (mask.tobytes() for mask in masks.numpy()),
            scores.tolist(),
            strict=True,
        )
        by_instance = {(label, mask): score for label, mask, score in theirs}
        assert {(label, mask): pytest.approx(s, abs=TOLERANCE) for label, mask, s in ours} == (
            by_instance
        )


def test_peaks(scenes):
    for scene in scenes:
        peaks = find_peaks(torch.from_numpy(scene["heat"]), kernel=15, threshold=0.3)
        ours = torch.cat([peaks.classes[:, None], peaks.yx.long()], dim=1)
        assert ours.tolist() == scene["peaks"].tolist()


def test_losses(scenes):
    for scene in scenes:
        weak, tags, cues = tensors(scene)
        logits, center, offset = predictions(scene)
        targets = transfer_semantic_knowledge(weak, cues, tags)
        ours = {
            "center": weighted_mse(center, targets.center, targets.weight),
            "offset": weighted_l1(offset, targets.offset, targets.weight),
            "seg_top20": top_k_cross_entropy(logits[None], weak[None]),
        }
        for name, loss in ours.items():
            assert float(loss) == pytest.approx(float(scene[f"loss_{name}"]), abs=TOLERANCE)
