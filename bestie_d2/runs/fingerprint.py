"""What a model's outputs on a data set depend on: a run goes on with results of its own alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from detectron2.config import CfgNode

from bestie_d2.model_keys import NUM_CLASSES_NODE, num_classes_key
from bestie_d2.storage.files import hash_of_content, hash_of_file

OF_TRAINING = {"INPUT.BESTIE", "INPUT.TAGS", "INPUT.MAPPER"}


def fingerprint(cfg: CfgNode, records: Sequence[dict], dataset_name: str) -> dict[str, str]:
    """What a model's outputs on a data set depend on, for ``ResultShards.begin``.

    Args:
        cfg: with ``MODEL.WEIGHTS``.

    Returns:
        The values of all keys of ``INPUT`` and ``MODEL`` but those of training and of our other
        models, the data set, and hashes of the weights and of the records.
    """
    own = num_classes_key(cfg)
    others = (f"MODEL.{node}" for node in NUM_CLASSES_NODE.values())
    left_out = OF_TRAINING | {"MODEL.DEVICE", "MODEL.WEIGHTS"}
    left_out |= {node for node in others if not own.startswith(f"{node}.")}
    values = {}
    for node in ("MODEL", "INPUT"):
        _flatten(cfg[node], node, left_out, values)
    return {
        "data set": dataset_name,
        "images and tags": hash_of_content(records),
        "weights": _hash_of_weights(cfg.MODEL.WEIGHTS),
        **values,
    }


def _flatten(node: CfgNode, name: str, left_out: Collection[str], values: dict[str, str]) -> None:
    for key, value in node.items():
        key = f"{name}.{key}"
        if key in left_out:
            continue
        if isinstance(value, CfgNode):
            _flatten(value, key, left_out, values)
        else:
            values[key] = str(value)


def _hash_of_weights(path: str) -> str:
    """SHA-256 of a file; the address itself of what is fetched."""
    return path if "://" in path else hash_of_file(path)
