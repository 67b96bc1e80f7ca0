"""Boxes on images, as inference and the pages of a comparison show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Box = tuple[float, float, float, float]
Color = tuple[int, int, int]

TEXT_SIZE = 10


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


def _label(draw: ImageDraw.ImageDraw, item: DrawnBox, width: int, height: int) -> None:
    room = width - 1 - draw.textbbox((0, 0), item.text)[2]
    corner = (max(min(item.box[0] + item.line_width, room), 0), max(item.box[1] - height, 0))
    draw.rectangle(draw.textbbox(corner, item.text), fill=item.color)
    draw.text(corner, item.text, fill=readable_on(item.color))


def readable_on(color: Color) -> Color:
    """Black on light colours, white on dark ones (ITU-R BT.601 luma)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 127 else (255, 255, 255)
