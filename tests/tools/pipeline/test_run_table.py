"""tools/run_table.py: rows that share stages, one that fails, and the figures' JSON; what a stage
does is played here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from tiny_pipeline import PIPELINE, ROOT

from bestie_d2.engine.command_line import run_tool
from bestie_d2.errors import InputError
from bestie_d2.pipeline import runner, table_runner
from bestie_d2.pipeline.stage_job import StageJob

TABLE = """
name: tiny
output: table_out
about: Drawn squares.
rows:
- name: tags
  pipeline: tiny.yaml
  text: from tags
  seed: 1
  lines:
  - {of: bestie, text: BESTIE, readme: true}
- name: broken
  pipeline: tiny.yaml
  overrides: {pam.SOLVER.BASE_LR: 0.123}
  until: pam
- name: after_broken
  pipeline: tiny.yaml
  shares: {from: broken, stages: [pam]}
  until: cues
- name: cam
  pipeline: cam_maps.yaml
  seed: 1
  overrides: {bestie.MODEL.BESTIE.IAG: false}
  shares: {from: tags, stages: [pam, cues]}
- {repeat: tags, seed: 2}
- {repeat: cam, seed: 2}
"""
CAM_MAPS = (
    PIPELINE[: PIPELINE.index("  wsss")] + "  cam_maps: {}\n  bestie: {config: bestie.yaml}\n"
)
SHORT = PIPELINE[: PIPELINE.index("  export")]
BROKEN_CUES = "cues.MODEL.PAM.CUES.MIN_SCORE: 0.123"
OF_TAGS = ["pam", "cues", "wsss", "maps", "bestie"]


def play(job: StageJob) -> tuple[dict[str, float], str]:
    """In place of a stage: its product is its name and seed, its only figure the seed."""
    seed = next(iter(job.configs.values())).SEED
    if job.name == "pam" and job.configs["pam"].SOLVER.BASE_LR == 0.123:
        raise InputError("pam is broken")
    if job.name == "cues" and job.configs["pam"].MODEL.PAM.CUES.MIN_SCORE == 0.123:
        raise InputError("cues are broken")
    made.append((Path(job.pipeline.output).name, job.name, seed))
    processes.append((job.pipeline.jobs, job.pipeline.processes))
    Path(job.product).write_text(f"{job.name} {seed}")
    return {"segm/AP": float(seed)}, "played"


made: list[tuple[str, str, int]] = []
processes: list[tuple[int, int]] = []


def in_this_process(function: Callable, *arguments: object) -> int:
    try:
        run_tool(lambda: function(*arguments))
    except SystemExit as stop:
        return int(str(stop.code))
    return 0


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(ROOT / "tools" / "run_table.py")


@pytest.fixture
def run(tool, project, monkeypatch, call_main):
    """Run the tool; returns what it printed, and what it complained of."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(runner, "run_stage", play)
    monkeypatch.setattr(table_runner, "in_a_process", in_this_process)
    monkeypatch.setattr(tool, "write_report", lambda pipeline: None)
    for name, text in (("tiny", SHORT), ("cam_maps", CAM_MAPS), ("table", TABLE)):
        (project / f"{name}.yaml").write_text(text)
    made.clear()
    processes.clear()

    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        fixed = ["run_table.py", "--config", "table.yaml", "--results", "r/figures.json"]
        return call_main(tool, [*fixed, *arguments], code)

    return call


def rows_of(project: Path) -> dict[str, dict]:
    content = json.loads((project / "r" / "figures.json").read_text())
    return {row["name"]: row for row in content["rows"]}


def test_rows_share_stages_and_one_that_fails_stops_no_other(run, project):
    printed, complaints = run(code=2)
    tags = [("tags", stage, 1) for stage in OF_TAGS]
    cam = [("cam", stage, 1) for stage in ("cam_maps", "bestie")]
    again = [(f"{name}_seed2", stage, 2) for name, stage, _ in tags + cam]
    assert made == tags + cam + again
    assert "left out: broken did not finish pam" in printed
    assert complaints.splitlines()[-1] == (
        "error: 2 of 6 rows failed: broken (exit code 2, see above); "
        "after_broken (broken did not finish pam)"
    )
    rows = rows_of(project)
    assert {name: sorted(row["stages"]) for name, row in rows.items()} == {
        "tags": sorted(OF_TAGS),
        "broken": [],
        "after_broken": [],
        "cam": ["bestie", "cam_maps"],
        "tags_seed2": sorted(OF_TAGS),
        "cam_seed2": ["bestie", "cam_maps"],
    }
    assert rows["cam_seed2"]["shares"] == {"pam": "tags_seed2", "cues": "tags_seed2"}
    assert rows["cam"]["variant"] == rows["cam_seed2"]["variant"] == "cam"
    bestie = rows["cam_seed2"]["stages"]["bestie"]
    assert (bestie["figures"], bestie["seeds"]) == ({"segm/AP": 2.0}, {"bestie": 2})
    assert (bestie["iterations"], bestie["images a step"]) == (60, 2)
    assert set(bestie["versions"]) >= {"python", "torch", "timm", "numpy"}
    assert rows["cam"]["command"] == "python tools/run_table.py --config table.yaml --only cam"
    assert str(project) not in (project / "r" / "figures.json").read_text()


