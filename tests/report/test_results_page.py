"""The docs' tables of a small JSON, by eye."""

from __future__ import annotations

import copy

import pytest

from bestie_d2.errors import InputError
from bestie_d2.report.results_page import docs_block, readme_block, write_between_marks, zoo_block

AP = ("segm/AP", "segm/AP50", "segm/AP75")
MAP = [f"voc_instance/mAP{percent}" for percent in (25, 50, 70, 75)]


def stage(seconds: float, figures: dict[str, float], **others: object) -> dict:
    made_with = {"versions": {"torch": "2.14.1"}, "threads": 2, "commit": "abc123"}
    times = {"seconds": seconds, "processor_seconds": 2 * seconds}
    return {**times, "figures": figures, **made_with, **others}


def row(name: str, stages: dict, *, variant: str = "", shares: dict | None = None) -> dict:
    reads = {"pam": [], "bestie": ["pam"], "evaluate": ["bestie"]}
    variant = variant or name
    described = {"name": name, "variant": variant, "text": f"from {variant}", "reads": reads}
    lines = [{"of": "bestie", "text": f"BESTIE, {variant}", "paper": "41.8", "readme": True}]
    described |= {"lines": lines, "shares": shares or {}, "command": f"run {name}"}
    return {**described, "made_by": {"seed": 2 if "seed2" in name else 1}, "stages": stages}


def evaluated(*values: float) -> dict:
    return stage(30, {f"bestie/{key}": v for key, v in zip((*AP, *MAP), values, strict=True)})


TRAINED = {"iterations": 800, "images a step": 8}
FIRST = {
    "pam": stage(600, {"image_tags/mAP": 95.04}, **TRAINED),
    "bestie": stage(1200, {}, **TRAINED),
    "evaluate": evaluated(5.6, 17.0, 2.4, 35.0, 16.8, 4.4, 2.3),
}
SECOND = {
    "pam": stage(660, {"image_tags/mAP": 95.5}, **TRAINED),
    "bestie": stage(1320, {}, **TRAINED),
    "evaluate": evaluated(6.6, 18.0, 2.4, 36.0, 17.8, 4.6, 2.5),
}
RESULTS = {
    "name": "tiny",
    "about": "Six animals.",
    "rows": [
        row("tags", FIRST),
        row("no_iag", {"bestie": FIRST["bestie"]}, shares={"pam": "tags"}),
        row("tags_seed2", SECOND, variant="tags"),
    ],
}
OURS = "|  | COCO AP | AP50 | AP75 | VOC mAP25 | mAP50 | mAP70 | mAP75 | seeds | minutes |"
RULE = "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
HEAD = f"{OURS} paper, VOC (ResNet, HRNet) |\n{RULE} --- |\n"
OF_STAGES = (
    "|  | tag mAP | cues | components with none, % | one, % | several, % | mIoU | labels | "
    "precision | recall |"
)
OF_TAGS = (
    "| BESTIE, tags | 6.1 (5.6 to 6.6) | 17.5 (17.0 to 18.0) | 2.4 (2.4 to 2.4) | "
    "35.5 (35.0 to 36.0) | 17.3 (16.8 to 17.8) | 4.5 (4.4 to 4.6) | 2.4 (2.3 to 2.5) | 2 | 32 | "
    "41.8 |"
)
DOCS = f"""Six animals.

{HEAD}{OF_TAGS}
| BESTIE, no_iag | not run | - | - | - | - | - | - | 0 | 30 | 41.8 |

Of the stages: mAP of the tags on the test images; the rest of the training images.

{OF_STAGES}
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| from tags | 95.3 (95.0 to 95.5) | - | - | - | - | - | - | - | - |

Time of each row's own stages, on the clock and of the processors, and its command.

| row | minutes | of processors | iterations x images | command |
| --- | --- | --- | --- | --- |
| tags | 30 | 61 | pam 800 x 8, bestie 800 x 8 | `run tags` |
| no_iag | 20 | 40 | bestie 800 x 8; takes pam of tags; not run: evaluate | `run no_iag` |
| tags_seed2 | 34 | 67 | pam 800 x 8, bestie 800 x 8 | `run tags_seed2` |

Made with torch 2.14.1; threads: 2; commits: abc123."""


def test_the_tables_of_the_docs():
    assert docs_block(RESULTS) == DOCS


def test_the_short_table_of_the_readme():
    assert readme_block(RESULTS) == f"Six animals.\n\n{HEAD}{OF_TAGS}"  # no_iag was not run
    unmarked = copy.deepcopy(RESULTS)
    for entry in unmarked["rows"]:
        entry["lines"][0]["readme"] = False
    assert readme_block(unmarked) == f"Six animals.\n\n{OURS}\n{RULE}"


def test_a_table_of_which_nothing_is_in_the_paper_has_no_column_for_it():
    ours = copy.deepcopy(RESULTS)
    for entry in ours["rows"]:
        del entry["lines"][0]["paper"]
    of_tags = OF_TAGS.removesuffix(" 41.8 |")
    assert readme_block(ours) == f"Six animals.\n\n{OURS}\n{RULE}\n{of_tags}"
    zoo = ZOO.replace(" paper, VOC (ResNet, HRNet) |", "").replace("--- | --- |\n", "--- |\n")
    assert zoo_block(ours) == zoo.replace("|  |", "|").replace("| 41.8 |", "|")


ZOO = """Six animals.

| network | seed | iterations x images | minutes | result | paper, VOC (ResNet, HRNet) | command |
| --- | --- | --- | --- | --- | --- | --- |
| pam, from tags | 1 | 800 x 8 | 10 | tag mAP 95.0 |  | `run tags` |
| BESTIE, tags | 1 | 800 x 8 | 20 | COCO AP 5.6, AP50 17.0, mAP50 16.8 | 41.8 | `run tags` |
| BESTIE, no_iag | 1 | 800 x 8 | 20 | - | 41.8 | `run no_iag` |
| pam, from tags | 2 | 800 x 8 | 11 | tag mAP 95.5 |  | `run tags_seed2` |
| BESTIE, tags | 2 | 800 x 8 | 22 | COCO AP 6.6, AP50 18.0, mAP50 17.8 | 41.8 | `run tags_seed2` |\
"""


def test_the_networks_of_the_model_zoo():
    assert zoo_block(RESULTS) == ZOO


def test_a_block_is_put_between_its_marks(tmp_path):
    path = tmp_path / "text.md"
    path.write_text("# Results\n<!-- table: tiny -->\nold\n<!-- end of table: tiny -->\nby hand\n")
    for _ in range(2):
        write_between_marks(path, "tiny", "| new |")
        assert path.read_text() == (
            "# Results\n<!-- table: tiny -->\n| new |\n<!-- end of table: tiny -->\nby hand\n"
        )
    with pytest.raises(InputError, match=r"text\.md: expected one <!-- table: other --> and one"):
        write_between_marks(path, "other", "| new |")
    with pytest.raises(InputError, match=r"no\.md: cannot be read"):
        write_between_marks(tmp_path / "no.md", "tiny", "")
