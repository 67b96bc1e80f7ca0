"""Draw a small data set of people-like figures in KITTI layout: something to try every command on in minutes.

    python examples/make_synthetic.py OUT --train 160 --val 60 --width 320 --height 192 --seed 0

writes OUT/{train,val}/{images,labels}. Every image is a function of the seed, the split and its number.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
Color = tuple[int, int, int]

_SHARPER = 2  # figures are drawn at twice the size, then reduced: smooth edges
_LINE = "person 0.00 0 0.00 {:.2f} {:.2f} {:.2f} {:.2f} 0.00 0.00 0.00 0.00 0.00 0.00 0.00\n"
_MAX_OVERLAP = 0.4  # of the smaller of two figures
_SKINS = ((245, 214, 186), (224, 172, 130), (176, 120, 84), (112, 72, 48))


def main() -> None:
    """Read the command line, write both splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--train", type=int, default=160, help="number of training images")
    parser.add_argument("--val", type=int, default=60, help="number of validation images")
    parser.add_argument("--width", type=int, default=320, help="pixels")
    parser.add_argument("--height", type=int, default=192, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=["jpg", "png"], default="jpg")
    options = parser.parse_args()
    for number, (split, count) in enumerate([("train", options.train), ("val", options.val)]):
        generators = (np.random.default_rng([options.seed, number, index]) for index in range(count))
        write_split(options.out / split, generators, (options.width, options.height), options.format)
        print(f"{options.out / split}: {count} images")


def write_split(folder: Path, generators, size: tuple[int, int], extension: str) -> None:
    """One image with its label file for each generator."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, rng in enumerate(generators):
        image, boxes = draw_scene(rng, *size)
        image.save(folder / "images" / f"{index:06d}.{extension}", quality=92)
        (folder / "labels" / f"{index:06d}.txt").write_text("".join(_LINE.format(*box) for box in boxes))


def draw_scene(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, list[Box]]:
    """A cluttered background with up to five figures, the nearer ones (lower feet) in front."""
    image = background(rng, width * _SHARPER, height * _SHARPER)
    boxes = sorted(place_figures(rng, width, height), key=lambda box: box[3])
    draw = ImageDraw.Draw(image)
    for box in boxes:
        draw_figure(draw, rng, tuple(_SHARPER * value for value in box))
    return add_noise(rng, image.resize((width, height), Image.Resampling.BOX)), boxes


def background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A colour gradient with blotches, rectangles, ellipses and poles: none of them looks like a figure."""
    corners = (rng.uniform(40, 215) + rng.uniform(-35, 35, (2, 2, 3))).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)
    blotches = Image.fromarray(rng.integers(0, 255, (6, 10, 3), dtype=np.uint8))
    image = Image.blend(image, blotches.resize((width, height), Image.Resampling.BICUBIC), rng.uniform(0.1, 0.4))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(8, 20)):
        x, y = rng.uniform(-0.1, 1, 2) * (width, height)
        w, h = rng.uniform(0.03, 0.3, 2) * (width, height)
        rng.choice([draw.rectangle, draw.ellipse])((x, y, x + w, y + h), fill=dull_color(rng))
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(0, 1, 2) * (width, height)
        pole = (x, y - rng.uniform(0.2, 0.9) * height, x + rng.uniform(0.01, 0.04) * width, y)
        draw.rectangle(pole, fill=dull_color(rng))
    return image


def place_figures(rng: np.random.Generator, width: int, height: int) -> list[Box]:
    """Boxes of 0 to 5 figures, 30 to 130 pixels high (less in a low image), with little overlap."""
    boxes: list[Box] = []
    for _ in range(rng.integers(0, 6)):
        tall = rng.uniform(min(30, 0.3 * height), min(130, 0.9 * height))
        wide = tall * rng.uniform(0.36, 0.46)
        x, y = rng.uniform(0, width - wide), rng.uniform(0, height - tall)
        box = (x, y, x + wide, y + tall)
        if all(overlap(box, other) < _MAX_OVERLAP for other in boxes):
            boxes.append(box)
    return boxes


def overlap(a: Box, b: Box) -> float:
    """Common area of two boxes as a fraction of the smaller one."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(wide, 0.0) * max(tall, 0.0) / smaller


def draw_figure(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box) -> None:
    """Head, torso, two arms and two legs that fill `box`."""
    x1, y1, x2, y2 = box

    def at(x: float, y: float) -> tuple[float, float]:
        return x1 + x * (x2 - x1), y1 + y * (y2 - y1)

    def limb(*points: tuple[float, float], thick: float, fill: Color) -> None:
        draw.line([at(*point) for point in points], fill=fill, width=max(round(thick * (x2 - x1)), 1), joint="curve")

    skin, shirt, trousers = tuple(_SKINS[rng.integers(len(_SKINS))]), random_color(rng), random_color(rng)
    stride = rng.uniform(0.08, 0.34)
    for side in (-1, 1):
        limb((0.5 + side * 0.1, 0.55), (0.5 + side * stride, 0.99), thick=0.24, fill=trousers)
        reach = rng.uniform(0.36, 0.43)
        limb((0.5 + side * 0.2, 0.24), (0.5 + side * reach, 0.42), (0.5 + side * 0.41, 0.56), thick=0.16, fill=shirt)
    draw.rounded_rectangle((*at(0.2, 0.19), *at(0.8, 0.6)), radius=0.15 * (x2 - x1), fill=shirt)
    draw.ellipse((*at(0.29, 0.0), *at(0.71, 0.19)), fill=skin)
    draw.chord((*at(0.29, 0.0), *at(0.71, 0.19)), 180, 360, fill=random_color(rng, 80))


def add_noise(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Grain, as a camera has."""
    pixels = np.asarray(image, np.float32)
    noisy = pixels + rng.normal(0, rng.uniform(1, 7), pixels.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def random_color(rng: np.random.Generator, brightest: int = 255) -> Color:
    """Any colour up to `brightest`."""
    red, green, blue = rng.integers(0, brightest, 3).tolist()
    return red, green, blue


def dull_color(rng: np.random.Generator) -> Color:
    """A grey with a tint, as barriers and streets have; one in five is as bright as clothes are."""
    if rng.random() < 0.2:
        return random_color(rng)
    red, green, blue = (rng.uniform(30, 225) + rng.uniform(-25, 25, 3)).clip(0, 255).astype(int).tolist()
    return red, green, blue


if __name__ == "__main__":
    main()
