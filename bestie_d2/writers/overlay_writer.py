"""Pictures with the found objects drawn over them."""

from __future__ import annotations

from PIL import Image

from bestie_d2.data.images import ImageReader
from bestie_d2.pictures.overlays import brighten, draw_objects
from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage
from bestie_d2.writers.writer import Writer


class OverlayWriter(Writer):
    """``overlay/<name>.png``: each object in a color of its own, with class and score where there
    is room."""

    format_name = "overlay"

    def write(self, image: LabeledImage) -> None:
        picture = brighten(ImageReader().read(image.image_path))
        drawn = draw_objects(picture, image.objects, self.class_names)
        with replacing(self.path_of(image, ".png"), "wb") as file:
            Image.fromarray(drawn).save(file, "PNG")
