"""The figures of a comparison as SVG, each in two versions: for a light page and for a dark one."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatkit.report.rows import SMALL_LOSS, precision, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Entry = Mapping[str, Any]
Paint = Callable[["Axes", "Theme"], None]

_WIDTH = 5.4  # inches of 72 points: a phone shows half of that, legibly
_ROW = 0.19  # inches per line of text
_MARKERS = "osD^vP"
# Characters of a legend: what fits into one column, and into each of two.
_LEGEND = (40, 22)
_LEAST = 1e-6  # the smallest magnitude on a logarithmic axis


@dataclass(frozen=True)
class Theme:
    """Colours of a figure, as #rrggbb. series: several shades for each precision."""

    text: str
    grid: str
    series: Mapping[str, tuple[str, ...]]


LIGHT = Theme(
    "#1f2328",
    "#d8dce2",
    {
        "FP32": ("#6b7280", "#a3a9b3", "#3f444d"),
        "INT8 PTQ": ("#c2570c", "#eb9a45", "#7c3a0b"),
        "INT8 QAT": ("#0b69a8", "#58aede", "#083f66"),
    },
)
DARK = Theme(
    "#e6e8eb",
    "#3a4048",
    {
        "FP32": ("#9aa3af", "#6b7280", "#c9ced6"),
        "INT8 PTQ": ("#f08c3a", "#b9651c", "#f8bd8a"),
        "INT8 QAT": ("#4aa8e0", "#2377ad", "#9ad1f2"),
    },
)


@dataclass(frozen=True)
class Plot:
    """light, dark: SVG files. alt: what they show, in words. caption: how to read it."""

    light: bytes
    dark: bytes
    alt: str
    caption: str = ""


def precision_plot(rows: Sequence[Entry], classes: Sequence[str]) -> Plot:
    """Average precision of every model, over all classes and per class, as bars."""
    groups = ["all classes (mAP)", *classes]
    slot = len(rows) + 0.8  # in bars; the rest is the gap between groups

    def paint(axes: Axes, theme: Theme) -> None:
        for number, (row, color) in enumerate(zip(rows, _colors(rows, theme))):
            values = [row["map"], *(row["ap"][name] for name in classes)]
            places = [group * slot + number for group in range(len(groups))]
            axes.barh(places, [value or 0 for value in values], 0.86, color=color, label=title(row))
            for place, value in zip(places, values):
                text = "n/a" if value is None else f"{value:.1f}"
                axes.text((value or 0) + 1, place, text, va="center", fontsize=7.5)
        axes.set_yticks([group * slot + (len(rows) - 1) / 2 for group in range(len(groups))], groups)
        axes.set(xlim=(0, 109), xlabel="average precision, percent", ylim=(len(groups) * slot - 0.9, -0.9))
        axes.grid(visible=False, axis="y")
        _legend(axes)

    listed = "; ".join(f"{title(row)} {row['map']:.1f}" for row in rows)
    return _plot(paint, len(groups) * slot * 0.75 + _legend_lines(rows), f"Average precision as bars. mAP: {listed}.")


def sqnr_plot(entries: Sequence[Entry]) -> Plot:
    """SQNR of every tensor of every INT8 model, the network's first tensor at the top."""
    layers = list(dict.fromkeys(tensor["layer"] for entry in entries for tensor in entry["tensors"]))

    def paint(axes: Axes, theme: Theme) -> None:
        for entry, color, marker in zip(entries, _colors(entries, theme), _MARKERS * len(entries)):
            places = [layers.index(tensor["layer"]) for tensor in entry["tensors"]]
            values = [tensor["sqnr_db"] for tensor in entry["tensors"]]
            axes.plot(values, places, color=color, marker=marker, markersize=4, linewidth=1.2, label=title(entry))
            # An output has no rounding of its own: a gap.
            alone = [one["channel_sqnr_db"] for one in entry["tensors"]]
            alone = [float("nan") if value is None else value for value in alone]
            axes.plot(alone, places, color=color, marker=marker, markersize=4, linewidth=0, fillstyle="none")
        _layer_axis(axes, layers)
        axes.set_xlabel("SQNR, dB")
        _legend(axes)

    worst = "; ".join(f"{title(entry)}: {_worst(entry)}" for entry in entries)
    alt = f"Signal to quantization noise per layer. Lowest: {worst}."
    caption = (
        "Filled: with all errors of what comes before. "
        "Hollow: with the rounding of this tensor alone, in its median channel."
    )
    return _plot(paint, len(layers) + _legend_lines(entries), alt, caption)


def _worst(entry: Entry) -> str:
    tensor = min(entry["tensors"], key=lambda one: one["sqnr_db"])
    return f"{tensor['layer']} {tensor['sqnr_db']:.1f} dB"


