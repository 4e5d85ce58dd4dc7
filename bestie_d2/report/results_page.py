"""The docs' tables of a table's figures, in Markdown, from its JSON alone.

Rows that repeat a variant with other seeds stand in its line: mean, smallest and largest value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import FINDERS, KINDS
from bestie_d2.pipeline.spent_time import PROCESSOR_SECONDS, SECONDS
from bestie_d2.storage.files import replacing

MINUTE = 60
NOT_RUN, NONE = "not run", "-"
AP = {  # columns, and the figures they show
    "COCO AP": "segm/AP",
    "AP50": "segm/AP50",
    "AP75": "segm/AP75",
    "VOC mAP25": "voc_instance/mAP25",
    **{name: f"voc_instance/{name}" for name in ("mAP50", "mAP70", "mAP75")},
}
PAPER = "paper, VOC (ResNet, HRNet)"
OF_STAGES = {  # the same of what the stages make of the training images, and the tags of the test
    "tag mAP": "pam/image_tags/mAP",
    "cues": "cues/cues",
    "components with none, %": "components/components with none",
    "one, %": "components/components with one",
    "several, %": "components/components with several",
    "mIoU": "maps/mIoU",
    "labels": "export/labels",
    "precision": "export/precision",
    "recall": "export/recall",
}
OF_NETWORKS = {  # what a trained network's results are, by the stage that trains it
    "pam": {"tag mAP": "pam/image_tags/mAP"},
    "wsss": {"mIoU of its maps": "maps/mIoU"},
    **{
        kind: {name: f"{kind}/{AP[name]}" for name in ("COCO AP", "AP50", "mAP50")}
        for kind in FINDERS
    },
}
Rows = Sequence[Mapping]


def docs_block(results: Mapping) -> str:
    """What stands in docs/results.md: the lines of all variants, the figures of the stages, times
    and commands."""
    parts = [
        results["about"],
        _lines(results["rows"]),
        "Of the stages: mAP of the tags on the test images; the rest of the training images.",
        _stages(results["rows"]),
        "Time of each row's own stages, on the clock and of the processors, and its command.",
        _times(results["rows"]),
        _made_with(results["rows"]),
    ]
    return "\n\n".join(part for part in parts if part)


def readme_block(results: Mapping) -> str:
    """What stands in the README: the lines that are marked for it and were run."""
    return f"{results['about']}\n\n{_lines(results['rows'], readme=True)}"


def zoo_block(results: Mapping) -> str:
    """What stands in docs/model_zoo.md: a line for each network that was trained."""
    table = []
    for row in results["rows"]:
        texts = {line["of"]: line for line in row["lines"]}
        for kind in (kind for kind in OF_NETWORKS if kind in row["stages"]):
            stage, line = row["stages"][kind], texts.get(kind, {})
            figures = {name: _figure(row, key) for name, key in OF_NETWORKS[kind].items()}
            known = [f"{name} {value:.1f}" for name, value in figures.items() if value is not None]
            cells = [line.get("text") or f"{kind}, {row['text'] or row['name']}"]
            cells += [str(row["made_by"]["seed"]), _length(stage), f"{stage[SECONDS] / MINUTE:.0f}"]
            cells += [", ".join(known) or NONE, line.get("paper", ""), f"`{row['command']}`"]
            table.append(cells)
    head = ["network", "seed", "iterations x images", "minutes", "result", PAPER, "command"]
    return f"{results['about']}\n\n{_markdown(head, table)}"


PAGES = {  # of the project, and what stands between a table's marks there
    "docs/results.md": docs_block,
    "docs/model_zoo.md": zoo_block,
    "README.md": readme_block,
}


def _length(stage: Mapping) -> str:
    """How long a network was trained."""
    return f"{stage['iterations']} x {stage['images a step']}"


def _variants(rows: Rows) -> list[list[Mapping]]:
    """The rows of each variant, with any seed."""
    found: dict[str, list[Mapping]] = {}
    for row in rows:
        found.setdefault(row["variant"], []).append(row)
    return list(found.values())


def _lines(rows: Rows, *, readme: bool = False) -> str:
    """Instances on the test set: a line for each that a variant has; for the README, of
    those that are marked for it and were run."""
    by_name = {row["name"]: row for row in rows}
    table = []
    for variant in _variants(rows):
        for line in variant[0]["lines"]:
            values = [
                [_figure(row, f"{line['of']}/{key}") for row in variant] for key in AP.values()
            ]
            seeds = sum(value is not None for value in values[0])
            if readme and not (line.get("readme") and seeds):
                continue
            cells = [_spread(of_seeds) for of_seeds in values]
            measured = [_minutes(row, line["of"], by_name) for row in variant]
            minutes = [value for value in measured if value is not None]
            cells[0] = cells[0] if seeds else NOT_RUN
            time = f"{fmean(minutes):.0f}" if minutes else NONE
            cells = [line["text"], *cells, str(seeds), time, line.get("paper", "")]
            table.append(cells)
    return _markdown(["", *AP, "seeds", "minutes", PAPER], table)


def _stages(rows: Rows) -> str:
    """Figures of the stages, of variants that have stages of their own with such figures."""
    table = []
    for variant in _variants(rows):
        cells = [
            _spread([_figure(row, key) for row in variant], whole="labels" in key or "cues" in key)
            for key in OF_STAGES.values()
        ]
        if any(cell != NONE for cell in cells):
            table.append([variant[0]["text"] or variant[0]["name"], *cells])
    return _markdown(["", *OF_STAGES], table)


def _times(rows: Rows) -> str:
    table = []
    for row in rows:
        stages = {kind: row["stages"][kind] for kind in KINDS if kind in row["stages"]}
        trained = [
            f"{name} {_length(stage)}" for name, stage in stages.items() if "iterations" in stage
        ]
        times = [
            f"{sum(stage.get(key, 0) for stage in stages.values()) / MINUTE:.0f}" if stages else "-"
            for key in (SECONDS, PROCESSOR_SECONDS)
        ]
        shares = ", ".join(
            f"{kind} of {row['shares'][kind]}" for kind in KINDS if kind in row["shares"]
        )
        there = {**stages, **row["shares"]}
        missing = [kind for kind in KINDS if kind in row["reads"] and kind not in there]
        state = f"{NOT_RUN}: {', '.join(missing)}" if missing else ""
        what = "; ".join(
            filter(None, (", ".join(trained), f"takes {shares}" * bool(shares), state))
        )
        table.append([row["name"], *times, what, f"`{row['command']}`"])
    head = ["row", "minutes", "of processors", "iterations x images", "command"]
    return _markdown(head, table)


def _made_with(rows: Rows) -> str:
    """Versions, threads and commits of all stages, in a sentence."""
    stages = [stage for row in rows for stage in row["stages"].values()]
    if not stages:
        return ""
    versions: dict[str, set[str]] = {}
    for stage in stages:
        for name, version in stage.get("versions", {}).items():
            versions.setdefault(name, set()).add(version)
    listed = ", ".join(f"{name} {' and '.join(sorted(versions[name]))}" for name in versions)
    threads = " and ".join(str(n) for n in sorted({stage.get("threads", 0) for stage in stages}))
    commits = ", ".join(sorted({stage.get("commit") or "unknown" for stage in stages}))
    return f"Made with {listed}; threads: {threads}; commits: {commits}."


def _figure(row: Mapping, key: str) -> float | None:
    """A figure by stage and name; those of ``evaluate`` and ``components`` begin with what was
    measured."""
    stage, _, name = key.partition("/")
    for where, called in ((stage, name), ("evaluate", key), ("components", key)):
        value = row["stages"].get(where, {}).get("figures", {}).get(called)
        if value is not None:
            return value
    return None


def _spread(values: Iterable[float | None], *, whole: bool = False) -> str:
    """Mean of the seeds' figures, and the smallest and largest where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    mean, low, high = (f"{v:.{0 if whole else 1}f}" for v in (fmean(known), min(known), max(known)))
    return mean if len(known) == 1 else f"{mean} ({low} to {high})"


