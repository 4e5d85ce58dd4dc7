"""Every format, read again by rules of the tools it is for, gives the masks that were written."""

from __future__ import annotations

import csv
import json
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from foreign_readers import READERS, fill_as_yolo, yolo_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bestie_d2.errors import InputError
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers import WRITERS, label_image_writer
from bestie_d2.writers.writer import OneFileWriter

NAMES = ["cell & <nucleus>", "zelle, groß", "細胞"]
SIZE = (24, 31)
# A ring that touches its own hole's corner, a hole at a hole's corner, two parts one of which is in
# the hole of the other, a single pixel, and a mask of which the crop has empty borders.
DRAWN = [
    ["####", "#.##", "##.#", "####"],
    ["#####", "#.#.#", "##.##", "#####"],
    ["#######", "#.....#", "#.###.#", "#.....#", "#######"],
    ["#"],
    [".....", "..##.", ".##..", "....."],
]


def mask_of(rows: Sequence[str]) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def whole(found: ObjectMask, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    (top, left), (height, width) = found.top_left, found.mask.shape
    mask[top : top + height, left : left + width] = found.mask
    return mask


def write(
    output: Path, formats: Sequence[str], images: Sequence[LabeledImage], **options: object
) -> None:
    for name in formats:
        writer = WRITERS[name](output, NAMES, **options)
        for image in images:
            writer.add(image)
        writer.close()


def drawn_image(folder: Path, name: str = "a b/größe, 1.png") -> LabeledImage:
    path = folder / "photos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (200, 200, 200)).save(path)
    places = [(0, 0), (0, 26), (17, 3), (23, 30), (8, 8)]
    objects = [
        ObjectMask(number % 3, 0.123456789 + number / 10, place, mask_of(rows))
        for number, (rows, place) in enumerate(zip(DRAWN, places, strict=True))
    ]
    return LabeledImage(name, str(path), *SIZE, objects)


@pytest.mark.parametrize("name", READERS)
def test_drawn_masks_come_back(tmp_path, name):
    image = drawn_image(tmp_path)
    empty = LabeledImage("none.png", image.image_path, *SIZE, [])
    blank = ObjectMask(0, 0.5, (3, 3), np.zeros((4, 4), bool))
    write(tmp_path / "out", [name], [empty, image, LabeledImage("blank.png", "", 9, 9, [blank])])
    found = READERS[name](tmp_path / "out", image.file_name, SIZE)
    assert len(found) == len(image.objects)
    for (label, score, mask), item in zip(found, image.objects, strict=True):
        assert label == NAMES[item.class_id]
        assert score in (None, round(item.score, 6))
        expected = whole(item, SIZE)
        in_parts = cv2.connectedComponents(expected.view(np.uint8))[0] > 2
        if name == "yolo" and in_parts:  # the inner one hangs on a line of a pixel's width
            assert (mask | expected == mask).all()
            assert (mask & ~expected).sum() == 1
        else:
            assert (mask == expected).all()


def test_objects_without_pixels_and_images_without_objects_are_ordinary(tmp_path):
    blank = ObjectMask(0, 0.5, (3, 3), np.zeros((4, 4), bool))
    images = [LabeledImage(f"{n}.png", "", 9, 9, [blank] * n) for n in (0, 1)]
    write(tmp_path, [name for name in READERS if name != "labelme"], images)
    for name in set(READERS) - {"labelme"}:
        assert all(READERS[name](tmp_path, image.file_name, (9, 9)) == [] for image in images)
    assert (tmp_path / "yolo" / "labels" / "0.txt").read_text() == ""


@st.composite
def images(draw: st.DrawFn) -> LabeledImage:
    """Masks of any shape, with holes and parts, anywhere in a picture."""
    height, width = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    objects = []
    for class_id in draw(st.lists(st.integers(0, 2), max_size=3)):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        shape = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
        mask = draw(arrays(bool, shape, elements=st.booleans(), fill=st.booleans()))
        score = draw(st.integers(0, 100)) / 100
        if mask.any():
            objects.append(ObjectMask(class_id, score, (top, left), mask))
    return LabeledImage("folder/any.png", __file__, height, width, objects)


@settings(max_examples=40)
@given(images())
def test_any_mask_comes_back(image):
    size = (image.height, image.width)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), list(READERS), [image])
        for name, reader in READERS.items():
            found = reader(Path(folder), image.file_name, size)
            told = [(NAMES[item.class_id], item.score) for item in image.objects]
            assert [(label, score) for label, score, _ in found] == (
                [(label, None) for label, _ in told] if name == "yolo" else told
            )
            for (_, _, mask), item in zip(found, image.objects, strict=True):
                expected = whole(item, size)
                if name == "labels":
                    expected &= ~covered(item, image, size)
                if name == "yolo":
                    apart = cv2.connectedComponents(expected.view(np.uint8))[0] > 2
                    assert cv2.connectedComponents(mask.view(np.uint8))[0] == 2
                    assert (mask & expected == expected).all()
                    assert apart or (mask == expected).all()
                else:
                    assert (mask == expected).all(), name


