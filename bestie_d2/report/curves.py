"""The curves of a run: losses, the figures of evaluations, and the true positives of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bestie_d2.engine.label_progress import PSEUDO, REFINED
from bestie_d2.pipeline.stages import HEADLINES
from bestie_d2.report.charts import Series, line_chart
from bestie_d2.report.metrics import ITERATION, Curve, read_curves, thinned
from bestie_d2.report.page import figure, heading, paragraph, side_by_side
from bestie_d2.report.run_files import RunFiles

LOSS_PREFIX = "loss_"
TOTAL_LOSS = "total_loss"
PERCENT_AXIS = "percent"
KINDS_OF_LABELS = (REFINED, PSEUDO)  # the latter are made before training: a level, no curve
SMOOTHING = (
    "Losses are medians over 20 iterations, as Detectron2 writes them down; long curves are "
    "thinned. Values of 0 have no place on a logarithmic axis."
)


def curves_section(run: RunFiles) -> list[str]:
    """The charts of each training that has written something down."""
    trainings = {stage.name: read_curves(stage.metrics) for stage in run.stages if stage.config}
    measured = {name: curves for name, curves in trainings.items() if curves}
    if not measured:
        return [paragraph("No training has written anything down yet.")]
    parts = [heading("Losses"), paragraph(SMOOTHING, note=True)]
    parts.append(side_by_side(_losses(name, curves) for name, curves in measured.items()))
    parts += [heading("Evaluations while training"), *_evaluations(run, measured)]
    parts += [heading("Labels that BESTIE learns from"), *_labels(measured)]
    return parts


def _losses(name: str, curves: Mapping[str, Curve]) -> str:
    """The losses of a training in one chart."""
    names = [key for key in curves if key == TOTAL_LOSS or key.startswith(LOSS_PREFIX)]
    series = [
        Series(key.removeprefix(LOSS_PREFIX).replace("_", " "), thinned(curves[key]))
        for key in sorted(names, key=lambda key: (key != TOTAL_LOSS, key))
    ]
    return figure(_over_iterations(series, "loss", log=True), name)


def _over_iterations(series: Sequence[Series], y_title: str, *, log: bool = False) -> str:
    return line_chart(series, x_title=ITERATION, y_title=y_title, log=log)


def _evaluations(run: RunFiles, measured: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """A chart for each training that was evaluated more than once (paper: Figure 7)."""
    figures, once = [], []
    for name, curves in measured.items():
        found = {key: curves[key] for key in HEADLINES if key in curves}
        if any(len(curve) > 1 for curve in found.values()):
            series = [Series(HEADLINES[key], thinned(curve)) for key, curve in found.items()]
            figures.append(figure(_over_iterations(series, PERCENT_AXIS), name))
        else:
            once.append(name)
    parts = [paragraph(f"On {run.pipeline.test_set}.", note=True)] if figures else []
    parts += [side_by_side(figures)] if figures else []
    if once:
        parts.append(
            paragraph(
                f"No curve of {', '.join(once)}: evaluated once or never so far. TEST.EVAL_PERIOD "
                "in its configuration evaluates it every so many iterations."
            )
        )
    return parts


def _labels(measured: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """How right the labels of each BESTIE training are (paper: Figure 6)."""
    figures = [part for name, curves in measured.items() for part in _label_charts(name, curves)]
    if not figures:
        return [
            paragraph(
                "No training has measured its labels against the truth: for that, "
                "TEST.LABEL_PROGRESS.DATASET in a configuration of BESTIE names a set with truth."
            )
        ]
    note = (
        "Counted on TEST.LABEL_PROGRESS.DATASET, whose truth no training reads. Pseudo labels are "
        "what semantic knowledge transfer makes once and for all; refined labels are the network's "
        "own grouping of the weak maps."
    )
    return [paragraph(note, note=True), side_by_side(figures)]


def _label_charts(name: str, curves: Mapping[str, Curve]) -> list[str]:
    """True positives, and precision and recall, of one training's pseudo and refined labels."""
    counts = _of_labels(curves, "true_positives")
    shares = [*_of_labels(curves, "precision"), *_of_labels(curves, "recall")]
    if not counts:
        return []
    (_, objects) = curves[f"{PSEUDO}/objects"][-1]
    remark = f"The images have {objects:.0f} objects."
    return [
        figure(
            _over_iterations(counts, "true positives"), f"{name}: labels that are right", remark
        ),
        figure(
            _over_iterations(shares, PERCENT_AXIS), f"{name}: precision and recall of the labels"
        ),
    ]


def _of_labels(curves: Mapping[str, Curve], measure: str) -> list[Series]:
    """A curve for each kind of labels that has this measure."""
    return [
        Series(
            f"{kind}, {measure}".replace("_", " "),
            thinned(curves[f"{kind}/{measure}"]),
            level=kind == PSEUDO,
        )
        for kind in KINDS_OF_LABELS
        if f"{kind}/{measure}" in curves
    ]
