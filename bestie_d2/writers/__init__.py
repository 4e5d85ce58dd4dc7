"""Found objects in the files of other tools: one writer a format, by name in ``WRITERS``.

``WRITERS[name](output, class_names)`` makes one; it takes images by ``add`` and is finished by
``close``. docs/formats.md says what each writes.
"""

from bestie_d2.writers.coco_writer import CocoPolygonWriter, CocoWriter
from bestie_d2.writers.cvat_writer import CvatWriter
from bestie_d2.writers.geojson_writer import GeoJsonWriter
from bestie_d2.writers.label_image_writer import LabelImageWriter
from bestie_d2.writers.label_studio_writer import LabelStudioBrushWriter, LabelStudioPolygonWriter
from bestie_d2.writers.labelme_writer import LabelMeWriter
from bestie_d2.writers.measures_writer import MeasuresWriter
from bestie_d2.writers.overlay_writer import OverlayWriter
from bestie_d2.writers.writer import Writer
from bestie_d2.writers.yolo_writer import YoloWriter

WRITERS: dict[str, type[Writer]] = {
    writer.format_name: writer
    for writer in (
        CocoWriter,
        CocoPolygonWriter,
        LabelImageWriter,
        YoloWriter,
        GeoJsonWriter,
        LabelMeWriter,
        LabelStudioPolygonWriter,
        LabelStudioBrushWriter,
        CvatWriter,
        MeasuresWriter,
        OverlayWriter,
    )
}

__all__ = ["WRITERS", "Writer"]
