"""Exports of any tool: the same points from each, wrong content in one line, archives and XML with
care, names of pictures, and data sets that are made of them."""

from __future__ import annotations

import json
import runpy
import sys
import zipfile
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bestie_d2.data import register_weak_dataset
from bestie_d2.data.labels.annotation_tools import export_files
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.registry import FORMAT_NAMES
from bestie_d2.data.labels.attach import load_weak_records, registered_records
from bestie_d2.data.labels.conversion import convert_labels
from bestie_d2.data.labels.tags import remarks_of
from bestie_d2.errors import InputError

ROOT = Path(__file__).resolve().parents[4]
PLACES = [("a.png", "cat", 20, 30), ("a.png", "dog", 151, 80), ("b.jpg", "cat", 7, 9)]
SIDES = {"a.png": (200, 100), "b.jpg": (48, 64)}


def of(name: str) -> list[tuple[str, int, int]]:
    return [place[1:] for place in PLACES if place[0] == name]


def label_studio() -> list:
    tasks = []
    for name, (width, height) in SIDES.items():
        results = [
            {
                "type": "keypointlabels",
                "original_width": width,
                "original_height": height,
                "value": {
                    "x": 100 * (x + 0.5) / width,
                    "y": 100 * (y + 0.5) / height,
                    "keypointlabels": [label],
                },
            }
            for label, x, y in of(name)
        ]
        tasks.append({"data": {"image": name}, "annotations": [{"result": results}]})
    return tasks


def cvat() -> str:
    text = "<annotations>"
    for name, (width, height) in SIDES.items():
        text += f'<image name="{name}" width="{width}" height="{height}">'
        for label, x, y in of(name):
            text += f'<points label="{label}" points="{x + 0.5},{y + 0.5}"/>'
        text += "</image>"
    return text + "</annotations>"


def via() -> dict:
    return {
        name: {
            "filename": name,
            "regions": [
                {
                    "shape_attributes": {"name": "point", "cx": x, "cy": y},
                    "region_attributes": {"class": label},
                }
                for label, x, y in of(name)
            ],
        }
        for name in SIDES
    }


def fiftyone() -> dict:
    samples = []
    for name, (width, height) in SIDES.items():
        labels = [
            {"label": label, "points": [[(x + 0.5) / width, (y + 0.5) / height]]}
            for label, x, y in of(name)
        ]
        field = {"_cls": "Keypoints", "keypoints": labels}
        samples.append({"filepath": f"/data/{name}", "ground_truth": field})
    return {"samples": samples}


def coco() -> dict:
    names, labels = list(SIDES), ["cat", "dog"]
    return {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": i, "name": label} for i, label in enumerate(labels)],
        "annotations": [
            {
                "image_id": names.index(name),
                "category_id": labels.index(label),
                "keypoints": [x, y, 2],
            }
            for name, label, x, y in PLACES
        ],
    }


def table() -> str:
    return "file,label,x,y\n" + "".join(f"{n},{label},{x},{y}\n" for n, label, x, y in PLACES)


EXPORTS = {
    **{"ls.json": label_studio, "cvat.xml": cvat, "via.json": via, "fo.json": fiftyone},
    **{"coco.json": coco, "points.csv": table},
}


def test_the_same_points_from_each_tool(convert):
    written = []
    for name, export in EXPORTS.items():
        convert(name, export())
        written.append(convert.written)
    assert written[0]["points"] == [
        {"image_id": 1, "category_id": 1, "point": [20, 30]},
        {"image_id": 1, "category_id": 2, "point": [151, 80]},
        {"image_id": 2, "category_id": 1, "point": [7, 9]},
    ]
    assert written == [written[0]] * len(written)
    convert("ours.json", written[0])
    assert convert.written == written[0]


def test_the_format_can_be_named(convert):
    assert convert("x.json", coco(), wanted="coco")["b.jpg"] == [("cat", 7, 9)]
    with pytest.raises(InputError, match=r"x\.json: is not CVAT for images 1\.1"):
        convert("x.json", wanted="cvat")
    with pytest.raises(InputError, match="--from is 'vott'; choose from"):
        convert("x.json", wanted="vott")
    with pytest.raises(InputError, match=r"in no format that is known \(label-studio, cvat"):
        convert("x.json", {"some": "thing"})


def test_classes_can_be_given(convert):
    convert("x.json", coco(), classes=["dog", "cat", "owl"])
    assert [c["name"] for c in convert.written["categories"]] == ["dog", "cat", "owl"]
    with pytest.raises(InputError, match=r"'dog' is none of the classes asked for \(cat\)"):
        convert("x.json", coco(), classes=["cat"])


