"""Results that outlive a killed run."""

from __future__ import annotations

import pytest

from bestie_d2.errors import InputError
from bestie_d2.storage.results import ResultShards

SETTINGS = {"alpha": 0.7, "weights": "abc", "sizes": (3, 4)}


@pytest.fixture
def shards(tmp_path) -> ResultShards:
    shards = ResultShards(tmp_path / "cues.json")
    shards.begin(SETTINGS)
    return shards


def test_results_of_several_workers_come_in_the_order_asked_for(shards):
    first, second = shards.writer(0), shards.writer(1)
    first.append(5, {"n": 1})
    second.append("füße", [2, 3])
    first.append(1, None)
    assert shards.done() == {5, "füße", 1}
    assert list(shards.merge([1, 2, "füße", 5])) == [(1, None), ("füße", [2, 3]), (5, {"n": 1})]


def test_a_torn_last_line_is_dropped_and_written_over(shards):
    writer = shards.writer(0)
    writer.append(1, "whole")
    writer.close()
    path = shards.folder / "worker_0.jsonl"
    path.write_bytes(path.read_bytes() + b'[2, "ha')
    assert shards.done() == {1}
    assert list(shards.merge([1, 2])) == [(1, "whole")]
    again = shards.writer(0)
    again.append(3, "new")
    assert path.read_text().splitlines() == ['[1, "whole"]', '[3, "new"]']
    again.close()
    path.write_bytes(b'[2, "ha')
    shards.writer(0).append(2, "half")
    assert list(shards.merge([2])) == [(2, "half")]


def test_a_line_that_is_no_result_is_told(shards):
    (shards.folder / "worker_0.jsonl").write_text("rubbish\n")
    with pytest.raises(InputError, match=r"worker_0.jsonl: a line is no result .*rubbish"):
        shards.done()


def test_the_same_settings_go_on_and_others_are_refused(shards, tmp_path):
    shards.writer(0).append(1, 1)
    shards.begin({**SETTINGS, "sizes": [3, 4]})
    assert shards.done() == {1}
    with pytest.raises(InputError) as refusal:
        shards.begin({"alpha": 0.5, "weights": "abc", "sizes": (3, 4), "new": 1})
    assert "alpha was 0.7, is 0.5; new was nothing, is 1" in str(refusal.value)
    assert "--overwrite" in str(refusal.value)
    assert shards.done() == {1}
    many = dict.fromkeys("abcde", 0)
    with pytest.raises(InputError, match=r"alpha was 0.7, is nothing; .* and 5 more"):
        shards.begin(many)
    shards.begin(many, overwrite=True)
    assert shards.done() == set()
    shards.begin(SETTINGS)  # of settings without a result nothing is lost


def test_what_is_there_is_not_overwritten_unasked(tmp_path):
    output = tmp_path / "cues.json"
    output.write_text("mine")
    shards = ResultShards(output)
    with pytest.raises(InputError, match="is there already; --overwrite"):
        shards.begin(SETTINGS)
    assert not shards.folder.exists()
    shards.begin(SETTINGS, overwrite=True)
    shards.writer(0).append(1, 1)
    shards.begin(SETTINGS, overwrite=True)  # the same run again goes on
    assert shards.done() == {1}
    assert output.read_text() == "mine"
    shards.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["cues.json"]


def test_output_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file"):
        ResultShards(tmp_path).begin(SETTINGS)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made a folder"):
        ResultShards(tmp_path / "file" / "cues.json").begin(SETTINGS)