def covered(item: ObjectMask, image: LabeledImage, size: tuple[int, int]) -> np.ndarray:
    """Where other objects of a higher score, or of the same and a later place, lie."""
    place = next(n for n, other in enumerate(image.objects) if other is item)
    above = np.zeros(size, bool)
    for n, other in enumerate(image.objects):
        if (other.score, n) > (item.score, place):
            above |= whole(other, size)
    return above


def test_yolo_as_a_training_resamples_it(tmp_path):
    """Ultralytics puts 1,000 points along an outline that has fewer: the border moves by no more
    than a pixel, also that of holes."""
    blobs = cv2.GaussianBlur(np.random.default_rng(0).random((100, 100)), (0, 0), 3) > 0.5
    components, numbers = cv2.connectedComponents(blobs.view(np.uint8))
    objects = [ObjectMask(0, 1.0, (0, 0), numbers == number) for number in range(1, components)]
    write(tmp_path, ["yolo"], [LabeledImage("a.png", "", 100, 100, objects)])
    assert len(objects) == 12
    square = np.ones((3, 3), np.uint8)
    for (_, segment), item in zip(yolo_segments(tmp_path, "a.png"), objects, strict=True):
        closed = np.concatenate([segment, segment[:1]])
        at = np.linspace(0, len(closed) - 1, max(1000, len(closed)))
        points = [np.interp(at, np.arange(len(closed)), column) for column in closed.T]
        mask = fill_as_yolo(np.stack(points, axis=1).astype(np.float32), (100, 100))
        assert (mask <= cv2.dilate(item.mask.view(np.uint8), square)).all()
        assert (mask >= cv2.erode(item.mask.view(np.uint8), square)).all()


def test_objects_that_share_pixels_in_a_label_image(tmp_path):
    first, second = (
        ObjectMask(0, score, (0, left), np.ones((1, 3), bool))
        for score, left in ((0.9, 0), (0.5, 1))
    )
    write(tmp_path, ["labels"], [LabeledImage("a.tif", "", 1, 5, [first, second])])
    assert np.array(Image.open(tmp_path / "labels" / "a.png")).tolist() == [[1, 1, 1, 2, 0]]
    table = (tmp_path / "labels" / "a.csv").read_text(encoding="utf-8")
    assert table == (
        "label,class,score,pixels\n1,cell & <nucleus>,0.9,3\n2,cell & <nucleus>,0.5,1\n"
    )


def test_more_objects_than_16_bits_count(tmp_path, monkeypatch):
    assert label_image_writer.LARGEST_IN_PNG == 65_535
    monkeypatch.setattr(label_image_writer, "LARGEST_IN_PNG", 2)
    objects = [ObjectMask(0, 1.0, (0, n), np.ones((1, 1), bool)) for n in range(3)]
    write(tmp_path, ["labels"], [LabeledImage("a.png", "", 2, 4, objects)])
    labels = tifffile.imread(tmp_path / "labels" / "a.tif")
    assert labels.dtype == np.uint32
    assert labels.tolist() == [[1, 2, 3, 0], [0, 0, 0, 0]]
    assert not (tmp_path / "labels" / "a.png").exists()


