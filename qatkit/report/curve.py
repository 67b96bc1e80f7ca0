"""The curve of a training as a PNG: cost and its parts, learning rate, average precision, over the epochs.

Drawn from status.json, so that a training that was interrupted has all of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from qatkit.errors import EnvironmentProblem
from qatkit.files import replacing
from qatkit.report.drawing import Color

NAME = "training_curve.png"

_WIDTH, _HEIGHT = 800, 250  # pixels of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 168, 34, 30  # margins; the names of the lines are at the right
_SCALE = 3  # lines are drawn so much larger, and made smaller: without steps
_TEXT, _GREY, _GRID = (31, 35, 40), (101, 109, 118), (226, 229, 233)
_LINES: tuple[Color, ...] = (
    (11, 105, 168),
    (194, 87, 12),
    (26, 127, 55),
    (130, 80, 223),
    (191, 57, 137),
    (107, 114, 128),
    (154, 103, 0),
)
_MOST_LINES = len(_LINES)
_TICKS = 5

Points = dict[int, float]


@dataclass
class Curve:
    """What status.json tells of a training: values by epoch, under the name of their line."""

    costs: dict[str, Points] = field(default_factory=dict)
    rates: Points = field(default_factory=dict)
    precisions: dict[str, Points] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last epoch."""
        return max(self.rates, default=0)


def read_curve(lines: Iterable[str]) -> Curve:
    """The curve in the lines of a status.json; what is no line of a training is passed over.

    An epoch that comes again, because a run was interrupted after it or began anew, replaces what follows it too.
    """
    epochs: dict[int, dict[str, Any]] = {}
    for line in lines:
        try:
            event = json.loads(line)
            epoch = int(event["epoch"])
        except (ValueError, KeyError, TypeError):
            continue
        if "graphical" in event:
            epochs = {number: one for number, one in epochs.items() if number < epoch}
        epochs.setdefault(epoch, {}).update(event)
    curve = Curve()
    for epoch, event in sorted(epochs.items()):
        _add(curve, epoch, event)
    return curve


def _add(curve: Curve, epoch: int, event: Mapping[str, Any]) -> None:
    graphical, kpi = event.get("graphical", {}), event.get("kpi", {})
    parts = event.get("loss_parts", {})
    costs = {
        "training cost": graphical.get("loss"),
        "coverage": parts.get("cov"),
        "boxes": parts.get("bbox"),
        "validation cost": kpi.get("validation cost"),
    }
    precisions = {"mAP": kpi.get("mean average precision")}
    precisions |= event.get("categorical", {}).get("average_precision", {})
    for lines, values in ((curve.costs, costs), (curve.precisions, precisions)):
        for name, value in values.items():
            if value is not None:
                lines.setdefault(name, {})[epoch] = float(value)
    if "learning_rate" in graphical:
        curve.rates[epoch] = float(graphical["learning_rate"])


def write_curve(results: Path) -> None:
    """Draw the curve of the training in a results folder, as `training_curve.png` there.

    Raises EnvironmentProblem where it cannot be written, or status.json not be read.
    """
    path = results / "status.json"
    try:
        with path.open() as file:
            picture = draw_curve(read_curve(file))
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot read: {error.strerror}") from error
    with replacing(results / NAME) as temporary:
        picture.save(temporary, format="PNG")


def draw_curve(curve: Curve) -> Image.Image:
    """Three panels, one below the other."""
    names = [name for name in curve.precisions if name != "mAP"]
    # With one class its AP is the mAP; of many the first ones are shown.
    classes = names[: _MOST_LINES - 1] if len(names) > 1 else []
    precisions = {name: curve.precisions[name] for name in ("mAP", *classes) if name in curve.precisions}
    rest = f", {len(classes)} of {len(names)} classes" if len(classes) < len(names) and classes else ""
    rates = {"learning rate": curve.rates} if curve.rates else {}
    panels = (
        _Panel("cost, and its parts without their weights (logarithmic)", curve.costs, curve.last, logarithmic=True),
        _Panel("learning rate (logarithmic)", rates, curve.last, logarithmic=True),
        _Panel(f"average precision on the validation data, percent{rest}", precisions, curve.last, span=(0, 100)),
    )
    picture = Image.new("RGB", (_WIDTH, _HEIGHT * len(panels)), "white")
    for number, panel in enumerate(panels):
        picture.paste(panel.draw(), (0, number * _HEIGHT))
    return picture


