"""The package and the plain reference, written apart from it, agree on random scenes."""

from __future__ import annotations

import cases
import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bestie_d2.labeling.decode import group_instances
from bestie_d2.labeling.refinement import refine_labels
from bestie_d2.labeling.transfer import transfer_semantic_knowledge
from bestie_d2.ops.heatmap import find_peaks
from bestie_d2.structures import PointCues

SEEDS = st.integers(0, 2**32 - 1)
SIZE = (48, 61)


def smooth(random: torch.Generator, channels: int) -> torch.Tensor:
    coarse = torch.randn(1, channels, 7, 9, generator=random)
    return F.interpolate(coarse, SIZE, mode="bilinear")[0]


def random_maps(seed: int) -> tuple[torch.Tensor, ...]:
    """Logits, centers and short offsets of three classes without any order, and weak labels."""
    random = torch.Generator().manual_seed(seed)
    logits, center = smooth(random, 4) * 3, smooth(random, 3) * 0.4
    offset = smooth(random, 2) * 8
    weak = smooth(random, 4).argmax(dim=0)
    return logits, center, offset, weak, torch.rand(3, generator=random) < 0.7


@settings(max_examples=25)
@given(SEEDS)
def test_refinement(seed):
    maps = random_maps(seed)
    refined = refine_labels(*(t[None] for t in maps))
    plain = reference.refine(*maps)
    for part in ("center", "offset", "weight"):
        torch.testing.assert_close(
            getattr(refined, part)[0], getattr(plain, part), atol=1e-5, rtol=0
        )


@settings(max_examples=25)
@given(SEEDS)
def test_decoding(seed):
    logits, center, offset, _, _ = random_maps(seed)
    maps = (logits.softmax(dim=0), center, offset)
    cases.same_instances(group_instances(*maps), reference.decode(*maps))


@settings(max_examples=25)
@given(SEEDS, st.integers(0, 9))
def test_transfer(seed, count):
    *_, weak, tags = random_maps(seed)
    random = torch.Generator().manual_seed(seed)
    yx = torch.rand(count, 2, generator=random) * (torch.tensor(SIZE) + 4) - 2
    classes = torch.randint(3, (count,), generator=random)
    cues = PointCues(yx, classes, torch.ones(count))
    ours = transfer_semantic_knowledge(weak, cues, tags)
    cases.same_targets(ours, reference.transfer(weak, cues, tags))


@settings(max_examples=25)
@given(SEEDS)
def test_peaks(seed):
    heatmap = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(seed))
    ours = find_peaks(heatmap, kernel=7, threshold=0.9, max_per_class=25)
    cases.same_peaks(ours, reference.find_peaks(heatmap, 7, 0.9, 25))


@pytest.mark.parametrize("layout", ["separate", "touching", "one_component"])
def test_decoding_finds_the_objects_of_a_drawn_scene(layout):
    case = cases.decoding(6, (90, 110), layout)
    masks, classes, scores = case.ours()
    assert len(masks) == 6
    case.check((masks, classes, scores), case.plain())


@pytest.mark.parametrize("layout", ["separate", "touching"])
def test_refinement_guides_the_objects_of_a_drawn_scene(layout):
    case = cases.refinement(4, (90, 110), layout)
    refined = case.ours()
    assert (refined.center == 1).sum() == 4 * cases.BATCH
    case.check(refined, case.plain())
