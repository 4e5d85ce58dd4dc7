"""The whole report: of a finished run, of one that has hardly begun, and of one that is broken."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.pipeline.state import Sources, StageRecord
from bestie_d2.report import write_report

VOID = {"meta", "img"}
IMAGES = 6  # of the tiny set: fewer than the grid would show of training images, more of test ones
SELF_CLOSING = {"g", "path", "use"}


class Page(HTMLParser):
    """Elements of a page; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        assert tag in SELF_CLOSING
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(finished) -> str:
    path = write_report(finished)
    assert path == Path(finished.output, "report.html")
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(html):
    page = Page(html)
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.elements)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert all(image["alt"] for image in page.of("img"))
    ids = [attributes["id"] for attributes in page.of("section")]
    assert [link["href"] for link in page.of("a")] == [f"#{name}" for name in ids]
    assert "url(" not in html
    assert "@import" not in html


def test_the_tables_say_what_was_run_and_what_came_out(html):
    assert "<h1>Run of hand &lt;made&gt;</h1>" in html
    assert "8 of 8 stages are finished." in html
    chain = html[html.index('<section id="chain">') : html.index('<section id="curves">')]
    assert re.search(
        r'>bestie</th><td>cues, maps</td><td>finished</td><td class="number">61', chain
    )
    assert "text of mrcnn" in chain
    results = html[: html.index('<section id="chain">')]
    for owner in ("bestie", "mrcnn"):
        row = re.search(f">{owner}</th>(.*?)</tr>", results).group(1)
        assert re.findall(r">([^<]+)<", row) == ["10.0", "20.0", "–", "–", "30.0", "–", "–"]
    configuration = html[html.index('<section id="configuration">') :]
    assert "report_pam.yaml" in configuration
    assert configuration.count("<details>") == 4
    assert "META_ARCHITECTURE: PAMClassifier" in configuration


def test_there_is_a_chart_of_everything_that_was_measured(html):
    charts = [svg["aria-label"] for svg in Page(html).of("svg") if "aria-label" in svg]
    losses = "total loss: from 2 to 2; center pseudo: from 0.5 to 0.5; sem seg: from 1.5 to 1.5"
    assert charts.count(losses) == 4
    assert charts.count("AP: from 10 to 10; AP50: from 20 to 20; VOC mAP50: from 30 to 30") == 4
    positives = (
        "refined labels, true positives: from 5 to 5; pseudo labels, true positives: 5 throughout"
    )
    assert charts.count(positives) == 4
    assert html.count("The images have 12 objects.") == 4
    assert "No curve of" not in html
    assert "6 cues in 6 images; the 6 that score above 0.7 are used in training." in html
    assert "1 labels in 6 images. Against the truth: precision 75.0 %, recall 50.0 %." in html


def test_the_grid_shows_each_image_through_the_stages(html):
    alternatives = [image["alt"] for image in Page(html).of("img")]
    training, test = "image of 0.png", "prediction, bestie of 0.png"
    assert alternatives.count(training) == 2
    kinds = Counter(text.split(" of ")[0] for text in alternatives)
    every = ("cues", "weak map", "pseudo labels", "refined labels", "exported labels")
    assert {kind: kinds[kind] for kind in every} == dict.fromkeys(every, IMAGES)
    assert kinds["prediction, bestie"] == kinds["prediction, mrcnn"] == 1 + 4
    assert kinds["image"] == kinds["truth"] == IMAGES + 1 + 4
    predictions = [text for text in alternatives if text.startswith("prediction, ")]
    assert predictions[0].startswith("prediction, bestie of 3.png")  # the worst of mrcnn's
    assert "The images on which mrcnn fails most come first" in html
    assert any(text.startswith(test) for text in alternatives)
    for expected in (
        "cues of 0.png: square",
        "weak map of 0.png: square",
        "pseudo labels of 0.png: square (1 right)",
        "exported labels of 0.png: square (1 right)",
        "exported labels of 1.png: nothing",
        "truth of 0.png: 2 square (1 right, 1 missed)",
    ):
        assert expected in alternatives


def test_a_run_that_has_not_begun(elsewhere):
    html = write_report(elsewhere).read_text(encoding="utf-8")
    Page(html)
    assert "0 of 8 stages are finished." in html
    assert html.count("not there yet") == 8
    for sentence in (
        "Not evaluated yet.",
        "No training has written anything down yet.",
        "No cues yet.",
        "Not exported yet.",
        "No model that finds instances has been trained yet.",
    ):
        assert sentence in html
    kinds = {image["alt"].split(" of ")[0] for image in Page(html).of("img")}
    assert kinds == {"image", "truth"}


