"""Train BESTIE on the embedded shapes, evaluate it beside its own input, and draw what it sees.

    python tools/run_demo.py [--output DIR] [KEY VALUE ...]

Run again after an interruption, it goes on from the last checkpoint.
"""

from bestie_d2.engine.quiet import quiet_third_party_warnings

quiet_third_party_warnings()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import io  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from detectron2.config import CfgNode  # noqa: E402
from detectron2.data import DatasetCatalog, MetadataCatalog  # noqa: E402
from detectron2.utils.env import seed_all_rng  # noqa: E402
from detectron2.utils.logger import setup_logger  # noqa: E402
from tabulate import tabulate  # noqa: E402

from bestie_d2.data import load_weak_records  # noqa: E402
from bestie_d2.engine.checks import check_config, check_test_sets  # noqa: E402
from bestie_d2.engine.command_line import make_folder, run_tool  # noqa: E402
from bestie_d2.engine.configuration import load_config, log_to  # noqa: E402
from bestie_d2.engine.pictures import draw_predictions  # noqa: E402
from bestie_d2.engine.trainer import Trainer, append_metrics  # noqa: E402
from bestie_d2.evaluation import evaluate_weak_components  # noqa: E402

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "bestie_shapes.yaml"
TALKATIVE = ("detectron2.engine.defaults", "detectron2.data", "detectron2.evaluation",
             "fvcore.common.checkpoint", "bestie_d2.evaluation")  # fmt: skip
PICTURES = 6
COLUMNS = (
    ("COCO AP", "segm", "AP"),
    ("AP50", "segm", "AP50"),
    ("AP75", "segm", "AP75"),
    ("VOC mAP25", "voc_instance", "mAP25"),
    ("mAP50", "voc_instance", "mAP50"),
    ("mAP70", "voc_instance", "mAP70"),
    ("mAP75", "voc_instance", "mAP75"),
)


def describe_data(cfg: CfgNode) -> None:
    """Say what is trained on, and how much of it the pseudo labels can teach."""
    train, test = cfg.DATASETS.TRAIN[0], cfg.DATASETS.TEST[0]
    records = load_weak_records(
        train,
        num_classes=cfg.MODEL.BESTIE.NUM_CLASSES,
        weak_maps=cfg.DATASETS.WEAK_MAPS,
        cues=cfg.DATASETS.CUES,
        score_threshold=cfg.DATASETS.CUE_THRESHOLD,
    )
    cues = [len(record["cues"]) for record in records]
    metadata = MetadataCatalog.get(train)
    print(
        f"data       {train}: {len(records)} images of {', '.join(metadata.thing_classes)}; "
        f"labels are {cfg.MODEL.BESTIE.SUPERVISION}: {sum(cues)} cues, and weak maps, no mask\n"
        f"           {test}: {len(DatasetCatalog.get(test))} images with true masks\n"
        f"           drawn into {metadata.image_root}"
    )


def train(cfg: CfgNode) -> Trainer:
    """A trained model; goes on where an earlier run was stopped."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    left = cfg.SOLVER.MAX_ITER - trainer.start_iter
    if left <= 0:
        print(f"training   done earlier; remove {cfg.OUTPUT_DIR} to train anew")
        return trainer
    network = f"{cfg.MODEL.HRNET.ARCHITECTURE} on {cfg.MODEL.DEVICE}"
    print(f"training   {left} of {cfg.SOLVER.MAX_ITER} iterations, {network}")
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        trainer.train()
    print(f"           {time.monotonic() - start:.0f} s")
    return trainer


def evaluate_both(cfg: CfgNode, trainer: Trainer) -> dict[str, dict]:
    """The model's figures and those of its own input: the weak maps' connected components."""
    test = cfg.DATASETS.TEST[0]
    with contextlib.redirect_stdout(io.StringIO()):
        free = evaluate_weak_components(
            test,
            Trainer.build_evaluator(cfg, test, os.path.join(cfg.OUTPUT_DIR, "weak_components")),
            min_area=cfg.MODEL.BESTIE.TEST.MIN_AREA,
        )
        learned = Trainer.test(cfg, trainer.model)
    append_metrics(
        cfg.OUTPUT_DIR, {**learned, "weak_components": free}, iteration=cfg.SOLVER.MAX_ITER
    )
    return {"weak map's components (free)": free, "BESTIE": learned}


def table(results: dict[str, dict]) -> str:
    """Figures in percent, a row for each method."""
    rows = [
        [method, *(found[group][key] for _, group, key in COLUMNS)]
        for method, found in results.items()
    ]
    return tabulate(rows, ["", *(title for title, _, _ in COLUMNS)], floatfmt=".1f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="output/demo", help="default: output/demo")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parser.parse_args()
    cfg = load_config(str(CONFIG), ["OUTPUT_DIR", arguments.output, *arguments.opts])
    check_config(cfg)
    check_test_sets(cfg)
    make_folder(cfg.OUTPUT_DIR, "--output")
    setup_logger(cfg.OUTPUT_DIR)
    log_to(cfg.OUTPUT_DIR)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    seed_all_rng(cfg.SEED)

    describe_data(cfg)
    trainer = train(cfg)
    results = evaluate_both(cfg, trainer)
    test = cfg.DATASETS.TEST[0]
    files = draw_predictions(cfg, trainer.model, test, PICTURES, cfg.OUTPUT_DIR)
    print(f"\n{test}, in percent:\n{table(results)}\n")
    print(f"figures    {os.path.join(cfg.OUTPUT_DIR, 'metrics.json')}")
    print(f"pictures   {', '.join(map(str, files))}")


if __name__ == "__main__":
    run_tool(main)
