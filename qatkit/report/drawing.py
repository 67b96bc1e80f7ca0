"""Boxes on images, as inference and the pages of a comparison show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from qatkit.files import replacing

Box = tuple[float, float, float, float]
Color = tuple[int, int, int]

TEXT_SIZE = 10

# Pillow's names of the formats that pictures are written in, by ending.
_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
}


@dataclass(frozen=True)
class DrawnBox:
    """box: x1, y1, x2, y2 in pixels of the picture. color: RGB. text: its label, none where it is empty."""

    box: Box
    color: Color
    text: str = ""
    line_width: int = 1


def draw_boxes(picture: Image.Image, boxes: Iterable[DrawnBox], text_size: int = TEXT_SIZE) -> None:
    """Draw `boxes` on an RGB picture, one after the other; a label lies above its box where there is room.

    text_size: pixels.
    """
    draw = ImageDraw.Draw(picture)
    # Pillow's own font; Unicode, whatever the classes are called.
    draw.font = ImageFont.load_default(text_size)
    for item in boxes:
        draw.rectangle(item.box, outline=item.color, width=item.line_width)
        if item.text:
            _label(draw, item, picture.width, text_size + 2)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write an RGB picture in the format of the ending of `path`; for another ending as `<path>.png`.

    Only the pixels: EXIF data and colour profiles of the file that they come from may be of other pixels.
    Raises EnvironmentProblem where it cannot be written.
    """
    kind = _FORMATS.get(path.suffix.lower())
    picture.info.clear()
    with replacing(path if kind else path.with_name(f"{path.name}.png")) as temporary:
        picture.save(temporary, format=kind or "PNG")


def _label(draw: ImageDraw.ImageDraw, item: DrawnBox, width: int, height: int) -> None:
    room = width - 1 - draw.textbbox((0, 0), item.text)[2]
    corner = (max(min(item.box[0] + item.line_width, room), 0), max(item.box[1] - height, 0))
    draw.rectangle(draw.textbbox(corner, item.text), fill=item.color)
    draw.text(corner, item.text, fill=readable_on(item.color))


def readable_on(color: Color) -> Color:
    """Black on light colours, white on dark ones (ITU-R BT.601 luma)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 127 else (255, 255, 255)
