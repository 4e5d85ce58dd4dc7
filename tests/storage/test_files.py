"""Files that are there whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os

import pytest

from bestie_d2.errors import InputError
from bestie_d2.storage.files import (
    hash_of_file,
    hash_of_folder,
    replacing,
    staged,
    write_json,
    write_json_lists,
)


def test_replacing_is_all_or_nothing(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as file:
        json.dump(["half", object()], file)
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    assert path.read_text() == "old"
    with replacing(path) as file:
        json.dump([1], file)
    assert path.read_text() == "[1]"
    with replacing(path, "wb") as file:
        file.write(b"2")
    assert path.read_text() == "2"


def test_a_full_disk_is_told_in_a_line_and_the_file_stays(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = r"out.json: cannot be written \(.*No space left"
    with pytest.raises(InputError, match=told), replacing(path):
        raise full
    with pytest.raises(InputError, match=r"no folder/out.json: cannot be written"):
        write_json(tmp_path / "no folder" / "out.json", {})
    with pytest.raises(FileNotFoundError, match="source"), replacing(path):
        (tmp_path / "source").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    assert path.read_text() == "old"


def test_lists_are_written_entry_by_entry(tmp_path):
    path = tmp_path / "out.json"
    members = {"info": {"a": None}, "images": ({"n": n} for n in (1, 2)), "ä": []}
    write_json_lists(path, members)
    assert path.read_text() == (
        '{"info": {"a": null},\n"images": [\n{"n": 1},\n{"n": 2}\n],\n"\\u00e4": []}\n'
    )
    assert json.loads(path.read_text()) == {
        "info": {"a": None},
        "images": [{"n": 1}, {"n": 2}],
        "ä": [],
    }


def test_hashes_tell_contents_and_names_apart(tmp_path):
    (tmp_path / "below").mkdir()
    file = tmp_path / "below" / "a"
    file.write_bytes(b"abc")
    assert hash_of_file(file) == hash_of_folder(file) == hashlib.sha256(b"abc").hexdigest()
    before = hash_of_folder(tmp_path)
    (tmp_path / ".DS_Store").write_text("of a viewer")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "below" / "desktop.ini").touch()
    assert hash_of_folder(tmp_path) == before
    file.rename(file.with_name("b"))
    assert hash_of_folder(tmp_path) != before


def test_staged_files_are_merged_into_the_folder_at_the_end(tmp_path):
    output = tmp_path / "new" / "folder"
    with staged(output) as scratch:
        (scratch / "a").mkdir()
        (scratch / "a" / "1.txt").write_text("one")
        assert [path.name for path in output.iterdir()] == [scratch.name]
    with staged(output) as scratch:
        (scratch / "a").mkdir()
        (scratch / "a" / "2.txt").write_text("two")
        (scratch / "b.txt").write_text("three")
    with staged(output) as scratch:
        (scratch / "b.txt").write_text("four")
    found = {str(p.relative_to(output)): p.read_text() for p in output.rglob("*.txt")}
    assert found == {"a/1.txt": "one", "a/2.txt": "two", "b.txt": "four"}
    assert sorted(path.name for path in output.iterdir()) == ["a", "b.txt"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"), staged(tmp_path / "file"):
        pass
    output = tmp_path / "folder"
    with pytest.raises(InputError, match="folder: cannot be written"), staged(output) as scratch:
        (scratch / "no" / "such" / "place").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .*No space left"), staged(output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (output / "taken").mkdir()
    with pytest.raises(InputError, match="folder: cannot be written"), staged(output) as scratch:
        (scratch / "taken").write_text("")
    assert [path.name for path in output.iterdir()] == ["taken"]


def test_a_source_that_cannot_be_read_is_not_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such_source"), staged(tmp_path / "new"):
        (tmp_path / "no_such_source").read_text()
    with pytest.raises(TimeoutError), staged(tmp_path / "new"):
        raise TimeoutError("from somewhere else")
    assert list((tmp_path / "new").iterdir()) == []