def test_a_training_in_its_first_steps(elsewhere):
    folder = Path(elsewhere.folder_of("pam"))
    StageRecord(str(folder)).begin(Sources({}, {}, {}), resume=False)
    cfg = StageJob(elsewhere, "pam").configs["pam"]
    (folder / "config.yaml").write_text(cfg.dump())
    (folder / "metrics.json").write_text('{"iteration": 19, "total_loss": 1.0}\n{"iteration": 39,')
    html = write_report(elsewhere).read_text(encoding="utf-8")
    assert "begun, not finished" in html
    assert 'aria-label="total loss: from 1 to 1"' in html
    assert "No curve of pam: evaluated once or never so far." in html
    assert "TEST.LABEL_PROGRESS.DATASET in a configuration of BESTIE" in html


def test_given_points_take_the_place_of_cues(project, finished, finish, tmp_path):
    (project / "points.yaml").write_text(
        f"{{name: points, supervision: points, output: {tmp_path}/run, train_set: tiny_train, "
        "test_set: tiny_val, stages: {bestie: {config: tiny.yaml}}}"
    )
    pipeline = read_pipeline(str(project / "points.yaml"))
    folder = finish(pipeline, "bestie")
    (folder / "config.yaml").write_text(StageJob(pipeline, "bestie").configs["bestie"].dump())
    (folder / "model_final.pth").symlink_to(finished.product_of("bestie"))
    html = write_report(pipeline).read_text(encoding="utf-8")
    alternatives = [image["alt"] for image in Page(html).of("img")]
    assert "12 cues in 6 images; the 12 that score above" in html
    assert "refined labels of 0.png: 2 square" in alternatives  # both points are given
    assert not any(text.startswith("exported") for text in alternatives)


def test_wrong_labels_are_told_and_the_rest_is_shown(finished, html):
    labels = Path(finished.product_of("export"))
    whole = labels.read_text()
    labels.write_text(whole.replace("square", "circle"))
    told = write_report(finished).read_text(encoding="utf-8")
    labels.write_text(whole)
    assert re.search(
        r"This part cannot be shown: \S+pseudo_labels\.json: category .circle. is not",
        unescape(told),
    )
    alternatives = [image["alt"] for image in Page(told).of("img")]
    assert any(text.startswith("prediction, mrcnn of 0.png: ") for text in alternatives)
    assert "weak map of 0.png: square" in alternatives
    assert not any(text.startswith("exported") for text in alternatives)
    assert not list(Path(finished.output).glob("*.scratch"))


def test_a_wrong_model_is_told_and_the_others_are_shown(finished, html):
    weights = Path(finished.product_of("bestie"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    told = write_report(finished).read_text(encoding="utf-8")
    weights.unlink()
    gone = write_report(finished).read_text(encoding="utf-8")
    weights.write_bytes(whole)
    assert "bestie cannot be shown: checkpoint " in told
    assert "finished, but model_final.pth is gone" in gone
    for page in (told, gone):
        alternatives = [image["alt"] for image in Page(page).of("img")]
        assert any(text.startswith("prediction, mrcnn of 0.png: ") for text in alternatives)
        assert not any(text.startswith("prediction, bestie") for text in alternatives)


def test_a_stage_that_cannot_be_run_is_told_in_the_report(elsewhere):
    entry = replace(elsewhere.stages["mrcnn"], overrides=["SOLVER.NO_SUCH", "1"])
    broken = replace(elsewhere, stages={**elsewhere.stages, "mrcnn": entry})
    html = write_report(broken).read_text(encoding="utf-8")
    sentence = "mrcnn cannot be run as it is configured: stage mrcnn: override on the command line"
    assert html.count(sentence) == 1
    assert html.count("cannot be run") == 1


def test_a_training_set_that_nobody_knows_is_told(elsewhere):
    html = write_report(replace(elsewhere, train_set="nowhere")).read_text(encoding="utf-8")
    Page(html)
    assert "This part cannot be shown: stage pam: data set 'nowhere' is not reg" in unescape(html)
    assert html.count("cannot be run as it is configured") == 4
    assert "0 of 8 stages are finished." in html


def test_a_report_that_cannot_be_written_is_told(elsewhere):
    Path(elsewhere.output).parent.joinpath("run").touch()
    with pytest.raises(InputError, match=r"output .*run: cannot be made a folder"):
        write_report(elsewhere)


def test_pictures_of_data_that_was_moved(finished):
    config = Path(finished.output, "bestie", "config.yaml")
    text = config.read_text()
    moved = re.sub(r"images: \S+", "images: /where/it/was", text)
    assert moved != text
    config.write_text(moved)
    try:
        html = write_report(finished).read_text(encoding="utf-8")
    finally:
        config.write_text(text)
    assert "already registered" not in html
    assert "cannot be shown" not in html
