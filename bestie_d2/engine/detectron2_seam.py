"""What differs between Detectron2's release 0.6, its newer main and the pure-Python build.

Everything else that bestie_d2 uses has the same form in all three, as long as it keeps to this:
`grad_scaler` of `AMPTrainer` is passed by keyword, `ShapeSpec` is read by attribute (a named tuple
in 0.6, a data class in main), `ImageList.from_tensors` gets `tensors`, `size_divisibility` and
`pad_value` only, and a trainer is advanced by `run_step` (main adds keywords to `_write_metrics`).
"""

from collections.abc import Sequence

from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator
from bestie_d2.evaluation.truth import ObjectsByImage


def has_compiled_operators() -> bool:
    """Whether this Detectron2 was built with its C++ and CUDA operators."""
    try:
        from detectron2 import _C
    except ImportError:
        return False
    return not getattr(_C, "PURE_PYTHON", False)


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
