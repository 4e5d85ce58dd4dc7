"""Pictures of the cues that a PAM classifier finds, on the activation maps they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bestie_d2.data import EvaluationMapper, ImageReader
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.pictures.predictions import ROWS_A_SHEET
from bestie_d2.pictures.sheets import SheetSample, draw_prediction_sheet
from bestie_d2.runs.cue_extraction import CueSource, recipe_of
from bestie_d2.runs.cue_writer import CueRecipe, cues_of, read_weak_map_of


def draw_cue_pictures(source: CueSource, count: int, prefix: str) -> list[Path]:
    """Draw images spread over the data set: image, weak map if known, activations, sure cues.

    Args:
        count: how many images; unreadable ones are left out.
        prefix: of the files, ``<prefix>_1.png`` and on.

    Returns:
        The files, a few images in each.
    """
    records = source.records
    chosen = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round())
    model, _ = load_trained_model(source.cfg)
    model.eval()
    mapper = EvaluationMapper(source.cfg, is_train=False)
    reader = ImageReader.from_config(source.cfg, "RGB")
    recipe = recipe_of(source.cfg, source.dataset_name)
    samples = []
    for index in tqdm(chosen.astype(int).tolist(), desc="pictures", leave=False):
        try:
            item = mapper(records[index])
        except InputError:  # has been told and left out before
            continue
        image, cams = reader.read(item["file_name"]), model([item])[0]["cams"]
        samples.append(_sample(item, image, cams, recipe, len(source.categories)))
    files = []
    for start in range(0, len(samples), ROWS_A_SHEET):
        sheet = draw_prediction_sheet(samples[start : start + ROWS_A_SHEET], source.class_names)
        files.append(Path(f"{prefix}_{start // ROWS_A_SHEET + 1}.png"))
        Image.fromarray(sheet).save(files[-1])
    return files


def _sample(
    item: dict, image: np.ndarray, cams: torch.Tensor, recipe: CueRecipe, num_classes: int
) -> SheetSample:
    """What the pictures show of one image."""
    cues, maps = cues_of(cams, item, recipe)
    return SheetSample(
        image=image,
        weak_map=read_weak_map_of(item, recipe.weak_maps, num_classes),
        activations=maps,
        tags=item["image_classes"],
        cues=cues[cues.scores > recipe.threshold],
    )
