"""tools/check_data.py: pictures that are not taken as they are stored, and maps without classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checked_data import BESTIE, SQUARE, lines_under, write_truth
from PIL import Image

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer
from bestie_d2.errors import InputError

TOLD = "pictures that are not taken as they are stored"
MASKS = {"MODEL.ROI_HEADS.NUM_CLASSES": 2, "INPUT.MASK_FORMAT": "bitmask"}
ORIENTATION = 274


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


def deepen(path: Path, *, step: int = 40) -> None:
    """Store a picture's grey with 16 bits, of which a small part is used."""
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L")).astype(np.uint16)
    Image.fromarray(grey * np.uint16(step)).save(path)


def test_how_pictures_are_taken_is_told(check, folder):
    first, second, third, *_ = stored(folder)
    deepen(first)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    with Image.open(second) as image:
        image.save(second, exif=exif)
    with Image.open(third) as image:
        seen_through = image.convert("RGBA")
    seen_through.putpixel((0, 0), (9, 9, 9, 0))
    seen_through.save(third)
    printed = check("bestie_shapes", BESTIE)
    count, *lines = lines_under(printed, TOLD)
    assert count == f"{TOLD}: 3"
    told = "\n".join(lines)
    assert "1 of 5 pictures are 16-bit: they are scaled to 8 bits by the range of each" in told
    assert "percentiles 0.1 to 99.9 (INPUT.INTENSITY.PERCENTILES; .RANGE for a fixed one)" in told
    assert "1 of 5 pictures are turned by their EXIF entry: weak maps and points have to be" in told
    assert "1 of 5 pictures are transparent in places: they are put on white" in told
    printed = check("bestie_shapes", {**BESTIE, "INPUT.INTENSITY.RANGE": "(0, 4095)"})
    assert "from 0 to 4095 (INPUT.INTENSITY.RANGE)" in "\n".join(lines_under(printed, TOLD))


def test_a_size_before_the_turn(check, folder):
    path = folder / "images" / "fünf.png"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    with Image.open(path) as image:
        image.save(path, exif=exif)
    printed = check("bestie_shapes", BESTIE, code=2)
    (_, line) = lines_under(printed, "images of another size than their annotation says")
    assert line.endswith("its size before it is turned by its EXIF entry")


def test_stacks_are_refused_as_a_training_refuses_them(check, folder):
    path = stored(folder)[0]
    with Image.open(path) as image:
        image.save(path, save_all=True, append_images=[image.rotate(180)])
    printed = check("bestie_shapes", BESTIE, code=2)
    _, line = lines_under(printed, "images that cannot be read")
    assert line.startswith(f"image {path}: holds 2 pages")


def test_masks_in_black_and_white(check, folder):
    for path in (folder / "maps").iterdir():
        with Image.open(path) as image:
            mask = np.asarray(image) > 0
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)
    printed = check("bestie_shapes", BESTIE, code=2)
    _, line = lines_under(printed, "weak maps")
    assert line.startswith(f"weak maps {folder}/maps: hold nothing but 0 and 255 in all 5 pictures")
    cfg = load_config(str(folder / "own.yaml"), ["MODEL.DEVICE", "cpu", *_pairs(BESTIE)])
    with pytest.raises(InputError) as told:
        Trainer.build_train_loader(cfg)
    assert str(told.value) == line


def _pairs(changes: dict) -> list[str]:
    return [str(word) for pair in changes.items() for word in pair]


@pytest.mark.parametrize("grouped", [True, False])
def test_detectron2s_own_models_read_the_same_pictures(grouped, check, folder):
    """In training, in batches of one shape or not, and in evaluation: 16 bits are not clipped."""
    for path in stored(folder):
        deepen(path)
    write_truth(folder, (1, 3, [SQUARE]), (11, 7, [SQUARE]), (41, 7, [SQUARE]))
    changes = {**MASKS, "DATALOADER.ASPECT_RATIO_GROUPING": grouped, "DATALOADER.NUM_WORKERS": 0}
    changes |= {"INPUT.FORMAT": "RGB", "SOLVER.IMS_PER_BATCH": 1}
    changes |= {"INPUT.INTENSITY.PERCENTILES": "(0.0, 100.0)"}
    printed = check("mrcnn_shapes", changes, entry={"annotations": "truth.json"})
    assert "5 of 5 pictures are 16-bit" in "\n".join(lines_under(printed, TOLD))
    as_they_are = {"MIN_SIZE_TRAIN": "(0,)", "MIN_SIZE_TEST": 0, "RANDOM_FLIP": "none"}
    changes |= {f"INPUT.{key}": value for key, value in as_they_are.items()}
    cfg = load_config(str(folder / "own.yaml"), ["MODEL.DEVICE", "cpu", *_pairs(changes)])
    (name,) = cfg.DATASETS.TRAIN
    trained = next(iter(Trainer.build_train_loader(cfg)))
    evaluated = [item for (item,) in Trainer.build_test_loader(cfg, name)]
    assert len(evaluated) == 5
    for item in (*trained, *evaluated):
        with Image.open(item["file_name"]) as image:
            values = np.asarray(image).astype(float)
        low, high = values.min(), values.max()
        assert high > 255
        expected = np.rint((values - low) / (high - low) * 255)
        assert item["image"].shape == (3, *values.shape)
        assert (item["image"].numpy() == expected).all()
