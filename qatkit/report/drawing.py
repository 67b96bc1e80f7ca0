"""Boxes on images, as inference and the pages of a comparison show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]
Color = tuple[int, int, int]

_TEXT_HEIGHT = 12  # pixels of Pillow's own font, with what it stands on


@dataclass(frozen=True)
class DrawnBox:
    """box: x1, y1, x2, y2 in pixels of the picture. color: RGB. text: its label, none where it is empty."""

    box: Box
    color: Color
    text: str = ""
    line_width: int = 1


def draw_boxes(picture: Image.Image, boxes: Iterable[DrawnBox]) -> None:
    """Draw `boxes` on an RGB picture, one after the other; a label lies above its box where there is room."""
    draw = ImageDraw.Draw(picture)
    for item in boxes:
        draw.rectangle(item.box, outline=item.color, width=item.line_width)
        if item.text:
            _label(draw, item, picture.width)


def _label(draw: ImageDraw.ImageDraw, item: DrawnBox, width: int) -> None:
    room = width - 1 - draw.textbbox((0, 0), item.text)[2]
    corner = (max(min(item.box[0] + item.line_width, room), 0), max(item.box[1] - _TEXT_HEIGHT, 0))
    draw.rectangle(draw.textbbox(corner, item.text), fill=item.color)
    draw.text(corner, item.text, fill=readable_on(item.color))


def readable_on(color: Color) -> Color:
    """Black on light colours, white on dark ones (ITU-R BT.601 luma)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 127 else (255, 255, 255)
