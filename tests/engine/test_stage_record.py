"""What a stage wrote down: told where it is torn, whoever asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bestie_d2.engine.pipeline.definition import read_pipeline
from bestie_d2.engine.pipeline.record import Sources, StageRecord
from bestie_d2.engine.pipeline.runner import run_pipeline
from bestie_d2.errors import InputError

SHAPES = Path(__file__).resolve().parents[2] / "configs" / "pipelines" / "shapes.yaml"
RESULT = {"seconds": 1.0, "figures": {}, "text": ""}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "has no 'config'"),
        ('{"config": "", "inputs": {}, "versions": {}}', "has no 'seconds'"),
        ('{"config": ', "no JSON object"),
        ("[]", "no JSON object"),
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
    assert str(told.value) == f"{path}: {reason}; remove its folder to make the stage anew"


def test_what_is_finished_is_read_again(tmp_path):
    record, sources = StageRecord(str(tmp_path / "pam")), Sources("a", {"data": "b"})
    assert record.manifest is record.started is None
    record.begin(sources, resume=False)
    assert (record.manifest, record.started) == (None, {"config": "a", "inputs": {"data": "b"}})
    record.finish(sources, **RESULT)
    manifest = record.manifest
    assert {key: manifest[key] for key in RESULT} == RESULT
    assert sources.difference(manifest) == ""
