"""Objects in a picture by a file of tools/export_model.py: no Detectron2, no configuration.

    python examples/exported_model.py MODEL.onnx PICTURE OBJECTS.npz

It takes onnxruntime, Pillow, torch, SciPy and OpenCV, and of bestie_d2 the files of the grouping,
which are not those that register parts in Detectron2.
"""

import importlib.util
import json
import sys

import numpy as np
import onnxruntime
import torch
from PIL import Image, ImageOps


def main(model: str, picture: str, output: str) -> None:
    # The package without its __init__, which registers all parts.
    package = importlib.util.module_from_spec(importlib.util.find_spec("bestie_d2"))
    sys.modules["bestie_d2"] = package
    from bestie_d2.labeling.decode import group_instances
    from bestie_d2.labeling.grouping import CenterClustering

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["bestie_d2"])
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    resize, scale = told["resize"], 1.0
    if resize["shortest"]:
        scale = min(resize["shortest"] / min(image.size), resize["longest"] / max(image.size))
    seen = [resize["side"] or int(side * scale + 0.5) for side in image.size]
    pixels = np.asarray(image.resize(seen, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    pixels = pixels[::-1] if told["channels"] == "BGR" else pixels
    size = np.array((image.height, image.width))
    maps = session.run(None, {"image": np.ascontiguousarray(pixels), "size": size})

    options = told["grouping"]
    options["clustering"] = options["clustering"] and CenterClustering(**options["clustering"])
    masks, classes, scores = group_instances(*map(torch.from_numpy, maps), **options)
    kept = scores >= told["score_threshold"]
    masks, classes, scores = (values[kept].numpy() for values in (masks, classes, scores))
    np.savez_compressed(output, masks=masks, classes=classes, scores=scores)
    for class_id, score in zip(classes, scores, strict=True):
        print(f"{told['classes'][class_id]} {score:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