def test_given_again_it_goes_on(run, project):
    (project / "table.yaml").write_text(TABLE.replace("0.123", "0.124"))
    lost = project / "table_out" / "tags_seed2" / "bestie"
    (lost / "manifest.json").unlink()  # as a kill before the last moment leaves it
    printed, _ = run()
    assert made == [("broken", "pam", 1), ("after_broken", "cues", 1), ("tags_seed2", "bestie", 2)]
    assert "bestie    resume  was interrupted (stage 5 of 5)" in printed
    printed, _ = run("--dry-run")
    assert printed.count("finished, and nothing changed") == 5 + 1 + 1 + 2 + 5 + 2
    assert printed.count("is taken from table_out/tags\n") == 2
    rows = [line.split()[0] for line in printed.splitlines() if line.endswith("finished")]
    assert rows == ["tags", "broken", "after_broken", "cam", "tags_seed2", "cam_seed2"]


def test_a_row_alone_makes_what_it_shares_first(run, project):
    text = TABLE.replace("table_out", "alone").replace("0.123", "0.124")
    (project / "table.yaml").write_text(text)
    run("--only", "cam_seed2", "--jobs", "3", "--num-gpus", "2")
    shared = [("tags_seed2", stage, 2) for stage in ("pam", "cues")]
    assert made == [*shared, ("cam_seed2", "cam_maps", 2), ("cam_seed2", "bestie", 2)]
    assert processes == [(3, 2)] * 4


WSSS_ALONE = """
- {name: own_pam, pipeline: tiny.yaml, seed: 1, shares: {from: tags, stages: [wsss]}, until: wsss}
- {name: third, pipeline: tiny.yaml, shares: {from: own_pam, stages: [wsss]}, until: wsss}
"""


def test_of_what_it_shares_a_row_makes_no_more_than_that_needs(run, project):
    text = TABLE.replace("table_out", "little") + WSSS_ALONE.lstrip()
    (project / "table.yaml").write_text(text)
    run("--only", "third")  # the stage lies in the folder of tags, and needs only pam
    third = [("third", "pam", 1), ("third", "cues", 1)]
    assert made == [("tags", "pam", 1), ("tags", "wsss", 1), *third]


@pytest.mark.parametrize(
    ("shared", "until", "then"),
    [
        ("pam", "cues", [("after_broken", "cues", 1)]),
        ("pam, wsss", "maps", [("broken", "wsss", 1), ("after_broken", "cues", 1),
                               ("after_broken", "maps", 1)]),
    ],
)  # fmt: skip
def test_a_row_is_run_if_nothing_that_it_shares_has_failed(run, project, shared, until, then):
    text = TABLE.replace("table_out", until).replace("pam.SOLVER.BASE_LR: 0.123", BROKEN_CUES)
    text = text.replace("[pam]}\n  until: cues", f"[{shared}]}}\n  until: {until}")
    (project / "table.yaml").write_text(text.replace("until: pam", "until: bestie"))
    _, complaints = run("--only", "broken", "after_broken", code=2)
    assert made == [("broken", "pam", 1), *then]
    assert "1 of 2 rows failed: broken (exit code 2, see above)" in complaints


def test_what_is_redone_is_redone_where_it_is_shared(run, project):
    (project / "table.yaml").write_text(TABLE.replace("0.123", "0.124"))
    before = rows_of(project)
    (project / "table_out" / "tags" / "cues" / "cues.json").write_text("cues by hand")
    _, complaints = run("--only", "tags", code=2)
    assert "--redo bestie" in complaints
    run("--only", "tags", "--redo", "cues")
    assert made == [("tags", "cues", 1)]
    (project / "r" / "figures.json").unlink()
    run()
    assert made == [("tags", "cues", 1)]  # the same again, so what reads it stays
    after = rows_of(project)
    assert after["cam"] == before["cam"]


