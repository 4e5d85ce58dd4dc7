"""Names of images and of their weak labels: sub-folders, other systems' ways to write them."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from bestie_d2.data import attach_weak_labels, read_cues, register_weak_dataset
from bestie_d2.data.labels.attach import weak_map_path
from bestie_d2.data.names import (
    label_name,
    label_names,
    located,
    match_label_names,
    match_names,
    missing,
    names_of_records,
)
from bestie_d2.errors import InputError

COMPOSED, PARTED = (unicodedata.normalize(form, "größe.png") for form in ("NFC", "NFD"))


def touch(folder, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def register(name, write_json, tmp_path, files: list[str], points: list[dict] = ()) -> list[dict]:
    images = [
        {"id": number, "file_name": file, "height": 2, "width": 3}
        for number, file in enumerate(files, start=1)
    ]
    categories = [{"id": 1, "name": "cat"}]
    path = write_json(
        tmp_path / "points.json", {"images": images, "categories": categories, "points": points}
    )
    register_weak_dataset(name, images=str(tmp_path / "images"), points=path)
    return DatasetCatalog.get(name)


def test_labels_go_by_the_stem_where_all_differ_else_by_the_path():
    assert label_names(["day 1/a.png", "b.tif"]) == ["a", "b"]
    assert label_names(["day 1/a.png", "day 2\\a.png"]) == ["day 1/a", "day 2/a"]
    assert label_names(["../images/a.png", "/b/a.png"]) == ["images/a", "b/a"]


def test_records_of_one_stem_have_labels_in_sub_folders(name, tmp_path, write_json, write_png):
    files = ["day 1/a.png", "day 2\\a.png"]
    points = [
        {"image_id": 1, "category_id": 1, "point": [0, 1]},
        {"image_id": 2, "category_id": 1, "point": [2, 0]},
    ]
    for folder in ("images", "maps"):
        for day in ("day 1", "day 2"):
            write_png(tmp_path / folder / day / "a.png", np.zeros((2, 3)))
    records = register(name, write_json, tmp_path, files, points)
    first, second = attach_weak_labels(
        records,
        weak_maps=str(tmp_path / "maps"),
        cues=str(tmp_path / "points.json"),
        classes=["cat"],
        num_classes=1,
    )
    assert second["file_name"] == str(tmp_path / "images" / "day 2" / "a.png")
    assert second["sem_seg_file_name"] == str(tmp_path / "maps" / "day 2" / "a.png")
    assert (first["cues"].yx.tolist(), second["cues"].yx.tolist()) == ([[1, 0]], [[0, 2]])
    for day, line in (("day 1", "1 1 0"), ("day 2", "0 0 0")):
        touch(tmp_path / "text", f"{day}/a.txt")
        (tmp_path / "text" / day / "a.txt").write_text(line)
    names = names_of_records(records)
    cues = read_cues(str(tmp_path / "text"), classes=["cat"], names=names)
    assert {key: found.yx.tolist() for key, found in cues.items()} == {
        "day 1/a": [[1, 1]],
        "day 2/a": [[0, 0]],
    }


def test_maps_of_differing_stems_lie_in_the_folder_or_in_the_same_sub_folder(
    name, tmp_path, write_json
):
    touch(tmp_path, "images/day 1/a.png", "images/day 1/b.png", "maps/a.png", "maps/day 1/b.png")
    first, second = register(name, write_json, tmp_path, ["day 1/a.png", "day 1/b.png"])
    assert (label_name(first), label_name(second)) == ("a", "b")
    folder = str(tmp_path / "maps")
    assert weak_map_path(folder, first) == f"{folder}/a.png"
    assert weak_map_path(folder, second) == f"{folder}/day 1/b.png"


def test_cues_of_a_larger_set_are_matched_by_path_before_stem(name, tmp_path, write_json):
    records = register(name, write_json, tmp_path, ["day 2/a.png"])
    names = names_of_records(records)
    assert match_names(["day 1/a", "day 2/a"], names) == [None, "a"]
    assert match_names(["elsewhere/a"], names) == ["a"]
    with pytest.raises(InputError, match=r"cues\.json: two images are called 'a'; weak labels go"):
        match_label_names("cues.json", ["day 1/a.png", "day 3/a.png"], names)


@pytest.mark.parametrize(("on_disk", "written"), [(COMPOSED, PARTED), (PARTED, COMPOSED)])
def test_letters_composed_in_another_way_are_found(tmp_path, on_disk, written):
    touch(tmp_path, f"day/{on_disk}")
    assert on_disk != written
    assert located(str(tmp_path), f"day\\{written}") == f"{tmp_path}/day/{on_disk}"
    assert located(str(tmp_path), "day/other.png") is None


def test_another_letter_case_is_no_file_but_a_hint(tmp_path):
    touch(tmp_path, "Day/a.PNG", "b.tif")
    assert located(str(tmp_path), "day/a.png") is None
    line = missing("image", f"{tmp_path}/day/a.png")
    assert line.endswith(
        f"no such file; there is {tmp_path}/Day/a.PNG, whose name differs in upper and lower case "
        "alone"
    )
    assert missing("image", f"{tmp_path}/b.png").endswith(
        f"; there is {tmp_path}/b.tif, whose name has another suffix"
    )
    for written in ("b .tif", "b.tif ", "%62.tif"):
        assert missing("image", f"{tmp_path}/{written}").endswith(
            f"there is {tmp_path}/b.tif, whose name differs in blanks or in %20 and the like alone"
        )
    assert missing("image", f"{tmp_path}/C:\\c.png").endswith(
        "; its name holds backslashes: write / between folders"
    )
    assert missing("image", f"{tmp_path}/c.png") == f"image {tmp_path}/c.png: no such file"


def test_cue_files_of_another_letter_case_are_refused(tmp_path):
    (tmp_path / "IMG_1.txt").write_text("1 1 0")
    with pytest.raises(InputError, match=r"'IMG_1\.txt' and the image 'img_1' differ in upper and"):
        read_cues(str(tmp_path), classes=["cat"], sizes={"img_1": (2, 3)})
