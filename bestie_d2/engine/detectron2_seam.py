"""What differs between Detectron2's release 0.6, its newer main and the pure-Python build.

Everything else that bestie_d2 uses has the same form in all three, as long as it keeps to this:
`grad_scaler` of `AMPTrainer` is passed by keyword, `ShapeSpec` is read by attribute (a named tuple
in 0.6, a data class in main), `ImageList.from_tensors` gets `tensors`, `size_divisibility` and
`pad_value` only, and a trainer is advanced by `run_step` (main adds keywords to `_write_metrics`).
"""

from collections.abc import Iterator, Sequence

from detectron2.engine import SimpleTrainer

from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator
from bestie_d2.evaluation.truth import ObjectsByImage


def has_compiled_operators() -> bool:
    """Whether this Detectron2 was built with its C++ and CUDA operators."""
    try:
        from detectron2 import _C
    except ImportError:
        return False
    return not getattr(_C, "PURE_PYTHON", False)


def take_running_loader(trainer: SimpleTrainer) -> Iterator[list[dict]]:
    """The batches of a trainer, which keeps nothing of them: workers end when the result is let go.

    Release 0.6 holds them in an attribute; main makes them when they are first asked for.
    """
    batches = trainer._data_loader_iter
    if trainer.__dict__.pop("_data_loader_iter", None) is None:
        trainer._data_loader_iter_obj = None
    return batches


def build_coco_evaluator(
    dataset_name: str,
    *,
    tasks: Sequence[str] = ("segm",),
    output_dir: str | None = None,
    distributed: bool = True,
    max_dets_per_image: int | None = None,
    truth: ObjectsByImage | None = None,
) -> COCOInstanceEvaluator:
    """Detectron2's COCO evaluator on our truth, in its fast form where that is built.

    Release 0.6 asks for the fast form by default and fails without it; main falls back by itself.

    Args:
        dataset_name: a registered data set.
        tasks: of "bbox", "segm".
        output_dir: where the predictions are written, if given.
        distributed: gather the predictions of all processes.
        max_dets_per_image: detections per image that count; 100 if not given.
        truth: what ``load_truth`` reads, with crowds, if that was done already.
    """
    return COCOInstanceEvaluator(
        dataset_name,
        truth=truth,
        tasks=tuple(tasks),
        distributed=distributed,
        output_dir=output_dir,
        max_dets_per_image=max_dets_per_image,
        use_fast_impl=has_compiled_operators(),
    )
