from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bestie_d2.data import read_weak_sem_seg
from bestie_d2.errors import InputError
from bestie_d2.runs import staged_maps
from bestie_d2.runs.staged_maps import StagedMaps

STEMS = ("a", "b")


def index_map(value: int) -> np.ndarray:
    return np.full((3, 4), value, np.uint8)


def values(folder: Path) -> dict[str, int]:
    return {
        path.stem: int(read_weak_sem_seg(str(path), 9).max())
        for path in sorted(folder.glob("*.png"))
    }


def make(output: Path, settings: dict, value: int, stems=STEMS, **how: bool) -> int:
    """A run that makes what is missing and ends well."""
    maps = StagedMaps(output, settings, **how)
    for stem in stems:
        if not maps.has(stem):
            maps.save(stem, index_map(value))
    return maps.finish(stems)


def test_maps_get_to_their_place_when_all_are_made(tmp_path):
    output = tmp_path / "maps"
    maps = StagedMaps(output, {"method": "x"})
    maps.save("a", index_map(1))
    assert values(output) == {}
    assert maps.has("a")
    assert not maps.has("b")

    assert make(output, {"method": "x"}, 2) == 2  # goes on where the first run was stopped
    assert values(output) == {"a": 1, "b": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps"]
    assert make(output, {"method": "x"}, 3) == 0  # nothing is left to do


def test_overwriting_replaces_nothing_before_all_is_made(tmp_path):
    output = tmp_path / "maps"
    make(output, {"method": "x"}, 1)
    maps = StagedMaps(output, {"method": "y"}, overwrite=True)
    maps.save("a", index_map(2))
    assert values(output) == {"a": 1, "b": 1}
    # the interrupted run goes on, whether or not it is asked to overwrite again
    assert make(output, {"method": "y"}, 3) == 2
    assert values(output) == {"a": 2, "b": 3}


def test_maps_of_other_settings_are_not_mixed(tmp_path):
    output = tmp_path / "maps"
    make(output, {"method": "x", "floor": 0.5}, 1)
    with pytest.raises(InputError, match=r"of other settings \(floor was 0\.5, is 0\.7\)"):
        make(output, {"method": "x", "floor": 0.7}, 2)
    assert values(output) == {"a": 1, "b": 1}
    assert make(output, {"method": "x", "floor": 0.7}, 2, overwrite=True) == 2
    assert values(output) == {"a": 2, "b": 2}


def test_finished_maps_of_the_same_settings_can_be_kept_where_others_are_replaced(tmp_path):
    output, how = tmp_path / "maps", {"overwrite": True, "keep_finished": True}
    make(output, {"method": "x"}, 1)
    assert make(output, {"method": "x"}, 2, **how) == 0
    assert make(output, {"method": "y"}, 2, **how) == 2
    assert values(output) == {"a": 2, "b": 2}


def test_a_run_that_dies_while_replacing_leaves_no_map_for_one_of_the_old_settings(
    tmp_path, monkeypatch
):
    output, how = tmp_path / "maps", {"overwrite": True, "keep_finished": True}
    make(output, {"method": "x"}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(staged_maps, "write_json", interrupt)  # after the last map is moved
        with pytest.raises(KeyboardInterrupt):
            make(output, {"method": "y"}, 2, **how)
    assert make(output, {"method": "x"}, 3, **how) == 2
    assert values(output) == {"a": 3, "b": 3}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_unfinished_maps_of_other_settings_are_kept_unless_overwritten(tmp_path):
    output = tmp_path / "maps"
    maps = StagedMaps(output, {"method": "x"})
    maps.save("a", index_map(1))
    with pytest.raises(InputError, match=r"unfinished results .*\(method was x, is y\)"):
        make(output, {"method": "y"}, 2)
    assert maps.has("a")
    assert make(output, {"method": "y"}, 2, overwrite=True) == 2
    assert values(output) == {"a": 2, "b": 2}


def test_no_old_map_passes_for_a_new_one(tmp_path):
    output = tmp_path / "maps"
    make(output, {"method": "x"}, 1)
    maps = StagedMaps(output, {"method": "y"}, overwrite=True)
    maps.save("a", index_map(2))  # image b is left out
    assert maps.finish(STEMS) == 1
    assert values(output) == {"a": 2}
    assert make(output, {"method": "y"}, 3) == 1  # and made when it can be
    assert values(output) == {"a": 2, "b": 3}


def test_a_run_that_dies_while_moving_is_finished_by_the_next(tmp_path, monkeypatch):
    output = tmp_path / "maps"
    maps = StagedMaps(output, {"method": "x"})
    for stem in STEMS:
        maps.save(stem, index_map(1))
    (maps.results.folder / "a.png").rename(output / "a.png")
    assert make(output, {"method": "x"}, 2) == 2
    assert values(output) == {"a": 2, "b": 1}


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "maps").write_text("")
    with pytest.raises(InputError, match=r"--output .*maps: cannot be made a folder"):
        make(tmp_path / "maps", {}, 1)


def test_maps_in_sub_folders(tmp_path):
    output = tmp_path / "maps"
    names = ("day 1/a", "day 2/a")
    assert make(output, {"method": "x"}, 1, names) == 2
    assert [read_weak_sem_seg(str(output / f"{n}.png"), 9).max() for n in names] == [1, 1]
    assert make(output, {"method": "x"}, 2, names) == 0  # they are there
    with pytest.raises(InputError, match="its maps are of other settings"):
        make(output, {"method": "y"}, 2, names)
    assert make(output, {"method": "y"}, 2, names[:1], overwrite=True) == 1
