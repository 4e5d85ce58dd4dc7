"""CVAT's own XML for images, version 1.1.

Definition: https://docs.cvat.ai/docs/other/xml_format/ ("Annotation", "Run-length encoding") and
``load_anno`` in ``cvat/apps/dataset_manager/formats/cvat.py``: images are found by name, masks are
lengths of background and object in turn, row by row within their box, background first; attributes
that a label does not have are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as xml

from bestie_d2.ops.run_lengths import counts_of, runs_by_row
from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.writer import OneFileWriter, rounded


class CvatWriter(OneFileWriter):
    """``cvat.xml``: a ``mask`` element an object, exact with holes and parts; CVAT knows masks
    since 2.3. The score is an attribute, which CVAT keeps where the label has one of that name."""

    format_name = "cvat"
    file_name = "cvat.xml"

    def entry_of(self, image: LabeledImage) -> str:
        known = {
            "id": self.images - 1,
            "name": image.file_name,
            "width": image.width,
            "height": image.height,
        }
        element = _element("image", **known)
        element.extend(self._mask(found) for found in image.objects)
        xml.indent(element)
        return xml.tostring(element, "unicode")

    def _mask(self, found: ObjectMask) -> xml.Element:
        (top, left), (height, width) = found.top_left, found.mask.shape
        inside = ObjectMask(found.class_id, found.score, (0, 0), found.mask)
        counts = counts_of(runs_by_row(inside, width), found.mask.size)
        known = {
            "label": self.class_names[found.class_id],
            "source": "auto",
            "occluded": 0,
            "rle": ", ".join(map(str, counts)),
            "left": left,
            "top": top,
            "width": width,
            "height": height,
            "z_order": 0,
        }
        element = _element("mask", **known)
        element.append(_element("attribute", rounded(found.score), name="score"))
        return element

    def finish(self) -> None:
        with replacing(self.output / self.file_name) as file:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
            for element in self._heads():
                xml.indent(element)
                file.write(xml.tostring(element, "unicode") + "\n")
            for image in self.entries():
                file.write(image + "\n")
            file.write("</annotations>\n")

    def _heads(self) -> Iterator[xml.Element]:
        """The version, and labels as a task for these images would have them."""
        yield _element("version", "1.1")
        meta = _element("meta")
        labels = xml.SubElement(xml.SubElement(meta, "task"), "labels")
        for name in self.class_names:
            label = xml.SubElement(labels, "label")
            label.append(_element("name", name))
            attribute = xml.SubElement(xml.SubElement(label, "attributes"), "attribute")
            score = {"name": "score", "mutable": False, "input_type": "text"}
            texts = {**score, "default_value": "", "values": ""}
            attribute.extend(_element(tag, text) for tag, text in texts.items())
        yield meta


def _element(tag: str, text: object = None, **attributes: object) -> xml.Element:
    element = xml.Element(tag, {key: str(value) for key, value in attributes.items()})
    element.text = None if text is None else str(text)
    return element
