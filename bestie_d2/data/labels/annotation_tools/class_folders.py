"""Pictures sorted into folders that are called like their class: each picture's own folder counts,
so that ``train/cat/a.jpg`` is a cat. A picture may be in several, as a copy."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from bestie_d2.data.labels.annotation_tools.exports import Export, LabeledImage
from bestie_d2.data.picture_files import find_pictures


def read_folders(path: str, export: Export) -> None:
    for name in find_pictures([path]):
        parts = PurePosixPath(name).parts
        # Beside the classes' folders, or in them: without the folder of the class in the path too.
        image = LabeledImage((name, str(PurePosixPath(*parts[:-2], parts[-1]))), name)
        if len(parts) > 1:
            image.tags.append(parts[-2])
            export.images.append(image)
        else:
            export.leave_out(f"pictures in {Path(path).name} itself, in no folder of a class")
