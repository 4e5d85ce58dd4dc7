"""The report of a chain that fails, runs, or has hardly begun. Two stages, which take seconds."""

from __future__ import annotations

import pytest
from tiny_pipeline import SHORT, raising, shorten

from bestie_d2.errors import InputError
from bestie_d2.pipeline import stages
from bestie_d2.pipeline.state import Sources, StageRecord
from bestie_d2.storage.processes import only_run_in


@pytest.fixture(scope="module", autouse=True)
def short_chain(project) -> None:
    shorten(project)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InputError("image 1.png: gone"), 2, "failed: stage cues: image 1.png: gone"),
        (RuntimeError("CUDA is\nlost"), None, "failed: RuntimeError: CUDA is lost"),
        (KeyboardInterrupt(), 130, "failed: interrupted (Ctrl-C)"),
    ],
)
def test_a_chain_that_fails_leaves_a_report(error, code, told, run, monkeypatch, capsys, project):
    monkeypatch.setitem(stages.RUNS, "pam", raising(error))
    report = project / "out" / "report.html"
    report.unlink(missing_ok=True)
    with pytest.raises(SystemExit if code else RuntimeError) as stop:
        run("--redo", "pam", *SHORT)
    assert code is None or stop.value.code == code
    assert "report: out/report.html\n" in capsys.readouterr().out
    html = report.read_text(encoding="utf-8")
    assert told.removeprefix("failed: stage cues: ") in html
    assert ">failed: " in html


def test_a_report_that_fails_hides_no_error(run, monkeypatch, tool, capsys):
    def broken(pipeline: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(tool, "write_report", broken)
    monkeypatch.setitem(stages.RUNS, "pam", raising(InputError("image 1.png: gone")))
    with pytest.raises(SystemExit):
        run("--redo", "pam", *SHORT)
    assert capsys.readouterr().err.splitlines() == [
        "warning: no report was written (no space left)",
        "error: stage pam: image 1.png: gone",
    ]


def test_a_report_at_any_time(run, project):
    states, printed = run("--report")
    assert states == {}
    assert printed == "report: out/report.html\n"
    tiny = (project / "tiny.yaml").read_text()
    (project / "new.yaml").write_text(tiny.replace("output: out", "output: new"))
    run("--report", config="new.yaml")
    html = (project / "new" / "report.html").read_text(encoding="utf-8")
    assert html.count("not there yet") == 2
    pam = project / "new" / "pam"
    StageRecord(str(pam)).begin(Sources({}, {}, {}), resume=False)
    (pam / "metrics.json").write_bytes(b'{"iteration": 1, "total_loss": 1.0}\n{"iter\xc3')
    (pam / "config.yaml").write_text("MODEL: {DEVICE: [")
    (pam / "model_0000001.pth").write_bytes(b"half")
    with only_run_in(pam, "output"):
        run("--report", config="new.yaml")
    html = (project / "new" / "report.html").read_text(encoding="utf-8")
    assert ">running: process " in html
    (pam / "manifest.json").write_text('{"config": ')
    run("--report", config="new.yaml")
    html = (project / "new" / "report.html").read_text(encoding="utf-8")
    assert ">damaged: new/pam/manifest.json: no JSON object; move its folder away" in html
    for wrong in ("MODEL: [", "MODEL: {NO_SUCH: 1}", None):
        (project / "wrong.yaml").write_text(wrong) if wrong else (project / "wrong.yaml").unlink()
        (project / "new.yaml").write_text(
            tiny.replace("output: out", "output: new").replace("pam.yaml", "wrong.yaml")
        )
        run("--report", config="new.yaml")
        html = (project / "new" / "report.html").read_text(encoding="utf-8")
        assert "pam cannot be run as it is configured: " in html