def _minutes(row: Mapping, measured: str, by_name: Mapping[str, Mapping]) -> float | None:
    """What all stages took that a line's figures come from; None if any is missing."""
    name = measured.split("/")[0]
    stage = name if name in row["reads"] else "components"
    needed, left = set(), [(row["name"], stage)]
    while left:
        owner, stage = left.pop()
        if stage in by_name[owner]["shares"]:
            left.append((by_name[owner]["shares"][stage], stage))
        elif (owner, stage) not in needed:
            needed.add((owner, stage))
            left += [(owner, read) for read in by_name[owner]["reads"][stage]]
    stages = [by_name[owner]["stages"].get(stage) for owner, stage in needed]
    if None in stages:
        return None
    return sum(stage[SECONDS] for stage in stages if stage) / MINUTE


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; without the paper's column where nothing of the table is in the paper."""
    paper = [row[head.index(PAPER)] for row in rows] if PAPER in head else []
    kept = [number for number, name in enumerate(head) if name != PAPER or any(paper)]
    lines = [[line[number] for number in kept] for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_between_marks(path: Path, name: str, block: str) -> None:
    """Put a block between the marks ``<!-- table: NAME -->`` and ``<!-- end of table: NAME -->`` of
    a text; what stands around them stays."""
    begin, end = f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"
    try:
        text = path.read_text(encoding="utf-8")
        before, rest = text.split(begin)
        _, after = rest.split(end)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"{path}: expected one {begin} and one {end} below it") from None
    with replacing(path) as file:
        file.write(f"{before}{begin}\n{block}\n{end}{after}")
