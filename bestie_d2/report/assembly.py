"""From a pipeline's run, finished or not, to its report: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.report.attempts import attempt
from bestie_d2.report.curves import curves_section
from bestie_d2.report.grid import grid_section
from bestie_d2.report.label_sections import cues_section, pseudo_labels_section
from bestie_d2.report.page import page, paragraph
from bestie_d2.report.run_files import RunFiles
from bestie_d2.report.stage_configs import StageConfigs
from bestie_d2.report.summary import chain_section, configuration_section, results_section
from bestie_d2.report.training_set import TrainingSet
from bestie_d2.storage.files import make_folder, replacing

REPORT_FILE = "report.html"


def report_path(pipeline: Pipeline) -> Path:
    """Where a pipeline's report is."""
    return Path(pipeline.output, REPORT_FILE)


def write_report(pipeline: Pipeline) -> Path:
    """Write ``report.html`` into a pipeline's output, whole or not at all.

    Shows what is there and says what is not, at any time: before a run, while stages are made and
    when one has failed. The pictures and the points of the curves are of a fixed number, whatever
    the size of the data set and the length of the trainings. What is wrong with a configuration or
    a file of the run is told in it.

    Returns:
        Path of the file.

    Raises:
        InputError: it cannot be written.
    """
    run = RunFiles.of(pipeline)
    configs = StageConfigs.load(pipeline)
    training_set = cache(lambda: TrainingSet.of(run, configs.teaching))
    builders: dict[str, Callable[[], list[str]]] = {
        "Results": lambda: results_section(run),
        "Chain": lambda: chain_section(run, configs.problems),
        "Curves": lambda: curves_section(run),
        "Cues": lambda: cues_section(training_set()),
        "Pseudo labels": lambda: pseudo_labels_section(run, training_set()),
        "Pictures": lambda: grid_section(run, training_set()),
        "Configuration": lambda: configuration_section(run),
    }
    sections = {title: attempt(build, "This part") for title, build in builders.items()}
    path = report_path(pipeline)
    make_folder(path.parent, "output")
    with replacing(path) as file:
        file.write(page(f"Run of {pipeline.name}", _lead(run), sections))
    return path


def _lead(run: RunFiles) -> str:
    """Under the title: what is run, how far it is, and when this was written."""
    of = run.pipeline
    done = sum(stage.manifest is not None for stage in run.stages)
    time = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return paragraph(
        f"Instance masks from {of.supervision} alone: trained on {of.train_set}, tested on "
        f"{of.test_set}. {done} of {len(run.stages)} stages are finished. Written {time}."
    )