@dataclass(frozen=True)
class _Panel:
    """Lines over epochs 1..last. span: of the vertical axis; None = what the values need."""

    title: str
    lines: Mapping[str, Points]
    last: int
    logarithmic: bool = False
    span: tuple[float, float] | None = None

    def draw(self) -> Image.Image:
        low, high = self.span or self._extent()
        large = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), "white")
        pen, ticks = ImageDraw.Draw(large), self._ticks(low, high)
        for tick in ticks:
            pen.line(
                [
                    _large(self._place(1, tick, low, high, at=_LEFT)),
                    _large(self._place(1, tick, low, high, at=_WIDTH - _RIGHT)),
                ],
                _GRID,
                _SCALE,
            )
        for points, color in zip(self.lines.values(), _LINES):
            self._draw_line(pen, points, color, low, high)
        picture = large.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
        self._write(ImageDraw.Draw(picture), ticks, low, high)
        return picture

    def _draw_line(self, pen: ImageDraw.ImageDraw, points: Points, color: Color, low: float, high: float) -> None:
        places = [
            _large(self._place(epoch, value, low, high)) for epoch, value in points.items() if self._shown(value)
        ]
        if len(places) > 1:
            pen.line(places, color, 2 * _SCALE, joint="curve")
        radius = (3 if len(places) < 30 else 1) * _SCALE
        for x, y in places:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), color)

    def _write(self, pen: ImageDraw.ImageDraw, ticks: Sequence[float], low: float, high: float) -> None:
        pen.font = ImageFont.load_default(13)
        pen.text((_LEFT, 8), self.title, _TEXT)
        pen.font = ImageFont.load_default(12)
        for tick in ticks:
            pen.text((_LEFT - 8, self._place(1, tick, low, high)[1]), f"{tick:.3g}", _GREY, anchor="rm")
        for epoch in _epochs(self.last):
            pen.text((self._place(epoch, low, low, high)[0], _HEIGHT - _BOTTOM + 6), str(epoch), _GREY, anchor="ma")
        pen.text((_WIDTH - _RIGHT + 14, _HEIGHT - _BOTTOM + 6), "epoch", _GREY)
        for row, ((name, points), color) in enumerate(zip(self.lines.items(), _LINES)):
            last = f" {points[max(points)]:.3g}" if points else ""
            pen.text((_WIDTH - _RIGHT + 14, _TOP + 18 * row), f"{_cut(name)}{last}", color)

    def _place(
        self, epoch: int, value: float, low: float, high: float, at: float | None = None
    ) -> tuple[float, float]:
        """Pixels of a point; at: another place than that of the epoch."""
        room = _WIDTH - _LEFT - _RIGHT
        x = _LEFT + room * ((epoch - 1) / (self.last - 1) if self.last > 1 else 0.5)
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low)
        return x if at is None else at, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    def _shown(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.logarithmic)

    def _extent(self) -> tuple[float, float]:
        values = [value for points in self.lines.values() for value in points.values() if self._shown(value)]
        if not values:
            return (0.1, 1.0)
        low, high = min(values), max(values)
        return (low / 1.2, high * 1.2) if self.logarithmic else (low - 0.1, high + 0.1)

    def _ticks(self, low: float, high: float) -> list[float]:
        """Round numbers: 1, 2, 5 of each decade where there are few, powers of ten otherwise."""
        if not self.logarithmic:
            return [low + (high - low) * step / _TICKS for step in range(_TICKS + 1)]
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [tick for tick in found if low <= tick <= high]
            if len(found) <= _TICKS + 2:
                break
        return found[:: max(len(found) // _TICKS, 1)]


def _large(place: tuple[float, float]) -> tuple[float, float]:
    return place[0] * _SCALE, place[1] * _SCALE


def _epochs(last: int) -> list[int]:
    """The epochs that are named below an axis: the first, the last, and round ones between."""
    if last <= 1:
        return [1]
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**6) if last / size <= 10)
    between = [epoch for epoch in range(step, last, step) if epoch > 1 and last - epoch >= 0.6 * step]
    return [1, *(epoch for epoch in between if epoch - 1 >= 0.6 * step), last]


def _cut(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}\N{HORIZONTAL ELLIPSIS}"
