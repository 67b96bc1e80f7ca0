"""Situations of pictures: damaged, changed, turned, large (see `situations`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.commands import replaced, succeed
from tests.support.frames import LINE
from tests.support.situations import (
    CAR,
    KITTI,
    SIZE,
    converted,
    halve,
    kitti,
    large,
    picture,
    rotated,
    situation,
    write,
)

# ---- Pictures


@situation("half a JPEG", "half a JPEG, left out", "half a JPEG, heads only", "half a JPEG, checked")
def _half() -> None:
    kitti()
    halve("images/b.jpg")


@situation("an error page called .jpg", "an error page called .jpg, checked")
def _html() -> None:
    kitti()
    write("images/b.jpg", "<html>404 Not Found</html>")


@situation("an empty file called .jpg")
def _empty() -> None:
    kitti()
    write("images/b.jpg", "")


@situation("a link that leads nowhere")
def _link() -> None:
    kitti()
    Path("images/b.jpg").unlink()
    Path("images/b.jpg").symlink_to("nowhere.jpg")


@situation("a pipe called .jpg")
def _pipe() -> None:
    kitti()
    Path("images/b.jpg").unlink()
    os.mkfifo("images/b.jpg")


@situation("converted twice, in other shards")
def _twice() -> None:
    converted()
    write("kitti.txt", replaced(KITTI, ("num_shards: 1", "num_shards: 3")))
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "records/")


@situation("a picture was deleted after conversion")
def _deleted() -> None:
    converted()
    Path("images/b.jpg").unlink()


@situation("a picture was saved as .jpeg after conversion")
def _renamed() -> None:
    converted()
    Path("images/b.jpg").rename("images/b.jpeg")


@situation("a picture was resized after conversion")
def _resized() -> None:
    converted()
    for name in "abcd":
        picture(f"images/{name}.jpg", (32, 24))


@situation("a picture was cut off after conversion")
def _cut_off() -> None:
    converted()
    halve("images/b.jpg")


@situation("rotations in EXIF", "rotations in EXIF, applied", "rotations in EXIF, checked")
def _exif() -> None:
    kitti()
    rotated("images/b.jpg", 6)
    rotated("images/c.jpg", 3)
    write("labels/b.txt", f"{LINE.format('Car', 4, 4, 40, 60)}\n{CAR}\n")


@situation("96 megapixels")
def _96_megapixels() -> None:
    kitti(("a.png", "b.png"), ('"jpg"', '"png"'))
    large("images/a.png", 12000, 8000)


@situation("192 megapixels", "192 megapixels, allowed", "192 megapixels, checked")
def _192_megapixels() -> None:
    kitti(("a.png", "b.png"), ('"jpg"', '"png"'))
    large("images/a.png", 16000, 12000)


@situation("floating-point pixels")
def _floats() -> None:
    kitti(("a.tif", "b.tif"), ('"jpg"', '"tif"'))
    Image.fromarray(np.zeros(SIZE[::-1], np.float32)).save("images/a.tif")
