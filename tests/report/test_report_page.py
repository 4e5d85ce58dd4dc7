"""The parts of the page: escaping, alignment, inlined pictures."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
from PIL import Image

from bestie_d2.pictures.sheets import Layers
from bestie_d2.report.charts import Series, line_chart
from bestie_d2.report.page import page, table
from bestie_d2.report.picture_grid import _pictures

EVIL = '<script>"&'


def html_of(*blocks: tuple) -> str:
    """The inside of a section."""
    html = page("title", "lead", {"section": blocks})
    return html[html.index("</h2>") : html.index("</section>")]


def test_every_text_is_escaped():
    chart = line_chart(EVIL, [Series(EVIL, [(0, 1)])], EVIL)
    blocks = [
        ("text", EVIL),
        ("heading", EVIL),
        table([EVIL], [[EVIL]]),
        ("details", EVIL, EVIL),
        ("charts", [chart._replace(note=EVIL)]),
        ("pictures", EVIL, [(EVIL, EVIL, "", 3, 2)]),
    ]
    html = page(EVIL, EVIL, {EVIL: blocks})
    assert "<script" not in html
    head, section, in_blocks, in_chart = 3, 4, 1 + 1 + 2 + 2 + 2 + 6, 3
    assert html.count("&lt;script") == head + section + in_blocks + in_chart


def test_columns_of_numbers_are_right_aligned():
    head = ["name", "count", "share", "rate", "mixed", "empty"]
    rows = [["a", 1234, 0.25, "0.0001", 3, None], ["b", None, None, "2", "x", None]]
    html = html_of(table(head, rows))
    assert re.findall(r'<th scope="col"( class="number")?>(\w+)', html) == [
        ("", "name"),
        *((' class="number"', name) for name in ("count", "share", "rate")),
        ("", "mixed"),
        ("", "empty"),
    ]
    assert re.findall(r"<td[^>]*>([^<]*)", html) == [
        *("1,234", "0.2", "0.0001", "3", "–"),
        *("–", "–", "2", "x", "–"),
    ]
    assert re.findall(r'<th scope="row">(\w)', html) == ["a", "b"]
    assert re.search(r"<tbody>\s*</tbody>", html_of(table(["name"], [])))


def test_pictures_are_inlined():
    pixels = np.full((128, 256, 3), (200, 30, 90), np.uint8)
    layers = Layers(pixels, weak_map=np.full((128, 256), 2))
    html = html_of(_pictures({"file_name": "a/1.png", "image_id": 1}, layers, ["bug", "fish"]))
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" width="256" height="128"', html)
    image = np.asarray(Image.open(BytesIO(base64.b64decode(found[0]))))
    assert image.shape == pixels.shape
    assert np.abs(image.astype(int) - pixels).max() < 10
    assert re.findall(r'alt="([^"]*)"', html) == ["image of 1.png", "weak map of 1.png: fish"]
    assert "<b>weak map</b> fish" in html