def ranges_plots(entries: Sequence[Entry]) -> list[Plot]:
    """The range of every INT8 tensor beside the magnitudes in the float network, a figure for each model."""
    return [_ranges_plot(entries, number) for number in range(len(entries))]


def _ranges_plot(entries: Sequence[Entry], number: int) -> Plot:
    entry = entries[number]
    tensors = [tensor for tensor in entry["tensors"] if tensor["amax"] is not None]
    places = range(len(tensors))

    def paint(axes: Axes, theme: Theme) -> None:
        color = _colors(entries, theme)[number]
        common, peak, amax = ([max(one[key], _LEAST) for one in tensors] for key in ("percentile", "peak", "amax"))
        axes.hlines(places, common, peak, color=theme.grid, linewidth=2.5)
        axes.plot(common, places, "|", color=theme.text, markersize=8, label="99.99 % of the values")
        axes.plot(peak, places, "x", color=theme.text, markersize=5, label="largest value")
        axes.plot(amax, places, "o", color=color, markersize=4.5, label="range of the codes")
        _layer_axis(axes, [tensor["layer"] for tensor in tensors])
        axes.set(xscale="log", xlabel="magnitude")
        _decades(axes)
        _legend(axes)

    alt = f"Ranges of the INT8 tensors of {title(entry)}, also in the table below."
    return _plot(paint, len(tensors) + 2, alt, title(entry))


def _decades(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis: steps of 1, 2, 5 where there are few decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def sensitivity_plots(entries: Sequence[Entry]) -> list[Plot]:
    """What every layer costs that alone computes in INT8, in the order of the entry, a figure for each model."""
    return [_sensitivity_plot(entries, number) for number in range(len(entries))]


def _sensitivity_plot(entries: Sequence[Entry], number: int) -> Plot:
    entry = entries[number]
    costs = entry["layers"]

    def paint(axes: Axes, theme: Theme) -> None:
        color = _colors(entries, theme)[number]
        axes.barh(range(len(costs)), [cost["drop"] for cost in costs], 0.7, color=color)
        axes.axvline(0, color=theme.text, linewidth=0.8)
        _layer_axis(axes, [cost["layer"] for cost in costs])
        # What does not matter must not fill the figure.
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -SMALL_LOSS / 2), max(high, SMALL_LOSS))
        axes.set_xlabel("mAP lost by this layer in INT8 alone")

    most = costs[0]
    alt = f"mAP lost per layer, {title(entry)}. The most: {most['layer']}, {most['drop']:.1f}."
    return _plot(paint, len(costs), alt)


def _layer_axis(axes: Axes, layers: Sequence[str]) -> None:
    axes.set_yticks(range(len(layers)), layers)
    axes.set_ylim(len(layers) - 0.4, -0.6)


def _colors(entries: Sequence[Entry], theme: Theme) -> list[str]:
    """A colour for each: by precision, further ones of the same precision in other shades."""
    used: dict[str, int] = {}
    colors = []
    for entry in entries:
        shades = theme.series.get(precision(entry), (theme.text,))
        number = used[precision(entry)] = used.get(precision(entry), -1) + 1
        colors.append(shades[number % len(shades)])
    return colors


def _legend(axes: Axes) -> None:
    """Above the axes; names that are too long for the figure are cut."""
    handles, labels = axes.get_legend_handles_labels()
    most = _LEGEND[0]
    shown = [label if len(label) <= most else f"{label[: most - 1]}\N{HORIZONTAL ELLIPSIS}" for label in labels]
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "borderaxespad": 0.2}
    axes.legend(handles, shown, ncols=_legend_columns(labels), **place)


def _legend_columns(labels: Sequence[str]) -> int:
    return 2 if len(labels) > 1 and max(map(len, labels)) <= _LEGEND[1] else 1


def _legend_lines(entries: Sequence[Entry]) -> float:
    """Lines of text of a legend with the title of every entry."""
    return len(entries) / _legend_columns([title(entry) for entry in entries])


def _plot(paint: Paint, lines: float, alt: str, caption: str = "") -> Plot:
    height = max(lines * _ROW + 0.8, 1.6)
    return Plot(_svg(paint, height, LIGHT), _svg(paint, height, DARK), alt, caption)


def _svg(paint: Paint, height: float, theme: Theme) -> bytes:
    # Takes a second, and writes a font cache on its first import.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings = {
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.text),
        **dict.fromkeys(("axes.edgecolor", "grid.color"), theme.grid),
        **{"font.size": 9, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.6},
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        # Names of classes and layers are no formulas. The same figure is the same file.
        **{"text.parse_math": False, "svg.hashsalt": "qatkit", "svg.fonttype": "path"},
    }
    content = io.BytesIO()
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure((_WIDTH, height), layout="constrained")
        paint(figure.add_subplot(), theme)
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return content.getvalue()
