"""tools/predict.py on a folder of pictures of every kind, by the folder of a run alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2 import BESTIEPredictor
from bestie_d2.data.picture_files import MARK_OF_RESULTS
from bestie_d2.engine.predictor import PredictionRecipe
from bestie_d2.modeling.tiles import Tiling
from bestie_d2.storage import machine_shares
from bestie_d2.storage.processes import only_run_for
from bestie_d2.weights import checkpoint

TOOL = Path(__file__).resolve().parents[2] / "tools" / "predict.py"
BROKEN = "deep/broken.png"
# Name in the input folder, and the height and width that it is shown with.
SIZES = {
    "1x1.png": (1, 1),
    "a.jpg": (40, 60),
    "deep/16.tif": (40, 60),
    "deep/er/rgba.png": (40, 60),
    "deep/turned.jpg": (60, 40),
    "grey.png": (40, 60),
    "wide.png": (20, 400),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deep" / "er").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        grey = random.integers(0, 256, (max(height // 8, 1), max(width // 8, 1)), dtype=np.uint8)
        image = Image.fromarray(grey).resize((width, height)).convert("RGB")
        options = {}
        if name == "deep/turned.jpg":
            options["exif"] = Image.Exif()
            options["exif"][274] = 6
            image = image.rotate(90, expand=True)
        if name == "deep/16.tif":
            image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 100)
        if name == "deep/er/rgba.png":
            image.putalpha(200)
        image = image.convert("L") if name == "grey.png" else image
        image.save(folder / name, **options)
    (folder / BROKEN).write_bytes((folder / "grey.png").read_bytes()[:60])
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture
def predict(run_main, load_tool, finished_run, pictures) -> Callable[..., str]:
    """Runs the tool; returns what it printed, or complained of."""

    def run(output: Path, *options: str, code: int = 0, where: Path = pictures) -> str:
        argv = [str(TOOL), "--run", str(finished_run), "--input", str(where)]
        return run_main(load_tool(TOOL), [*argv, "--output", str(output), *options], code)

    return run


def coco_of(output: Path) -> dict[str, list[tuple]]:
    """Class, score and mask of each object by picture."""
    content = json.loads((output / "coco.json").read_text())
    found: dict[str, list] = {image["file_name"]: [] for image in content["images"]}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for item in content["annotations"]:
        rle = item["segmentation"]["counts"], tuple(item["segmentation"]["size"])
        found[names[item["image_id"]]].append((item["category_id"], item["score"], rle))
    return found


def without_broken(pictures: Path, folder: Path) -> Path:
    return Path(shutil.copytree(pictures, folder, ignore=shutil.ignore_patterns("broken.png")))


def test_all_but_the_broken_one(predict, pictures, finished_run, tmp_path):
    complaints = predict(tmp_path / "out", "--confidence-threshold", "0", code=3)
    assert BROKEN in complaints
    assert complaints.count("left out: image") == 1
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["cat", "hund"]
    assert {i["file_name"]: (i["height"], i["width"]) for i in content["images"]} == SIZES
    found = coco_of(tmp_path / "out")
    assert sum(map(len, found.values())) > 10
    predictor = BESTIEPredictor.from_run(finished_run, PredictionRecipe(threshold=0.0))
    expected = predictor(pictures / "deep" / "turned.jpg")
    masks = [mask_api.decode({"counts": c, "size": s}) for _, _, (c, s) in found["deep/turned.jpg"]]
    assert (np.array(masks) == expected.pred_masks.numpy()).all()
    for name, (height, width) in SIZES.items():
        drawn = tmp_path / "out" / "overlay" / Path(name).with_suffix(".png")
        assert Image.open(drawn).size == (width, height)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"coco.json", "overlay", MARK_OF_RESULTS}


def test_processes_and_formats_change_nothing(predict, pictures, tmp_path):
    where = without_broken(pictures, tmp_path / "in")
    for number, options in enumerate((["--jobs", "1"], ["--jobs", "2"])):
        out = tmp_path / str(number)
        formats = [["coco", "labels"], ["coco,,labels", "coco"]][number]
        line = predict(out, *options, "--formats", *formats, where=where)
        assert f"7 of 7 pictures in {out}" in line
        assert not (out / "overlay").exists()
        assert Image.open(out / "labels" / "deep" / "turned.png").size == (40, 60)
    assert coco_of(tmp_path / "0") == coco_of(tmp_path / "1")


def test_overlays_of_an_earlier_run_are_no_pictures(predict, pictures, tmp_path, caplog):
    where = without_broken(pictures, tmp_path / "in")
    predict(where / "found", "--formats", "overlay", where=where / "1x1.png")
    line = predict(tmp_path / "out", "--formats", "coco", where=where)
    assert f"7 of 7 pictures in {tmp_path / 'out'}" in line
    assert f"{where / 'found'}: results of an earlier prediction" in caplog.text


def test_where_no_picture_can_be_read_nothing_is_written(predict, pictures, tmp_path):
    complaints = predict(tmp_path / "out", code=3, where=pictures / BROKEN)
    assert complaints.count("left out: image") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MARK_OF_RESULTS]
    predict(tmp_path / "out", where=pictures / "1x1.png")


def test_it_goes_on_where_it_was_killed(
    predict, pictures, finished_run, die_after_two_results, tmp_path
):
    where, out = without_broken(pictures, tmp_path / "in"), tmp_path / "out"
    options = ["--run", str(finished_run), "--input", str(where), "--output", str(out)]
    die_after_two_results([str(TOOL), *options, "--formats", "coco"])
    assert not (out / "coco.json").exists()
    complaints = predict(out, "--confidence-threshold", "0.7", code=2, where=where)
    assert "threshold was 0.2, is 0.7" in complaints
    (where / "new.png").write_bytes((where / "grey.png").read_bytes())
    shutil.copy(where / "deep" / "turned.jpg", where / "a.jpg")  # another picture of that name
    assert "1 images are done already, 7 to go" in predict(out, "--formats", "coco", where=where)
    found = coco_of(out)
    assert found["new.png"] == found["grey.png"]
    predictor = BESTIEPredictor.from_run(finished_run)
    for name, objects in found.items():
        scores = predictor(where / name).scores.tolist()
        assert [score for _, score, _ in objects] == pytest.approx(scores, abs=1e-6)
    complaints = predict(out, "--formats", "coco", code=2, where=where)
    assert "holds coco.json already; --overwrite" in complaints
    predict(out, "--formats", "coco", "--overwrite", where=where / "1x1.png")
    assert list(coco_of(out)) == ["1x1.png"]


def test_machines_share_the_pictures(predict, pictures, tmp_path, monkeypatch):
    out, words = tmp_path / "out", ("--formats", "coco", "--num-machines", "3")
    predict(tmp_path / "whole", "--formats", "coco", code=3)
    monkeypatch.setattr(machine_shares, "SECONDS_TO_BEGIN", 0.0)
    assert "rank 0 has begun nothing" in predict(out, *words, "--machine-rank", "1", code=2)
    assert not out.exists()
    lost = ExitStack()
    lost.enter_context(only_run_for(f"{out}.share-2-of-3"))
    with only_run_for(f"{out}.share-1-of-3"), monkeypatch.context() as patch:
        # Has done its own share.
        patch.setattr(machine_shares.time, "sleep", raise_interrupt)
        predict(out, *words, code=130)
    second = predict(out, *words, "--machine-rank", "1")
    assert "3 images of a share to go" in second
    assert f"the share of machine 1 of 3 is done; the machine of rank 0 writes {out}" in second
    assert "another run is working" in predict(out, *words, "--machine-rank", "2", code=2)
    monkeypatch.setattr(machine_shares.time, "sleep", lambda seconds: lost.close())
    assert predict(out, *words, code=3).count("left out: image") == 1
    assert (out / "coco.json").read_bytes() == (tmp_path / "whole" / "coco.json").read_bytes()
    assert {path.name for path in out.iterdir()} == {"coco.json", MARK_OF_RESULTS}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def raise_interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


def test_the_weights_are_read_as_often_for_many_pictures_as_for_one(
    predict, pictures, tmp_path, monkeypatch
):
    read, read_weights = [], checkpoint.read_weights
    monkeypatch.setattr(
        checkpoint, "read_weights", lambda *a, **k: read.append(a) or read_weights(*a, **k)
    )
    predict(tmp_path / "one", "--formats", "coco", code=0, where=pictures / "a.jpg")
    once = len(read)
    predict(tmp_path / "all", "--formats", "coco", where=without_broken(pictures, tmp_path / "in"))
    assert len(read) == 2 * once > 0


def test_tiles_and_scale(predict, pictures, finished_run, tmp_path):
    options = ["--tile", "64", "--overlap", "32", "--scale", "2", "--formats", "coco"]
    predict(tmp_path / "out", *options, code=0, where=pictures / "wide.png")
    recipe = PredictionRecipe(tiling=Tiling(64, 32), scale=2.0)
    expected = BESTIEPredictor.from_run(finished_run, recipe)(pictures / "wide.png")
    found = coco_of(tmp_path / "out")["wide.png"]
    assert [score for _, score, _ in found] == pytest.approx(expected.scores.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--formats", "png"], "--formats has ['png']"),
        (["--formats", "Coco"], "--formats has ['Coco']"),
        (["--formats", "labels,png"], "--formats has ['png']"),
        (["--scale", "inf"], "--scale inf: expected 0.03125 to 32"),
        (["--scale", "0.001"], "--scale 0.001: expected 0.03125 to 32"),
        (["--tile", "-5"], "--tile -5: expected 64 pixels or more"),
        (["--formats", ","], "--formats has nothing; choose from"),
        (["--tile", "100", "--overlap", "60"], "--tile 100 --overlap 60"),
        (["--weights", "none.pth"], "none.pth: no such file"),
        (["--jobs", "0"], "--jobs 0"),
        (["MODEL.BESTIE.TEST.KERNELL", "3"], "no such key"),
        (["--formats", "coco", "MODEL.BESTIE.TEST.KERNELL", "3"], "no such key"),
    ],
)
def test_what_is_refused(predict, tmp_path, options, line):
    assert line in predict(tmp_path / "out", *options, code=2)
    assert not (tmp_path / "out").exists()
