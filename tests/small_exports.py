"""An export of each annotation tool, of pictures ``a.png`` and ``b.png``, 20 rows of 30 pixels."""

from __future__ import annotations

from typing import Any

LISTS: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 2, "file_name": "b.png", "height": 20, "width": 30},
    ],
    "categories": [{"id": 1, "name": "cat", "supercategory": "pet"}, {"id": 2, "name": "dog"}],
}
ENTRY = {"image_id": 1, "category_id": 1}
KEYPOINT = {
    **{"type": "keypointlabels", "original_width": 30, "original_height": 20},
    "value": {"x": 20, "y": 30, "width": 0.5, "keypointlabels": ["cat"]},
}
REGION = {
    "shape_attributes": {"name": "point", "cx": 5, "cy": 6},
    "region_attributes": {"class": "cat"},
}
FIELD = {"_cls": "Keypoints", "keypoints": [{"label": "cat", "points": [[0.3, 0.4]]}]}
FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [5, 6]},
    "properties": {"classification": {"name": "cat"}},
}
CVAT = (
    '<annotations><image name="a.png" width="30" height="20">'
    '<points label="cat" points="5.5,6.5"/><tag label="dog"/></image></annotations>'
)
CELL_COUNTER = (
    "<CellCounter_Marker_File><Image_Properties><Image_Filename>a.png</Image_Filename>"
    "</Image_Properties><Marker_Data><Marker_Type><Type>1</Type><Name>cat</Name>"
    "<Marker><MarkerX>5</MarkerX><MarkerY>6</MarkerY></Marker>"
    "</Marker_Type></Marker_Data></CellCounter_Marker_File>"
)
VIA_TABLE = (
    "filename,region_shape_attributes,region_attributes\n"
    'a.png,"{""name"":""point"",""cx"":5,""cy"":6}","{""class"":""cat""}"\n'
)
EXPORTS: dict[str, Any] = {
    "label_studio.json": [
        {"data": {"image": "a.png"}, "annotations": [{"id": 1, "result": [KEYPOINT]}]}
    ],
    "cvat.xml": CVAT,
    "via.json": {"a.png": {"filename": "a.png", "regions": [REGION], "file_attributes": {}}},
    "via.csv": VIA_TABLE,
    "fiftyone.json": {"samples": [{"filepath": "/x/a.png", "truth": FIELD}]},
    "coco.json": {
        **LISTS,
        "annotations": [
            {**ENTRY, "keypoints": [5, 6, 2, 9, 9, 1]},
            {**ENTRY, "bbox": [1, 2, 3, 4]},
        ],
    },
    "labelme.json": {
        **{"version": "5", "imagePath": "..\\a.png", "imageHeight": 20, "imageWidth": 30},
        "flags": {"cat": True},
        "shapes": [
            {"label": "cat", "shape_type": "point", "points": [[5, 6]]},
            {"label": "dog", "shape_type": "rectangle", "points": [[5, 6], [7, 8]]},
        ],
    },
    "a.geojson": {"type": "FeatureCollection", "features": [FEATURE]},
    "a.xml": CELL_COUNTER,
    "points.csv": "file,label,x,y\na.png,cat,5,6\nb.png,dog,7.5,8\n",
}
