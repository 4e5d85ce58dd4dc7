"""SBD's MATLAB files, with every way in which one can be wrong."""

import os
import signal

import numpy as np
import pytest
from scipy.io import savemat

from bestie_d2.data.datasets import voc_sources
from bestie_d2.data.datasets.voc_sources import read_sbd_objects
from bestie_d2.errors import InputError

NUMBERS = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
CATEGORIES = np.array([[15], [3]], np.uint8)


@pytest.fixture
def write_mat(tmp_path):
    """Writes a file with the given members of the struct and returns its path."""

    def write(name: str = "GTinst", **members: np.ndarray) -> str:
        path = tmp_path / "2008_000002.mat"
        struct = {"Segmentation": NUMBERS, "Categories": CATEGORIES, **members}
        savemat(path, {name: struct}, do_compression=True)
        return str(path)

    return write


def test_objects_and_their_classes(write_mat):
    objects = read_sbd_objects(write_mat(), (2, 3))
    assert objects.numbers.tolist() == NUMBERS.tolist()
    assert objects.classes == {1: 14, 2: 2}
    assert objects.void() is None
    assert objects.semantic().tolist() == [[0, 15, 15], [3, 3, 0]]


def test_an_object_without_pixels_and_an_image_without_objects(write_mat):
    covered = write_mat(Segmentation=np.array([[0, 2]], np.uint8))
    assert read_sbd_objects(covered, (1, 2)).classes == {2: 2}
    none = write_mat(Segmentation=np.zeros((1, 2), np.uint8), Categories=np.zeros((0, 1)))
    assert read_sbd_objects(none, (1, 2)).classes == {}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": "GTcls"}, "has no GTinst with Segmentation and Categories; is it of 'inst'"),
        ({"Segmentation": NUMBERS[:, :2]}, r"2x2 pixels \(height x width\), but its image has 2x3"),
        ({"Categories": CATEGORIES[:1]}, r"object 2 has the class None, expected 1\.\.20"),
        ({"Categories": CATEGORIES + 6}, r"object 1 has the class 21, expected 1\.\.20"),
        ({"Categories": CATEGORIES * 0}, r"object 1 has the class 0, expected 1\.\.20"),
    ],
)
def test_contents_that_cannot_be(write_mat, members, message):
    with pytest.raises(InputError, match=rf"2008_000002\.mat: {message}"):
        read_sbd_objects(write_mat(**members), (2, 3))


def test_more_objects_than_a_byte_can_tell_apart(write_mat):
    """255 is an object here, and void in the maps that are made of it."""
    categories = np.full((256, 1), 3)
    for number in (255, 256):
        numbers = np.array([[1, number]], np.uint16)
        path = write_mat(Segmentation=numbers, Categories=categories)
        with pytest.raises(InputError, match=rf"object {number}, expected at most 254 objects"):
            read_sbd_objects(path, (1, 2))


def test_files_that_are_missing_torn_or_something_else(write_mat, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.mat: no such file"):
        read_sbd_objects(str(tmp_path / "nowhere.mat"), (2, 3))
    path = write_mat()
    with open(path, "rb") as file:
        whole = file.read()
    torn = [whole[:length] for length in range(0, len(whole), 7)]
    for content in (b"text" * 50, *torn):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(InputError, match=r"2008_000002\.mat: (not a readable|has no GTinst)"):
            read_sbd_objects(path, (2, 3))


def crash(path: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_file_that_scipy_crashes_on_is_told_and_the_next_one_read(write_mat, monkeypatch):
    path = write_mat()
    with monkeypatch.context() as patch:
        patch.setattr(voc_sources, "loadmat", crash)
        with pytest.raises(InputError, match=r"2008_000002\.mat: not a readable .*SciPy crashed"):
            read_sbd_objects(path, (2, 3))
    assert read_sbd_objects(path, (2, 3)).classes == {1: 14, 2: 2}