def test_table_of_measures(tmp_path):
    image = drawn_image(tmp_path)
    write(tmp_path, ["csv"], [image])
    with open(tmp_path / "measures.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert ",".join(head) == (
        "file_name,object,class,score,area,box_x,box_y,box_width,box_height,"
        "centroid_x,centroid_y,touches_border"
    )
    assert rows[0] == [image.file_name, "1", NAMES[0], "0.123457", "14", "0", "0", "4", "4",
                       "1.5", "1.5", "1"]  # fmt: skip
    assert rows[4] == [image.file_name, "5", NAMES[1], "0.523457", "4", "9", "9", "3", "2",
                       "10.0", "9.5", "0"]  # fmt: skip
    assert [row[-1] for row in rows] == ["1", "1", "0", "1", "0"]


def test_overlay_of_a_picture(tmp_path):
    image = drawn_image(tmp_path)
    write(tmp_path / "out", ["overlay"], [image])
    drawn = np.array(Image.open(tmp_path / "out" / "overlay" / "a b" / "größe, 1.png"))
    changed = (drawn != 200).any(axis=2)
    assert (changed == sum(whole(item, SIZE) for item in image.objects)).all()


def test_sub_folders_are_kept_and_no_image_takes_the_files_of_another(tmp_path):
    names = ["a.png", "A.JPG", "x/a.png", "x\\b.png", "c.d.tif"]
    made = [LabeledImage(name, "", 2, 2, []) for name in names]
    write(tmp_path, ["geojson", "coco"], made, file_names=names)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.geojson")}
    stems = {"a.png", "A.JPG", "x/a", "x/b", "c.d"}
    assert files == {f"geojson/{stem}.geojson" for stem in stems}
    listed = json.loads((tmp_path / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in listed] == names


def test_labels_that_ultralytics_does_not_look_for_are_warned_of(tmp_path, caplog):
    WRITERS["yolo"](tmp_path, NAMES, file_names=["a.jpg", "b.png"])
    assert caplog.messages == []
    WRITERS["yolo"](tmp_path, NAMES, file_names=["a.jpg", "b.png", "a.png"])
    (line,) = caplog.messages
    assert line.startswith(
        "yolo: 2 pictures share their name but for the suffix (first a.jpg): their labels are "
        "called a.jpg.txt"
    )


def test_the_file_of_a_set_is_there_when_all_are_added(tmp_path):
    image = drawn_image(tmp_path)
    for name, writer_class in WRITERS.items():
        if issubclass(writer_class, OneFileWriter):
            writer, path = writer_class(tmp_path, NAMES), tmp_path / writer_class.file_name
            path.write_text("of an earlier run", encoding="utf-8")
            writer.add(image)
            assert path.read_text(encoding="utf-8") == "of an earlier run", name
            writer.close()
            assert "of an earlier run" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["labels", "geojson", "labelme", "overlay"])
def test_nothing_is_left_of_an_image_that_could_not_be_written(tmp_path, name):
    square = ObjectMask(7, 1.0, (0, 0), np.ones((2, 2), bool))  # there is no class 7
    writer = WRITERS[name](tmp_path, NAMES)
    with pytest.raises((IndexError, InputError)):
        writer.add(LabeledImage("a.png", str(tmp_path / "missing.png"), 2, 2, [square]))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_memory_does_not_grow_with_the_picture(tmp_path):
    """100 million pixels, with an object in two corners; a mask of them all would be 100 MB."""
    side = 10_000
    places = [(0, 0), (side - 40, side - 40)]
    disc = np.hypot(*np.mgrid[-19.5:20, -19.5:20]) < 19
    objects = [ObjectMask(0, 0.5, place, disc) for place in places]
    image = LabeledImage("large.png", "", side, side, objects)
    tracemalloc.start()
    write(tmp_path, [name for name in WRITERS if name not in ("labels", "overlay")], [image])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    (first, *_) = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert first["area"] == disc.sum()
