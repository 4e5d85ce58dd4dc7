"""Tables of points and of tags, and folders of classes."""

from __future__ import annotations

import pytest
from PIL import Image

from bestie_d2.errors import InputError

TWO = {"a.png": [("cat", 20, 30), ("dog", 150.5, 80.25)]}


@pytest.mark.parametrize(
    "text",
    [
        "file_name,x,y,label\na.png,20,30,cat\na.png,150.5,80.25,dog\n",
        "image;class;X (px);Y (px)\na;cat;20,0;30,0\na;dog;150,5;80,25\n",
        "Label\tcol\trow\timage\ncat\t20\t30\ta.png\ndog\t150.5\t80.25\ta.png\n",
        "a.png,20,30,cat\na.png,150.5,80.25,dog\n",
        "x,y,species,note\n20,30,cat,-\n150.5,80.25,dog,-\n",  # in a.csv, of a.png
        "file,x %,y %,label\na.png,10.25,30.5,cat\na.png,75.5,80.75,dog\n",
        "file,x,y,label\na.png,10.25%,30.5%,cat\na.png,75.5%,80.75%,dog\n",
        "file,x_rel,y_rel,label\na.png,0.1025,0.305,cat\na.png,0.755,0.8075,dog\n",
        "file,x,y,label\na.png,0.1025,0.305,cat\na.png,0.755,0.8075,dog\n",
        "bild;x;y;klasse\na.png;20;30;cat\na.png;150,5;80,25;dog\n",
        "file,px_x,px_y,label\na.png,20,30,cat\na.png,150.5,80.25,dog\n",
        "file,x,y,label,\na.png,20,30,cat,,\na.png,150.5,80.25,dog\n",
    ],
)
def test_tables(convert, text):
    assert convert("a.csv", text) == TWO


def test_tables_in_percent_without_a_word(convert, images):
    """Twelve points within 100 pixels are no chance in a picture of 2000x1000."""
    Image.new("L", (2000, 1000)).save(images / "a.png")
    text = "file,x,y\n" + "".join(f"a.png,{i},{50 + i}\n" for i in range(1, 9))
    assert convert("t.csv", text)["a.png"][0] == ("object", 19.5, 509.5)
    assert any("read as percent after all" in line for line in convert.told)
    assert convert("t.csv", text, wanted="table-pixels")["a.png"][0] == ("object", 1, 51)
    few = "file,x,y\na.png,10,20\na.png,99,30\n"
    assert convert("t.csv", few)["a.png"] == [("object", 10, 20), ("object", 99, 30)]
    outside = "file,x,y\nb.jpg,50,75\nb.jpg,25,50\n"  # as pixels, one would be outside of 48x64
    assert convert("t.csv", outside)["b.jpg"] == [("object", 11.5, 31.5), ("object", 23.5, 47.5)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("file,x,y\na.png,20,cat\n", r"line 2 \('a\.png,20,cat'\): 'y' is 'cat', expected"),
        (
            "file,x,y,class,\na.png,10,5,20,5,cat\n",
            r"t\.csv: line 2 \('a\.png,10,5,20,5,cat'\): has 6 cells, the first "
            "line 4: put a cell that holds ',' into quotes, or semicolons between cells$",
        ),
        ("a.png,10,20\nb.jpg,10,5,20\n", r"\('b\.jpg,10,5,20'\): has 4 cells, the first line 3"),
        ("file;x;y\na.png;1;2;cat\n", "the first line 3: put a cell that holds ';' into quotes$"),
        ("file,x,y,class\na.png,10\n", r"\('a\.png,10'\): has 2 cells, none of them for 'y'$"),
        ("file,x,y\n,20,3\n", r"line 2 \(',20,3'\): names no image"),
        ("file,x,y\na.png,20,300\n", r"\(20, 300\) is outside the image of 100x200 pixels"),
        ("file,x,y\na.png,20,101\nb.jpg,101,1\n", r"is outside the image of"),
        (
            "file,x %,y %\nb.jpg,90,50\nb.jpg,110,50\n",  # no hint that x and y are exchanged
            r"t\.csv: image b\.jpg: point \(x, y\) = \(52\.3, 31\.5\) is outside the image of "
            r"64x48 pixels \(height x width\): line 3 \('b\.jpg,110,50'\) has \(110, 50\), "
            "expected 0 to 100$",
        ),
        ("file,x_px,y_px\nb.jpg,60,20\n", r"as \(row, column\) it would be inside"),
        (
            'file,x,y\na.png,"1,234",5\n',
            "'x' is '1,234', of which the comma may part .* write 1234 or 1.234$",
        ),
    ],
)
def test_table_refusals(convert, text, line):
    with pytest.raises(InputError, match=line):
        convert("t.csv", text)


def test_a_decimal_comma_is_one_where_it_can_be_nothing_else(convert):
    assert convert("t.csv", "file;x;y\na.png;1,234;5\n") == {"a.png": [("object", 1.234, 5)]}
    assert convert("t.csv", 'file,x,y\na.png,"20,5","0,125"\n') == {
        "a.png": [("object", 20.5, 0.125)]
    }


def test_a_table_that_may_be_exchanged_or_in_percent_is_refused(convert):
    """b.jpg is 64 pixels high and 48 wide."""
    text = "file,x,y\nb.jpg,60,40\nb.jpg,20,30\n"
    with pytest.raises(InputError, match=r"1 of 2 points lie outside .* but none with x and y"):
        convert("t.csv", text)
    assert convert("t.csv", text, wanted="table-percent") == {
        "b.jpg": [("object", 9.1, 18.7), ("object", 28.3, 25.1)]
    }
    with pytest.raises(InputError, match="are x and y swapped"):
        convert("t.csv", text, wanted="table-pixels")


def test_tags_that_are_asked_for_as_points(convert):
    with pytest.raises(InputError, match=r"t\.csv: is a table of tags, and has no columns x and y"):
        convert("t.csv", "file_name,tags\na.png,cat\nb.jpg,dog\n", kind="points")
    with pytest.raises(InputError, match="in no format that is known"):
        convert("t.csv", "file_name,lon,lat\na.png,3,4\n", kind="points")


def test_tables_of_tags(convert, images):
    assert convert("t.csv", "file_name,tags\na.png,cat;dog\nb.jpg,\nc.png,cat\n") == {
        "a.png": ["cat", "dog"],
        "b.jpg": [],
    }
    assert "read as a table of tags" in convert.told[0]
    assert convert.told[1] == f"left out: 1 images that are not in {images} (first c.png)"
    assert convert("t.csv", "file,dog,cat\na,1,0\nb,1,1\n") == {
        "a.png": ["dog"],
        "b.jpg": ["cat", "dog"],
    }


def test_folders_of_classes(convert, images, tmp_path):
    for name in ("cat/a.png", "dog/b.jpg", "train/cat/b.jpg"):
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    assert convert("") == {"a.png": ["cat"], "b.jpg": ["cat", "dog"]}
    assert convert("", images=str(tmp_path / "export")) == {
        "cat/a.png": ["cat"],
        "dog/b.jpg": ["dog"],
        "train/cat/b.jpg": ["cat"],
    }
