"""Scenes that nobody draws on purpose: the package and the plain reference agree there too."""

from __future__ import annotations

import cases
import pytest
import reference
import torch

from bestie_d2.labeling.decode import group_instances
from bestie_d2.labeling.refinement import refine_labels

SIZE = (24, 30)


def noise(classes: int = 3) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        "logits": torch.randn(classes + 1, *SIZE, generator=random),
        "center": torch.rand(classes, *SIZE, generator=random),
        "offset": torch.randn(2, *SIZE, generator=random) * 3,
        "weak": torch.randint(0, classes + 1, SIZE, generator=random),
        "tags": torch.ones(classes, dtype=torch.bool),
    }


def scene(kind: str) -> dict[str, torch.Tensor]:
    maps = noise(80 if kind == "80 classes" else 3)
    if kind == "one component":
        maps["weak"], maps["logits"][1] = torch.ones(SIZE, dtype=torch.int64), 20.0
    elif kind == "nothing":
        maps["weak"], maps["logits"][0] = torch.zeros(SIZE, dtype=torch.int64), 20.0
    elif kind == "plateaus":
        maps["weak"] = torch.ones(SIZE, dtype=torch.int64)
        maps["center"] = (maps["center"] * 2).round() / 2
    elif kind == "constant":
        maps["weak"][:, :20], maps["center"] = 2, torch.full_like(maps["center"], 0.6)
        maps["offset"] = maps["offset"] * 0  # the beginning of a training
    return maps


@pytest.mark.parametrize(
    "kind", ["noise", "80 classes", "one component", "nothing", "plateaus", "constant"]
)
def test_they_are_refined_and_decoded_as_by_the_reference(kind, monkeypatch):
    maps = scene(kind)
    min_area = 1 if kind in ("noise", "80 classes") else 50  # pixels alone count too
    monkeypatch.setattr(reference, "MIN_AREA", min_area)
    images = [maps[name] for name in ("logits", "center", "offset", "weak", "tags")]
    refined = refine_labels(*(image[None] for image in images), min_area=min_area)
    cases.same_targets(refined[0], reference.refine(*images))
    predicted = (maps["logits"].softmax(dim=0), maps["center"], maps["offset"])
    found = group_instances(*predicted, min_area=min_area)
    cases.same_instances(found, reference.decode(*predicted))
