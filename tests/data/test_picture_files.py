"""Which pictures inputs mean, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bestie_d2.data.picture_files import MARK_OF_RESULTS, find_pictures
from bestie_d2.errors import InputError


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """Two folders of pictures, and what is none."""
    for name in (
        *(
            "a/1.png",
            "a/deep/er/2.JPG",
            "a/notes.txt",
            "a/.thumbs/1.png",
            "a/.3.png",
            "a/x.png/4.tif",
        ),
        *("b/1.png", "b/raw.dat"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["a"], ["1.png", "deep/er/2.JPG", "x.png/4.tif"]),
        (["a/", "a/1.png", "a/*.png"], ["1.png", "deep/er/2.JPG", "x.png/4.tif"]),
        (["a/deep/er/2.JPG", "b/raw.dat"], ["2.JPG", "raw.dat"]),
        (["a/*/*/*"], ["deep/er/2.JPG"]),
        (["**/*.png"], ["a/1.png", "b/1.png"]),
        (["a", "b"], ["a/1.png", "a/deep/er/2.JPG", "a/x.png/4.tif", "b/1.png"]),
    ],
)
def test_names(tree, inputs, names):
    found = find_pictures(inputs)
    assert list(found) == names
    assert all(os.path.isfile(path) for path in found.values())


def test_absolute_inputs_are_named_alike(tree):
    assert list(find_pictures([str(tree / "a")])) == ["1.png", "deep/er/2.JPG", "x.png/4.tif"]
    assert list(find_pictures([str(tree / "a" / "*.png")])) == ["1.png"]


def test_results_below_a_folder_are_no_pictures_of_it(tree):
    for output in ("a/deep", "b/../a/deep", str(tree / "a" / "deep")):
        for entry in ("a", str(tree / "a"), "a/**"):
            assert list(find_pictures([entry], output=output)) == ["1.png", "x.png/4.tif"]
    assert list(find_pictures(["a/deep/er"], output="a/deep/er")) == ["2.JPG"]
    assert list(find_pictures(["a/deep/er/2.JPG"], output="a/deep")) == ["2.JPG"]


def test_results_of_earlier_predictions_are_no_pictures_unless_they_are_named(tree, caplog):
    (tree / "a" / "deep" / MARK_OF_RESULTS).touch()
    for entry in ("a", str(tree / "a"), "a/**"):
        assert list(find_pictures([entry], output="out")) == ["1.png", "x.png/4.tif"]
        assert "deep: results of an earlier prediction" in caplog.text
        caplog.clear()
    for entry in ("a/deep", "a/deep/**"):
        assert list(find_pictures([entry], output="out")) == ["er/2.JPG"]
    assert list(find_pictures(["a/deep/er"], output="out")) == ["2.JPG"]
    assert not caplog.text


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        (["c"], "--input c: no such file"),
        (["a/.thumbs/*.gif"], "nothing matches this pattern"),
        (["a/*.txt"], "no picture there"),
        (["b/1.png", "a/../c/b/1.png"], r"both be b/1\.png"),
    ],
)
def test_what_is_refused(tree, inputs, line):
    (tree / "c" / "b").mkdir(parents=True)
    (tree / "c" / "b" / "1.png").touch()
    if inputs == ["c"]:
        (tree / "c" / "b" / "1.png").unlink()
        (tree / "c" / "b").rmdir()
        (tree / "c").rmdir()
    with pytest.raises(InputError, match=line):
        find_pictures(inputs)
