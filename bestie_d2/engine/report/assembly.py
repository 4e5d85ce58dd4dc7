"""From a pipeline's run, finished or not, to its report: one page that needs nothing but itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from bestie_d2.engine.pipeline.definition import Pipeline
from bestie_d2.engine.report.curves import curves_section
from bestie_d2.engine.report.grid import grid_section
from bestie_d2.engine.report.label_sections import cues_section, pseudo_labels_section
from bestie_d2.engine.report.page import page, paragraph
from bestie_d2.engine.report.run_files import RunFiles
from bestie_d2.engine.report.stage_configs import StageConfigs
from bestie_d2.engine.report.summary import chain_section, configuration_section, results_section
from bestie_d2.engine.report.training_set import TrainingSet
from bestie_d2.evaluation.result_shards import replacing

REPORT_FILE = "report.html"


def report_path(pipeline: Pipeline) -> Path:
    """Where a pipeline's report is."""
    return Path(pipeline.output, REPORT_FILE)


def write_report(pipeline: Pipeline) -> Path:
    """Write ``report.html`` into a pipeline's output, whole or not at all.

    Shows what is there and says what is not. The pictures and the points of the curves are of a
    fixed number, whatever the size of the data set and the length of the trainings. A stage whose
    configuration is wrong is told in it: the stages before it may be run all the same.

    Returns:
        Path of the file.

    Raises:
        InputError: all configurations of the pipeline, or a file of the run, are wrong.
    """
    run = RunFiles.of(pipeline)
    configs = StageConfigs.load(pipeline)
    training_set = TrainingSet.of(run, configs.teaching)
    sections = {
        "Results": results_section(run),
        "Chain": chain_section(run, configs.problems),
        "Curves": curves_section(run),
        "Cues": cues_section(training_set),
        "Pseudo labels": pseudo_labels_section(run, training_set),
        "Pictures": grid_section(run, training_set),
        "Configuration": configuration_section(run),
    }
    path = report_path(pipeline)
    path.parent.mkdir(parents=True, exist_ok=True)
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
