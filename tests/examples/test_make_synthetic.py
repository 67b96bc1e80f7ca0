import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qatkit.dataset.kitti import read_labels

SCRIPT = Path(__file__).parents[2] / "examples" / "make_synthetic.py"


def _make(out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(out), *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return out


def test_writes_a_kitti_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = _make(tmp_path, monkeypatch, "--train", "12", "--val", "3", "--width", "160", "--height", "96")
    for split, count in (("train", 12), ("val", 3)):
        images = sorted((out / split / "images").iterdir())
        assert [path.name for path in images] == [f"{number:06d}.jpg" for number in range(count)]
        for path in images:
            with Image.open(path) as image:
                assert image.size == (160, 96)
            for item in read_labels(out / split / "labels" / f"{path.stem}.txt"):
                x1, y1, x2, y2 = item.box
                assert item.class_name == "person" and item.is_drawable
                assert x1 >= 0 and y1 >= 0 and x2 <= 160 and y2 <= 96


def test_the_seed_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--train", "2", "--val", "1", "--width", "96", "--height", "64", "--format", "png")
    a, again, b = (
        _make(tmp_path / name, monkeypatch, *options, "--seed", seed)
        for name, seed in [("a", "1"), ("c", "1"), ("b", "2")]
    )
    name = "train/images/000000.png"
    pixels = [np.asarray(Image.open(folder / name)) for folder in (a, again, b)]
    assert (pixels[0] == pixels[1]).all() and (pixels[0] != pixels[2]).any()
    assert (pixels[0] != np.asarray(Image.open(a / "val/images/000000.png"))).any()  # splits differ
