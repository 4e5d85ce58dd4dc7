"""tools/make_weak_maps.py: the files it writes and the one line it gives for bad input."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data import read_weak_sem_seg
from bestie_d2.engine.command_line import run_tool

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_weak_maps.py"
SQUARES = {"a": (slice(4, 14), slice(6, 16)), "b": (slice(20, 30), slice(3, 13))}


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(TOOL)


@pytest.fixture
def images(tmp_path) -> Path:
    """a.png is grey with 16 bits, b.jpg is RGB; each has one bright square."""
    folder = tmp_path / "images"
    folder.mkdir()
    grey = np.full((32, 40), 300, dtype=np.uint16)
    grey[SQUARES["a"]] = 9000
    Image.fromarray(grey).save(folder / "a.png")
    rgb = np.full((32, 40, 3), 10, dtype=np.uint8)
    rgb[SQUARES["b"]] = (250, 200, 150)
    Image.fromarray(rgb).save(folder / "b.jpg", quality=95, subsampling=0)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def run(tool, images, tmp_path, monkeypatch):
    """Runs the tool on the images; returns the map folder."""

    def run(*arguments: str) -> Path:
        output = tmp_path / "maps"
        words = ["--images", str(images), "--output", str(output), *arguments]
        monkeypatch.setattr(sys, "argv", [str(TOOL), *words])
        run_tool(tool.main)
        return output

    return run


@pytest.fixture
def refused(run, capsys):
    """Runs the tool, expects exit code 2 and returns the one line."""

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert len(lines) == 1
        return lines[0]

    return refused


def square(stem: str, index: int = 1) -> np.ndarray:
    expected = np.zeros((32, 40), dtype=np.uint8)
    expected[SQUARES[stem]] = index
    return expected


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".pgm", ".jp2"])
def test_all_images_that_a_training_takes_are_found(run, images, suffix):
    Image.open(images / "b.jpg").convert("L").save(images / f"c{suffix}")
    assert sorted(path.name for path in run().glob("*.png")) == ["a.png", "b.png", "c.png"]


def test_maps_of_grey_and_rgb_images(run, capsys):
    maps = run("--method", "otsu")
    assert sorted(path.name for path in maps.iterdir()) == ["a.png", "b.png", "made_with.json"]
    assert not maps.with_name("maps.parts").exists()
    for stem in SQUARES:
        found = read_weak_sem_seg(str(maps / f"{stem}.png"), 1, (32, 40))
        assert (found == square(stem)).all()
    assert "2 maps written" in capsys.readouterr().out


@pytest.mark.parametrize("option", [("--percentiles", "1", "99"), ("--range", "0", "9000")])
def test_a_few_bright_pixels(option, run, images, capsys):
    """They take the whole range, so that the square is background, unless they are left out."""
    with Image.open(images / "a.png") as image:
        values = np.asarray(image).copy()
    values[0, :3] = 65535
    Image.fromarray(values).save(images / "a.png")
    how = ("--method", "otsu", "--polarity", "bright", "--min-area", "5")
    maps = run(*how)
    assert not read_weak_sem_seg(str(maps / "a.png"), 1).any()
    run(*how, *option, "--overwrite")
    found = read_weak_sem_seg(str(maps / "a.png"), 1)
    assert (found == square("a")).all()
    run(*how, *option)
    assert "2 maps are there already" in capsys.readouterr().out


def test_stacks_and_turned_images_are_as_a_training_takes_them(run, refused, images):
    exif = Image.Exif()
    exif[274] = 3
    with Image.open(images / "b.jpg") as image:
        image.save(images / "b.jpg", exif=exif, quality=95, subsampling=0)
    maps = run("--method", "otsu")
    turned = np.rot90(square("b"), 2)
    assert (read_weak_sem_seg(str(maps / "b.png"), 1) == turned).all()
    with Image.open(images / "b.jpg") as image:
        image.save(images / "c.tif", save_all=True, append_images=[image.copy()])
    assert f"image {images / 'c.tif'}: holds 2 pages" in refused("--method", "otsu")


def test_class_index_and_processes(run):
    maps = run("--method", "otsu", "--class-index", "3", "--jobs", "2")
    assert (read_weak_sem_seg(str(maps / "b.png"), 3) == square("b", 3)).all()


def test_a_second_run_makes_what_is_missing(run, refused, images, capsys):
    maps = run()
    made = (maps / "a.png").stat().st_mtime_ns
    (maps / "b.png").unlink()
    run()
    assert (maps / "b.png").exists()
    assert (maps / "a.png").stat().st_mtime_ns == made
    assert "1 maps are there already" in capsys.readouterr().out
    assert "are of other settings (method was otsu_local, is otsu)" in refused("--method", "otsu")
    run("--method", "otsu", "--overwrite")
    assert (maps / "a.png").stat().st_mtime_ns > made


def test_maps_from_elsewhere_are_not_mixed_with_ours(run, refused, tmp_path):
    (tmp_path / "maps").mkdir()
    Image.fromarray(square("a", 0)).save(tmp_path / "maps" / "a.png")
    assert "its maps are not ours; --overwrite replaces them" in refused()
    assert not read_weak_sem_seg(str(tmp_path / "maps" / "a.png"), 1).any()
    maps = run("--overwrite")
    assert read_weak_sem_seg(str(maps / "a.png"), 1).any()


def test_unreadable_images(run, refused, images, capsys):
    whole = (images / "a.png").read_bytes()
    (images / "a.png").write_bytes(whole[: len(whole) // 2])
    line = refused()
    assert f"image {images / 'a.png'}: not a readable image" in line
    assert "--skip-bad" in line
    refused("--jobs", "2")
    assert list((images.parent / "maps").iterdir()) == []  # nothing before all can be made
    maps = run("--skip-bad")
    assert sorted(path.name for path in maps.iterdir()) == ["b.png", "made_with.json"]
    out = capsys.readouterr().out
    assert f"left out: image {images / 'a.png'}" in out
    assert "maps written" in out


def coco_files(folder: Path) -> tuple[str, str]:
    """Truth and points: both squares, one point on the first, two beside the second."""
    squares = {stem: mask_api.encode(np.asfortranarray(square(stem))) for stem in SQUARES}
    shared = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 32, "width": 40},
            {"id": 2, "file_name": "b.jpg", "height": 32, "width": 40},
        ],
        "categories": [{"id": 1, "name": "square"}],
    }
    annotations = [
        {
            "id": image_id,
            "image_id": image_id,
            "category_id": 1,
            "bbox": mask_api.toBbox(rle).tolist(),
            "area": int(mask_api.area(rle)),
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
        }
        for image_id, rle in enumerate(squares.values(), start=1)
    ]
    points = [
        {"image_id": image_id, "category_id": 1, "point": point}
        for image_id, point in ((1, [10, 8]), (2, [30, 4]), (2, [31, 5]))
    ]
    truth_file, point_file = folder / "truth.json", folder / "points.json"
    truth_file.write_text(json.dumps({**shared, "annotations": annotations}))
    point_file.write_text(json.dumps({**shared, "points": points}))
    return str(truth_file), str(point_file)


def test_quality_of_the_maps(run, tmp_path, capsys):
    truth, points = coco_files(tmp_path)
    run("--method", "otsu", "--truth", truth, "--points", points)
    out = capsys.readouterr().out
    assert "foreground IoU with the truth: 100.0 %" in out
    assert "points on the foreground: 33.3 % of 3" in out
    assert "no / exactly one / several points: 50.0 % / 50.0 % / 0.0 % of 2" in out


def test_preview(run, tmp_path):
    run("--draw", "5")
    with Image.open(tmp_path / "maps-preview.png") as sheet:
        assert sheet.mode == "RGB"
        assert sheet.height > 2 * 32


def test_refusals(refused, images, tmp_path):
    assert "block size 4: expected an odd number" in refused("--block-size", "4")
    assert "--class-index 0: expected 1..254" in refused("--class-index", "0")
    assert "--jobs 0: expected 1 or more" in refused("--jobs", "0")
    assert "is the image folder" in refused("--output", str(images))
    assert "nowhere: no such folder" in refused("--images", "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no image in it" in refused("--images", str(tmp_path / "empty"))
    assert "cannot be read" in refused("--truth", str(tmp_path / "nothing.json"))
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    assert "has the same name as b.jpg" in refused()
    assert "--method cam needs --config-file" in refused("--method", "cam")
    assert "takes no --dataset" in refused("--dataset", "anything")


def test_images_of_one_stem_in_sub_folders(run, images, capsys):
    for folder in ("day 1", ".hidden", "day 2"):
        (images / folder).mkdir()
    (images / "a.png").rename(images / "day 1" / "a.png")
    (images / "b.jpg").rename(images / "day 2" / "a.jpg")
    (images / ".hidden" / "c.png").write_text("not read")
    content = {
        "images": [
            {"id": 1, "file_name": "day 1/a.png", "height": 32, "width": 40},
            {"id": 2, "file_name": "day 2\\a.jpg", "height": 32, "width": 40},
        ],
        "categories": [{"id": 1, "name": "cell"}],
        "points": [
            {"image_id": 1, "category_id": 1, "point": [10, 8]},
            {"image_id": 2, "category_id": 1, "point": [5, 24]},
        ],
    }
    (images / "points.json").write_text(json.dumps(content))
    output = run("--min-area", "1", "--points", str(images / "points.json"))
    for day, stem in (("day 1", "a"), ("day 2", "b")):
        found = read_weak_sem_seg(str(output / day / "a.png"), 1, (32, 40))
        assert (found == square(stem)).mean() > 0.97
    printed = capsys.readouterr().out
    assert "2 of the 2 images lie in sub-folders" in printed
    assert "points on the foreground: 100.0 % of 2" in printed


def test_maps_below_the_images_are_no_images(run, images):
    run("--min-area", "1", "--output", str(images / "maps"))
    run("--min-area", "1")
    assert sorted(path.name for path in (images.parent / "maps").iterdir()) == [
        "a.png",
        "b.png",
        "made_with.json",
    ]