def test_figures_of_another_machine_stay(run, project):
    text = TABLE.replace("table_out", "elsewhere").replace("0.123", "0.124")
    (project / "table.yaml").write_text(text.replace("IAG: false", "IAG: true"))
    before = rows_of(project)
    run("--only", "broken")
    after = rows_of(project)
    assert after["tags"] == before["tags"]
    assert (before["cam"]["stages"] != {}, after["cam"]["stages"]) == (True, {})  # another row now


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--only", "no"], "--only: 'no' is no row of tiny, which has tags, broken, "),
        (["--redo", "pam"], "--redo: say with --only in which rows"),
        (["--dry-run", "--num-gpus", "0"], "--num-gpus 0: expected 1 or more"),
        (["--only", "cam", "--redo", "pam"], "row cam takes it from tags; redo it there"),
        (["--write-docs", "--results", "n.json"], "n.json: no such file; it comes with the"),
    ],
)
def test_wrong_arguments(arguments, line, run):
    _, complaints = run(*arguments, code=2)
    assert line in complaints


@pytest.mark.parametrize("content", ['{"rows": [1]}', '{"rows": [{}]}', "[" * 100_000, "{}"])
def test_results_that_are_none_are_told(content, run, project):
    (project / "r").mkdir(exist_ok=True)
    (project / "r" / "bad.json").write_text(content)
    _, complaints = run("--dry-run", "--results", "r/bad.json", code=2)
    assert complaints == "error: --results r/bad.json: no file that this tool wrote; move it away\n"


@pytest.mark.parametrize(("code", "name"), [(130, "interrupted"), (143, "terminated")])
def test_a_row_that_was_stopped_stops_all(code, name, run, monkeypatch):
    monkeypatch.setattr(table_runner, "in_a_process", lambda *_: code)
    _, complaints = run(code=code)
    assert complaints.startswith(name)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("seed: 1\n  lines", "seed: one\n  lines", "row 1: seed is 'one', expected int"),
        ("of: bestie, ", "", "row 1: lines: 'of' is missing"),
        ("repeat: cam", "repeat: cams", "row 6: needs the row 'cams' before it; before it are"),
        ("- {repeat: tags, seed: 2}\n", "", "row 5: needs the row 'tags_seed2' before it"),
        ("stages: [pam, cues]", "stages: [pam, wsss]", "shares: 'wsss' is no stage of tiny"),
        ("bestie.MODEL.BESTIE.IAG: f", "pam.SEED: f", "row cam: shares pam, so it cannot override"),
        ("name: broken", "name: tags", "row 2: the name 'tags' is taken"),
        ("until: pam", "until: cam", "row broken: until: 'cam' is no stage"),
        ("pipeline: cam", "pipelines: cam", "row 4: unknown key 'pipelines', known are name, pip"),
        ("stages: [pam, cues]", "stages: []", "row 4: shares: stages is empty"),
        ("stages: [pam, cues]", "stages: [[pam]]", "stages is [['pam']], expected names of stages"),
        ("{pam.SOLVER.BASE_LR: 0.123}", "{1: 2}", "row 2: overrides has the key 1, expected STAGE"),
        ("name: tiny\n", "name: ''\n", "table.yaml: name is empty"),
        ("name: broken", "name: ''", "row 2: name is empty"),
        ("from: broken, stages: [pam]", "from: broken, stages: [cues]", "shares cues, which row b"),
    ],
)
def test_a_wrong_table(old, new, line, run, project):
    assert TABLE.count(old) == 1
    (project / "table.yaml").write_text(TABLE.replace(old, new))
    _, complaints = run("--dry-run", code=2)
    assert line in complaints
    assert complaints.count("\n") == 1


PARENT = """
from bestie_d2.pipeline.table_runner import in_a_process
import os
if __name__ == "__main__":
    in_a_process(os.system, "echo $PPID > child; exec sleep 100")
"""


def test_a_row_ends_with_the_command_and_so_does_what_it_started(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path)
    end = time.monotonic() + 200
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        assert time.monotonic() < end
        assert parent.poll() is None
        time.sleep(0.05)
    group = int((tmp_path / "child").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.05)
        pytest.fail("the row's processes live on")
