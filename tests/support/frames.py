"""Small data sets for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qatkit.dataset.frames import FrameTable
from qatkit.spec import AugmentationConfig

LINE = "{} 0.00 0 0.00 {} {} {} {} 0 0 0 0 0 0 0"


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [height, width, channels], every pixel another one."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def write_image(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write [h, w, 1 or 3]; the extension decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def kitti_folder(root: Path, frames: dict[str, Sequence[str]], size: tuple[int, int] = (32, 24)) -> Path:
    """Images and labels (their lines) of `frames` in root/images and root/labels."""
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for seed, (name, lines) in enumerate(frames.items()):
        write_image(root / "images" / f"{name}.png", noise(*size, seed=seed))
        (root / "labels" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def frame_table(
    paths: Sequence[Path],
    size: tuple[int, int],
    objects: Sequence[Sequence[tuple[int, tuple[float, ...]]]],
    sources: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
) -> FrameTable:
    """A table of images of one size; per frame its objects as (class id, box)."""
    classes = ("person", "dog")
    flat = [item for items in objects for item in items]
    return FrameTable(
        classes=classes,
        image_paths=tuple(str(path) for path in paths),
        sizes=np.tile(np.array([size], np.int32), (len(paths), 1)),
        boxes=np.array([box for _, box in flat], np.float32).reshape(-1, 4),
        class_ids=np.array([class_id for class_id, _ in flat], np.int32),
        row_splits=np.cumsum([0, *(len(items) for items in objects)]),
        weights=np.array(weights or [1.0] * len(paths), np.float32),
        sources=np.array(sources or [0] * len(paths), np.int32),
        upright=np.zeros(len(paths), np.bool_),
    )


def augmentation_config(width: int, height: int, channels: int = 3, **preprocessing: object) -> AugmentationConfig:
    """A spec without augmentation, with the effective defaults of a loaded one."""
    config = AugmentationConfig()
    config.preprocessing.output_image_width = width
    config.preprocessing.output_image_height = height
    config.preprocessing.output_image_channel = channels
    for name, value in preprocessing.items():
        setattr(config.preprocessing, name, value)
    config.spatial_augmentation.zoom_min = config.spatial_augmentation.zoom_max = 1.0
    config.spatial_augmentation.rotate_probability = 1.0
    return config


OBJECTS = [[(0, (2.0, 4.0, 12.0, 20.0))], [], [(1, (0.0, 0.0, 8.0, 8.0)), (0, (20.0, 10.0, 30.0, 22.0))], [], []]


def five_frames(folder: Path) -> FrameTable:
    """Five images of 32 x 24 pixels with 1, 0, 2, 0, 0 objects, of two sources."""
    paths = [write_image(folder / f"{seed}.png", noise(32, 24, seed=seed)) for seed in range(5)]
    return frame_table(paths, (32, 24), OBJECTS, sources=[0, 0, 0, 0, 1], weights=[1, 1, 1, 1, 3])
