"""What a pipeline's yaml may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.pipeline.dependencies import CUES, Hashes
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.pipeline.table import read_table

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PIPELINES = sorted((CONFIGS / "pipelines").glob("*.yaml"))
SHAPES = CONFIGS / "pipelines" / "shapes.yaml"


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_the_pipelines_that_come_with_the_project(path):
    pipeline = read_pipeline(str(path))
    for stage in pipeline.stages:
        for cfg in StageJob(pipeline, stage).configs.values():
            assert (pipeline.test_set,) == cfg.DATASETS.TEST


@pytest.mark.parametrize("path", sorted((CONFIGS / "tables").glob("*.yaml")), ids=lambda p: p.name)
def test_the_tables_that_come_with_the_project(path):
    table = read_table(str(path))
    for row in table.rows.values():
        pipeline = table.pipeline_of(row)
        measured = {line["of"].split("/")[0] for line in row.lines}
        assert measured <= {*pipeline.stages, "components"}
        overridden = {key.split(".")[0] for key in row.overrides} if row.name == row.variant else ()
        for stage in overridden:
            assert StageJob(pipeline, stage).configs


def test_what_a_stage_reads():
    pipeline = read_pipeline(str(SHAPES))
    assert pipeline.inputs_of("wsss") == ["pam"]  # its weights
    assert pipeline.inputs_of("bestie") == ["cues", "maps"]
    assert pipeline.product_of("cues") == "output/shapes_pipeline/cues/cues.json"
    from_points = read_pipeline(str(CONFIGS / "pipelines" / "voc_point.yaml"))
    assert from_points.inputs_of("bestie") == ["maps"]  # the cues are given


def test_overrides_reach_their_stage_and_those_that_use_its_model():
    pairs = ["pam.MODEL.PAM.ALPHA", "0.5", "cues.MODEL.PAM.CUES.KERNEL", "5"]
    pipeline = read_pipeline(str(SHAPES), pairs)
    classifier = StageJob(pipeline, "pam").configs["pam"].MODEL.PAM
    extraction = StageJob(pipeline, "cues").configs["pam"].MODEL.PAM
    assert (classifier.ALPHA, extraction.ALPHA) == (0.5, 0.5)
    assert (classifier.CUES.KERNEL, extraction.CUES.KERNEL) == (9, 5)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("supervision: tags", "supervision: boxes", "'boxes', expected tags or points"),
        ("supervision: tags", "supervision: points", "leave out the stage 'cues'"),
        ("  export:", "  exports:", "stages: 'exports' is none of pam, cues"),
        ("  maps: {}\n", "  maps: {jobs: 2}\n", "maps: unknown key 'jobs', known are none"),
        ("  maps: {}\n", "  maps: all\n", "maps is 'all', expected keys and values"),
        ("pam: {config: ../pam_shapes.yaml}", "pam: {}", "pam: 'config' is missing"),
        ("  pam: {config: ../pam_shapes.yaml}\n", "", "'cues' needs 'pam'"),
        ("weights_from: pam", "weights_from: mrcnn", "the trainings before it are: pam"),
        ("score_threshold: 0.1", "score_threshold: 2", "score_threshold is 2, expected 0 to 1"),
        ("score_threshold: 0.1", "score_threshold: true", "is True, expected 0 to 1"),
        ("  maps: {}\n", "  maps: {}\n  pam: {}\n", "wrong.yaml: line 13 gives the key 'pam' once"),
        ("{config: ../bestie", "{config: a, config: ../bestie", "gives the key 'config' once more"),
        ("output: output/shapes_pipeline", "", "'output' is missing"),
        (
            "  maps: {}\n",
            "  maps: {}\n  cam_maps: {}\n",
            "'maps' and 'cam_maps' both make the weak",
        ),
        ("name: shapes", "name: 3", "name is 3, expected text"),
        ("name: shapes", "name: [", "no yaml"),
        ("name: shapes", "[name]: shapes", "no yaml"),
    ],
)
def test_a_wrong_file_is_refused(old, new, line, tmp_path):
    text = SHAPES.read_text()
    assert old in text
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new).replace("../", f"{CONFIGS}/"))
    with pytest.raises(InputError) as told:
        read_pipeline(str(path))
    assert line in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (["pam.SEED"], "STAGE.KEY VALUE pairs"),
        (["bestie.MODEL.BESTIE.SUPERVISION", "points"], "the pipeline's supervision is 'tags'"),
        (["bestie.MODEL.BESTIE.SIGMAA", "3"], r"stage bestie: .*mean MODEL\.BESTIE\.SIGMA\?"),
        (["bestie.INPUT.BESTIE.CROP_SIZE", "129"], "stage bestie: .* is 129, .*: set it to 128"),
        (["mrcnn.MODEL.META_ARCHITECTURE", "Nothing"], "stage mrcnn: MODEL.META_ARCHITECTURE"),
    ],
)
def test_wrong_overrides_are_refused(pairs, line):
    with pytest.raises(InputError, match=line):
        _load_all(pairs)


def _load_all(pairs: list[str]) -> None:
    pipeline = read_pipeline(str(SHAPES), pairs)
    for stage in pipeline.stages:
        StageJob(pipeline, stage)


def test_an_unknown_data_set_is_refused(tmp_path):
    path = tmp_path / "unknown.yaml"
    text = SHAPES.read_text().replace("shapes_train", "no_such_set")
    path.write_text(text.replace("../", f"{CONFIGS}/"))
    with pytest.raises(InputError, match="stage pam: data set 'no_such_set' is not registered"):
        StageJob(read_pipeline(str(path)), "pam")


@pytest.mark.parametrize("used", [False, True])
def test_labels_depend_on_points_that_are_their_centers(used):
    path = str(CONFIGS / "pipelines" / "voc_animals_point.yaml")
    pipeline = read_pipeline(path, ["export.MODEL.BESTIE.TEST.USE_POINTS", str(used)])
    hashes = Hashes(pipeline.train_set, pipeline.test_set)
    sources = StageJob(pipeline, "export").sources(hashes, pending=pipeline.stages)
    assert (CUES in sources.data) == used
