"""Results that outlive a killed run."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from bestie_d2.errors import InputError
from bestie_d2.storage.results import Results

SETTINGS = {"alpha": 0.7, "weights": "abc", "sizes": (3, 4)}


@pytest.fixture
def results(tmp_path) -> Results:
    results = Results(tmp_path / "cues ü?#.json")
    results.begin(SETTINGS)
    return results


def test_results_of_several_processes_come_in_the_order_asked_for(results):
    results.put(5, {"n": 1}, process=0)
    results.put("füße", [2, 3], process=1)
    results.put(1, None, process=0)
    assert results.done() == {5, "füße", 1}
    assert list(results.of([1, 2, "füße", 5])) == [(1, None), ("füße", [2, 3]), (5, {"n": 1})]
    results.put(5, "anew", process=0)
    assert list(results.of([5])) == [(5, "anew")]
    results.forget([5, "füße", 7])
    results.put(5, "by another one", process=1)
    assert list(results.of([1, "füße", 5])) == [(1, None), (5, "by another one")]
    results.remove()
    assert not results.folder.exists()


def test_machines_look_at_what_another_one_is_writing(tmp_path):
    """A reader without locks takes the journal of a transaction in work for that of a kill."""
    results = Results(tmp_path / "cues.json", shared=True)
    results.begin(SETTINGS)
    results.put(1, "before", process=1)
    row, seen = ["2", '"' + "long" * 10**5 + '"'], []
    reader = threading.Thread(target=lambda: seen.append(results.done()))
    with results._database(1) as writing:
        writing.execute("PRAGMA cache_size = 1")  # part of it gets to the disk at once
        writing.execute("INSERT INTO results VALUES (?, ?)", row)
        assert (results.folder / "results_1.sqlite-journal").stat().st_size > 0
        reader.start()
        reader.join(0.2)
        assert seen == []  # it waits
    reader.join()
    assert seen == [{1, 2}]
    assert list(results.of([1, 2])) == [(1, "before"), (2, "long" * 10**5)]


def test_what_is_no_database_is_told(results):
    (path,) = results.folder.iterdir()
    path.write_bytes(b"rubbish" * 1000)
    for call in (results.done, lambda: results.begin(SETTINGS), lambda: results.put(1, 1)):
        with pytest.raises(InputError, match=r"results_0.sqlite: holds no results \(.*; remove"):
            call()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"results_0.sqlite: cannot be written \(unable to open"):
        results.put(1, 1)


def test_a_full_disk_loses_nothing(results, monkeypatch):
    results.put(1, "whole")
    connect = sqlite3.connect

    def small(*arguments, **options) -> sqlite3.Connection:
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 8")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(InputError, match=r"cannot be written \(database or disk is full\)"):
        results.put(2, "long" * 10**5)
    monkeypatch.undo()
    assert list(results.of([1, 2])) == [(1, "whole")]


def test_the_same_settings_go_on_and_others_are_refused(results):
    results.put(1, 1)
    results.begin({**SETTINGS, "sizes": [3, 4]})
    results.begin(SETTINGS, overwrite=True)
    assert results.done() == {1}
    with pytest.raises(InputError) as refusal:
        results.begin({"alpha": 0.5, "weights": "abc", "sizes": (3, 4), "new": 1})
    assert "alpha was 0.7, is 0.5; new was nothing, is 1" in str(refusal.value)
    assert "--overwrite" in str(refusal.value)
    assert results.done() == {1}
    many = dict.fromkeys("abcde", 0)
    with pytest.raises(InputError, match=r"alpha was 0.7, is nothing; .* and 5 more"):
        results.begin(many)
    results.begin(many, overwrite=True)
    assert results.done() == set()
    results.begin(SETTINGS)  # of settings without a result nothing is lost
    (results.folder / "below").mkdir()
    (results.folder / "below" / "map.png").write_text("large")
    with pytest.raises(InputError, match=r"holds unfinished results of other settings"):
        results.begin(many)
    assert results.settings == {**SETTINGS, "sizes": [3, 4]}


def test_results_of_an_older_version_are_begun_anew(tmp_path, capsys):
    results = Results(tmp_path / "cues.json")
    results.folder.mkdir()
    (results.folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files of others"):
        results.begin(SETTINGS)
    (results.folder / "fingerprint.json").write_text("{}")
    results.begin(SETTINGS)
    assert (
        "cues.json.parts: unfinished results of an older version; begun" in capsys.readouterr().out
    )
    assert [path.name for path in results.folder.iterdir()] == ["results_0.sqlite"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made a folder"):
        Results(tmp_path / "file" / "cues.json").begin(SETTINGS)
