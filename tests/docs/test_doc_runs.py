"""The docs' blocks that are marked so are run, from a text's top to its bottom."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_lines import lines_of, run_line
from documents import DOCUMENTS, Block, blocks_of
from PIL import Image

from bestie_d2.structures import LabeledImage, ObjectMask

GETTING_STARTED = "docs/index.md"
# What is there when all of a text was run, of each block that makes something.
MADE = {
    "README.md": (
        "output/bestie_voc/pictures/predictions_1.png",
        "my/project/bestie.yaml",
        "found/coco.json",
        "output/bestie_shapes_from_tags/model_final.pth",
        "output/mrcnn_shapes/model_final.pth",
        "my/points.json",
    ),
    GETTING_STARTED: ("output/found/coco.json", "my/project/bestie.yaml"),
    "docs/formats.md": ("output/found/geojson/a.geojson",),
    "docs/own_data.md": (
        "my/project/bestie.yaml",
        "output/nuclei/weak_maps-preview.png",
        "output/bestie_nuclei_point/data_check",
        "output/mrcnn_nuclei/model_final.pth",
    ),
    "docs/recipes.md": ("my/project/weak_maps-preview.png", "my/project/bestie_run/data_check"),
    "docs/predict.md": ("found/overlay/a.png", "found_in_scans/labels/a.png", "mine.ts"),
}


def given_names(document: str) -> dict[str, object]:
    """What a reader's own program has when it comes to a block of Python."""
    if document == "docs/formats.md":
        mask = ObjectMask(0, 0.9, (3, 4), np.ones((5, 6), bool))
        return {"image": LabeledImage("a.png", "a.png", 64, 64, [mask])}
    rgb = np.array(Image.open("a.png"))
    height, width = rgb.shape[:2]
    image = torch.from_numpy(rgb[..., ::-1].transpose(2, 0, 1).copy())
    return {"rgb": rgb, "image": image, "height": height, "width": width}


def run_block(block: Block, variables: dict[str, str], names: dict[str, object]) -> None:
    if block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)
        return
    for line in lines_of(block.text):
        run_line(line, variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if any(b.is_run for b in blocks_of(d))], ids=str
)
def test_marked_blocks_run(document, reader_s_folder, capsys):
    if str(document) == GETTING_STARTED:  # it trains this itself
        shutil.rmtree("output/bestie_shapes")
    variables, names = dict(os.environ), given_names(str(document))
    for block in blocks_of(document):
        if block.is_run:
            print(f"--- {block}", file=sys.stderr)
            run_block(block, variables, names)
    assert [name for name in MADE[str(document)] if not Path(name).exists()] == []


def test_a_command_that_fails_is_told(reader_s_folder, capsys):
    with pytest.raises(pytest.fail.Exception, match="exit code 2"):
        run_line("python tools/predict.py --run nowhere --input a.png --output found", {})
    assert "run nowhere: no config.yaml there" in capsys.readouterr().err