@pytest.mark.parametrize("name", EXPORTS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_export_is_read_or_refused_in_a_line(convert, name, data):
    """One value of it is another one, or it ends early."""
    content = EXPORTS[name]()
    if isinstance(content, str):
        start, length = data.draw(st.tuples(st.integers(0, len(content)), st.integers(0, 9)))
        content = content[:start] + data.draw(st.text(max_size=3)) + content[start + length :]
    else:
        spoil(content, data)
    line = name
    try:
        convert(name, content)
    except InputError as error:
        line = str(error)
    assert name in line
    assert "\n" not in line


def spoil(content: object, data: st.DataObject) -> None:
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = data.draw(st.sampled_from(keys))
    if isinstance(content[key], (dict, list)) and content[key] and data.draw(st.booleans()):
        spoil(content[key], data)
    else:
        odd = [None, True, -1, 1e999, "", "x", [], {}, [None], {"x": 1}, "a" * 99]
        content[key] = data.draw(st.sampled_from(odd))


def test_entities_are_refused(convert):
    text = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    with pytest.raises(InputError, match=r"x\.xml: has a document type"):
        convert("x.xml", text + "<annotations><image name='&e;'/></annotations>")


def test_archives(convert, tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    path = tmp_path / "export" / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../annotations.xml", cvat())
        archive.writestr("__MACOSX/._annotations.xml", "none")
    assert convert("x.zip")["b.jpg"] == [("cat", 7, 9)]
    assert sorted(p.name for p in tmp_path.rglob("*.xml")) == []
    monkeypatch.setattr(export_files, "LARGEST", 99)
    with pytest.raises(InputError, match=r"x\.zip: more than 0 MiB to read; unpack it"):
        convert("x.zip")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"x\.zip: not a ZIP archive that can be read"):
        convert("x.zip")


def test_folders_of_several_formats(convert, tmp_path):
    for name in ("coco.json", "points.csv"):
        content = EXPORTS[name]()
        path = tmp_path / "export" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "export" / "info.json").write_text("{}")
    convert("")
    assert "left out: 2 files that are not COCO" in convert.told[1]
    with pytest.raises(InputError, match=r"save it as CSV"):
        convert("points.xlsx", b"PK")
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read \(No such file"):
        convert("nothing.json")


def test_names_of_pictures(tmp_path):
    for name in ("day 1/a.png", "day 2/a.png", "b.tif", "Weird (1).png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (1, 1)).save(tmp_path / name)
    pictures = Pictures.of_folder(str(tmp_path))
    found = {
        "/home/eva/day 2/a.jpg": "day 2/a.png",
        "a.png": None,
        "C:\\x\\b.png": "b.tif",
        "elsewhere/b.tif": "b.tif",
        "Weird_1.png": "Weird (1).png",
        "c.png": None,
    }
    assert {name: pictures.match([(name,)])[0] for name in found} == found
    Image.new("L", (1, 1)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png and b\.tif differ by suffix alone; rename one"):
        Pictures.of_folder(str(tmp_path))


def test_a_dot_in_a_name_is_no_suffix(convert, images):
    """Where a file is called like its picture, or a table leaves suffixes out."""
    (images / "a.png").rename(images / "slide 2.5um.png")
    points = {"type": "Point", "coordinates": [20.5, 30.5]}
    feature = {"type": "Feature", "geometry": points, "properties": {"classification": "cat"}}
    expected = {"slide 2.5um.png": [("cat", 20, 30)]}
    for name in ("slide 2.5um.geojson", "slide 2.5um.svs.geojson"):
        assert convert(name, feature) == expected
    assert convert("x.csv", "file,x,y,class\nslide 2.5um,20,30,cat\n") == expected


def test_a_name_of_several_pictures_is_said_to_be_one(convert, images):
    for name in ("day 1", "day 2"):
        (images / name).mkdir()
        Image.new("L", (1, 1)).save(images / name / "c.png")
    task = {"data": {"image": "/data/upload/1/0b1c2d3e-c.png"}, "annotations": [{"result": []}]}
    line = r"0b1c2d3e-c\.png, which may be any of day 1/c\.png, day 2/c\.png"
    with pytest.raises(InputError, match=line):
        convert("ls.json", [task])


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_an_empty_export_is_said_to_be_empty(convert, content):
    with pytest.raises(InputError, match=r"x\.json: holds no export, or an empty one"):
        convert("x.json", content)


def test_the_output_is_a_new_file_in_any_folder(tmp_path, images):
    """An export is not replaced by what is made of it."""
    export, output = tmp_path / "x.xml", tmp_path / "new" / "points.json"
    export.write_text(cvat())
    with pytest.raises(InputError, match=r"x\.xml: is the export itself; name another file"):
        convert_labels(str(export), images=str(images), output=str(export))
    assert export.read_text() == cvat()
    for folder in (str(tmp_path), f"{tmp_path}/new/"):
        with pytest.raises(InputError, match=r"^--output .*: is a folder; name a file in it"):
            convert_labels(str(export), images=str(images), output=folder)
    convert_labels(str(export), images=str(images), output=str(output))
    assert len(json.loads(output.read_text())["points"]) == 3


@pytest.mark.parametrize("kind", ["points", "tags"])
def test_pictures_that_cannot_be_read_are_named(convert, images, kind):
    """Also where the file says their size."""
    sized = {"id": 1, "file_name": "b.jpg", "height": 64, "width": 48}
    entries = [{"image_id": 1, "category_id": 1, "point": [3, 4]}]
    lists = {"images": [sized], "categories": [{"id": 1, "name": "cat"}]}
    name = "points" if kind == "points" else "annotations"
    assert convert("x.json", {**lists, name: entries}, kind=kind)["b.jpg"] != []
    (images / "b.jpg").write_bytes(b"none")
    with pytest.raises(InputError, match=r"image .*b\.jpg: not a readable image"):
        convert("x.json", {**lists, name: entries}, kind=kind)


def test_a_folder_without_a_picture_is_refused_by_the_option(convert, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"^--images .*none: no picture there"):
        convert("x.xml", cvat(), images=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("x.csv", table(), r"x\.csv: line 3 is not in UTF-8 \(.*\): save the file as UTF-8$"),
        ("x.json", json.dumps(coco(), indent=0), r"x\.json: line 19 is not in UTF-8 .* as UTF-8$"),
        ("x.xml", cvat(), r"x\.xml: not an XML file \(.*: line 1, column 114\); save it as UTF-8$"),
    ],
)
def test_files_in_another_encoding_are_told_to_be_saved_in_ours(convert, name, text, line):
    with pytest.raises(InputError, match=line):
        convert(name, text.replace("dog", "B\xe4r").encode("latin-1"))


def test_a_size_that_no_picture_has(convert):
    tasks = label_studio()
    tasks[0]["annotations"][0]["result"][0]["original_height"] = 10**400
    with pytest.raises(InputError, match=r"task 0 has 1000*x200 pixels"):
        convert("ls.json", tasks)


def test_pictures_that_are_one(convert):
    twice = [task | {"data": {"image": "a.png"}} for task in label_studio()]
    with pytest.raises(InputError, match=r"task 0 and task 1 are both the picture a\.png"):
        convert("ls.json", twice)
    with pytest.raises(
        InputError, match=r"A\.png and the picture a\.png differ in upper and lower"
    ):
        convert("points.csv", table().replace("a.png", "A.png"))


@pytest.mark.parametrize("name", EXPORTS)
def test_a_data_set_takes_exports(convert, tmp_path, images, new_name, name):
    """``DATASETS.CUSTOM`` reads the same points, and the same lines are told."""
    convert(name, EXPORTS[name]())
    (tmp_path / "maps").mkdir()
    for picture, (width, height) in SIDES.items():
        Image.new("L", (width, height), 1).save(tmp_path / "maps" / f"{Path(picture).stem}.png")
    dataset = new_name()
    register_weak_dataset(
        dataset,
        images=str(images),
        points=str(tmp_path / "export" / name),
        weak_maps=str(tmp_path / "maps"),
    )
    records = load_weak_records(dataset, num_classes=2)
    assert MetadataCatalog.get(dataset).thing_classes == ["cat", "dog"]
    found = [
        (Path(r["file_name"]).name, index, *xy)
        for r in records
        for xy, index in zip(r["cues"].yx.flip(1).tolist(), r["cues"].classes.tolist(), strict=True)
    ]
    assert found == [(n, ["cat", "dog"].index(label), x, y) for n, label, x, y in PLACES]
    assert remarks_of(dataset) == convert.told[: len(remarks_of(dataset))]


def test_a_data_set_takes_tags_of_exports(tmp_path, images, new_name):
    (tmp_path / "x.xml").write_text(cvat())
    dataset = new_name()
    register_weak_dataset(dataset, images=str(images), tags=str(tmp_path / "x.xml"))
    tags = {Path(r["file_name"]).name: r["image_classes"] for r in registered_records(dataset)}
    assert tags == {"a.png": [0, 1], "b.jpg": [0]}


def test_the_command(tmp_path, images, monkeypatch, capsys):
    (tmp_path / "x.xml").write_text(cvat())
    monkeypatch.chdir(tmp_path)

    def run(name: str, *more: str) -> object:
        options = ["--images", str(images), "--output", "out.json", "--input", name, *more]
        monkeypatch.setattr(sys, "argv", ["convert_labels.py", *options])
        runpy.run_path(str(ROOT / "tools" / "convert_labels.py"), run_name="__main__")
        return capsys.readouterr()

    assert run("x.xml").out.splitlines() == [
        "x.xml: read as CVAT for images 1.1",
        "2 images, 3 points of 2 classes: cat 2, dog 1",
        "written to out.json",
    ]
    with pytest.raises(SystemExit, match="2"):
        run("y.xml")
    line = "error: y.xml: cannot be read (No such file or directory)\n"
    assert capsys.readouterr().err == line
    told = run("x.xml", "--classes", "dog,cat", '"owl, grey"', "cat").out.splitlines()
    assert told[1] == "2 images, 3 points of 3 classes: dog 1, cat 2, owl, grey 0"
    with pytest.raises(SystemExit, match="2"):
        run("x.xml", "--classes", ",")
    assert capsys.readouterr().err == "error: --classes names no class\n"


def test_all_formats_are_documented():
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert [name for name in FORMAT_NAMES if f"`{name}`" not in text] == []
