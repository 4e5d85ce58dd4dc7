"""What a stage wrote down: told where it is torn, whoever asks for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.pipeline.runner import run_pipeline
from bestie_d2.pipeline.state import Found, Sources, StageRecord

SHAPES = Path(__file__).resolve().parents[2] / "configs" / "pipelines" / "shapes.yaml"
RESULT = {"seconds": 1.0, "figures": {}, "text": ""}
WHOLE = {"config": {}, "inputs": {}, "versions": {}, **RESULT}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "has no 'config'"),
        ('{"config": "", "inputs": {}, "versions": {}}', "has no 'seconds'"),
        ('{"config": ', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ("[]", "no JSON object"),
        (json.dumps({**WHOLE, "config": 3}), "'config' is no JSON object"),
        (json.dumps({**WHOLE, "inputs": []}), "'inputs' is no JSON object"),
        (json.dumps({**WHOLE, "seconds": "1"}), "'seconds' is no number"),
    ],
)
@pytest.mark.parametrize("first", ["cues", ""])
def test_a_torn_manifest(first, content, reason, tmp_path):
    pipeline = replace(read_pipeline(str(SHAPES)), output=str(tmp_path))
    path = tmp_path / "pam" / "manifest.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError) as told:
        run_pipeline(pipeline, first=first, last="cues", dry_run=True)
    assert str(told.value) == f"{path}: {reason}; move its folder away to make the stage anew"


def sources(**config: object) -> Sources:
    return Sources(config, {"cues": "abc"}, {"pam": "12"}, counted=dict.fromkeys(config))


def finish(record: StageRecord, now: Sources) -> None:
    record.begin(now, resume=False)
    record.finish(now, **RESULT)


def test_what_is_finished_is_read_again(tmp_path):
    record, now = StageRecord(str(tmp_path / "pam")), sources(SEED=1)
    assert record.manifest is record.started is record.found is None
    record.begin(now, resume=False)
    assert record.manifest is None
    assert record.started == {**now.content, "instead_of": ""}
    assert not record.found.finished
    record.fail("no space left")
    assert record.failure == "no space left"
    record.begin(now, resume=True)
    assert record.failure == ""
    record.finish(now, **RESULT)
    manifest = record.manifest
    assert {key: manifest[key] for key in RESULT} == RESULT
    assert record.found.finished
    assert now.changes(record.found) == {}
    assert list(sources(SEED=2).changes(record.found)) == ["SEED was 1, is 2"]


def test_what_is_made_anew_is_kept_beside(tmp_path):
    record = StageRecord(str(tmp_path / "pam"))
    for number in (1, 2):
        finish(record, sources(SEED=number))
        (tmp_path / "pam" / "model_final.pth").write_text(f"weights {number}")
        (tmp_path / "pam" / ".lock").touch()
        record.set_aside()
        assert not (tmp_path / "pam").exists()
        kept = tmp_path / f"pam.{number}"
        assert (kept / "model_final.pth").read_text() == f"weights {number}"
        assert not (kept / ".lock").exists()
    assert record.kept == ["pam.1", "pam.2"]
    finish(record, sources(SEED=3))  # also where a kill came between the two
    assert record.found.instead_of == "pam.2"
    (tmp_path / "pam.7").mkdir()
    (tmp_path / "pam.old").mkdir()
    assert record.next_kept() == tmp_path / "pam.8"


def test_a_stage_that_made_nothing_is_begun_anew_in_its_place(tmp_path):
    folder = tmp_path / "pam"
    record = StageRecord(str(folder))
    record.begin(sources(SEED=1), resume=False)
    for name in ("log.txt", "config.yaml", "classes.json", ".cues.json.lock"):
        (folder / name).touch()
    record.set_aside()
    assert (record.kept, record.has_results) == ([], False)
    (folder / "metrics.json").touch()
    assert not record.has_results
    (folder / "model_0000004.pth").touch()
    assert record.has_results
    record.set_aside()
    assert record.kept == ["pam.1"]


def test_what_is_somebody_elses_is_not_moved(tmp_path):
    folder = tmp_path / "pam"
    folder.mkdir()
    (folder / "mine.txt").touch()
    with pytest.raises(InputError, match="pam holds files of something else"):
        StageRecord(str(folder)).set_aside()
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_records_of_older_versions(tmp_path):
    """Those had one hash of the configuration, and one of all data."""
    record = StageRecord(str(tmp_path))
    old = {"config": "a hash", "inputs": {"data": "b", "pam": "12"}, "versions": {}, **RESULT}
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    assert sources(SEED=2).changes(record.found) == {}
    assert record.found.not_compared.endswith("configuration and data not compared")
    (tmp_path / "config.yaml").write_text("{SEED: 1, SOLVER: {BASE_LR: 0.1, STEPS: [1, 2]}}")
    now = sources(SEED=2, **{"SOLVER.BASE_LR": 0.1, "SOLVER.STEPS": [1, 2]})
    assert list(now.changes(record.found)) == ["SEED was 1, is 2"]
    assert record.found.not_compared.endswith("data not compared")


def test_a_manifest_that_was_written_before_the_pipeline_was_put_into_five_files(tmp_path):
    """As a chain of 2026 left it, but for most keys of the configuration."""
    config = {"score_threshold": 0.0, "MODEL.PAM.NUM_CLASSES": 2, "MODEL.DEVICE": "cpu"}
    data = {
        "training set's image files": "6 files, 710bfee1426b3dac",
        "training set's list": "6 images, 24fad0c7377cd122",
    }
    inputs = {"pam": "5ca7818a4b8b977250a88c14fbacd366d6fcaa3d61348a259ede33811f623102"}
    versions = {"bestie_d2": "0.1.0", "detectron2": "0.6", "python": "3.11.7", "torch": "2.14.1"}
    content = {"config": config, "data": data, "inputs": inputs, "instead_of": "cues.1"}
    content |= {"figures": {"cues": 11}, "text": "11 cues above 0.7", "resumed": False}
    content |= {"seconds": 0.8, "seeds": {"pam": 1}, "versions": versions}
    (tmp_path / "manifest.json").write_text(json.dumps(content, indent=1, sort_keys=True))
    record = StageRecord(str(tmp_path))
    assert record.manifest == content
    assert record.found == Found(config, data, inputs, finished=True, instead_of="cues.1")
    assert record.found.not_compared == ""
    counted = {"score_threshold": 0.0, "MODEL.PAM.NUM_CLASSES": 20}
    now = Sources({**config, "MODEL.DEVICE": "cuda"}, data, inputs, counted)
    assert now.changes(record.found) == {}
