"""The parts of the page, each from its part of result.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qatkit.analysis.tensor_error import INHERITED
from qatkit.report import plots
from qatkit.report.markup import Child, Markup, data_uri, element, join
from qatkit.report.pictures import Gallery, Panel
from qatkit.report.rows import FLOAT, SMALL_LOSS, precision, reference_of, title

Entry = Mapping[str, Any]

_NAMED = 4  # layers in a sentence


def number(value: float | None, digits: int, none: str = "n/a") -> Markup:
    """A rounded number whose exact value the page keeps."""
    return Markup(none) if value is None else element("data", _minus(f"{value:.{digits}f}"), value=repr(value))


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def table(columns: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str, text_columns: int = 1) -> Markup:
    """A table that scrolls sideways where it is too wide. The first cell of a row names it.

    text_columns: how many columns, from the left, are no numbers.
    """
    head = [
        element("th", name, scope="col", class_="text" if at < text_columns else None)
        for at, name in enumerate(columns)
    ]
    body = [
        element(
            "tr",
            element("th", first, scope="row"),
            *(element("td", cell, class_="text" if at < text_columns else None) for at, cell in enumerate(rest, 1)),
        )
        for first, *rest in rows
    ]
    content = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    # A region that scrolls must be reachable by keyboard.
    return element("div", content, class_="wide", tabindex=0, role="region", aria_label=caption)


def opening(report: Entry, classes: Sequence[str]) -> Markup:
    """What was compared, and what came out in a sentence for each INT8 model."""
    data = report["dataset"]
    lead = (
        f"{data['images']} validation images with {data['boxes']} objects; classes: {', '.join(classes)}. "
        "Every number is of an exported file, run by ONNX Runtime on the CPU."
    )
    found = [_finding(report, row) for row in report["models"] if row["precision"] != FLOAT]
    return join([element("h1", "FP32, PTQ and QAT compared"), element("p", lead), element("ul", *found)])


def _finding(report: Entry, row: Entry) -> Markup:
    reference = reference_of(report["models"], row)
    against: list[Child] = []
    if reference is not None:
        change = row["map"] - reference["map"]
        against = [
            ", ",
            _colored(f"{abs(change):.2f} {'above' if change > 0 else 'below'}", change),
            f" {title(reference)} (",
            number(reference["map"], 2),
            f"), {row['fps'] / reference['fps']:.1f} times its speed, "
            f"{row['size_bytes'] / reference['size_bytes']:.2f} of its size",
        ]
    why = _weakest(report, row)
    return element("li", element("strong", title(row)), ": mAP ", number(row["map"], 2), *against, ".", why)


def _colored(text: str, change: float) -> Markup:
    return element("span", text, class_="bad" if change < -SMALL_LOSS else "good")


def _weakest(report: Entry, row: Entry) -> str:
    """What a model that lost much suffers from: the tensors that their range serves badly, else the noisiest one."""
    reference = reference_of(report["models"], row)
    if reference is None or reference["map"] - row["map"] <= SMALL_LOSS:
        return ""
    key = (row["name"], row["precision"])
    tensors = [
        tensor
        for entry in report["layers"]
        if (entry["model"], entry["precision"]) == key
        for tensor in entry["tensors"]
        if tensor["own_sqnr_db"] is not None
    ]
    explained = [tensor for tensor in tensors if tensor["cause"] not in ("", INHERITED)]
    if not explained:
        noisiest = min(tensors, key=lambda tensor: tensor["sqnr_db"])
        return f" Lowest SQNR: {noisiest['layer']}, {noisiest['sqnr_db']:.1f} dB."
    cause = min(explained, key=lambda tensor: tensor["channel_sqnr_db"])["cause"]
    names = [tensor["layer"] for tensor in explained if tensor["cause"] == cause]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" Look first at {', '.join(names[:_NAMED])}{more}: {cause}."


def models_table(rows: Sequence[Entry], classes: Sequence[str]) -> Markup:
    """The rows of "models"."""
    columns = ["model", "precision", "mAP", "to FP32", *classes, "images/s", "MB", "M params", "G MACs"]
    cells = [
        [
            row["name"],
            precision(row),
            number(row["map"], 2),
            _difference(rows, row),
            *(number(row["ap"][name], 2) for name in classes),
            number(row["fps"], 1),
            element("data", f"{row['size_bytes'] / 1e6:.2f}", value=row["size_bytes"]),
            element("data", f"{row['params'] / 1e6:.2f}", value=row["params"]),
            element("data", f"{row['macs'] / 1e9:.2f}", value=row["macs"]),
        ]
        for row in rows
    ]
    return table(columns, cells, "Average precision in percent; speed at batch size 1, measured in turns", 2)


def _difference(rows: Sequence[Entry], row: Entry) -> Markup | str:
    reference = reference_of(rows, row)
    if reference is None or row["precision"] == FLOAT:
        return ""
    change = row["map"] - reference["map"]
    return _colored(_minus(f"{change:+.2f}"), change)


def figures(shown: Sequence[plots.Plot]) -> Markup:
    """Plots side by side where there is room, each in the version that fits the reader's theme."""
    return element("div", *(_figure(plot) for plot in shown), class_="plots")


def _figure(plot: plots.Plot) -> Markup:
    dark = element(
        "source",
        srcset=data_uri(plot.dark, "image/svg+xml"),
        media="(prefers-color-scheme: dark)",
        type="image/svg+xml",
    )
    light = element("img", src=data_uri(plot.light, "image/svg+xml"), alt=plot.alt)
    caption = element("figcaption", plot.caption) if plot.caption else None
    return element("figure", caption, element("picture", dark, light))


def layers(entries: Sequence[Entry]) -> Markup:
    """The error of every tensor."""
    images = entries[0]["images"]
    text = (
        f"Signal to quantization noise ratio (SQNR) of every INT8 tensor on {images} validation images: the power of "
        "the values in the float network over the power of the INT8 network's error. 6 dB less is twice the error. "
        "A QAT model is measured against the float network with its trained, already rounded kernels."
    )
    ranges = (
        "The range is the largest magnitude that a code stands for. Far above what 99.99 % of the values need, it "
        "wastes codes on outliers; far below the largest value, it clips."
    )
    return join(
        [
            element("h2", "Where INT8 loses precision"),
            element("p", text),
            figures([plots.sqnr_plot(entries)]),
            element("h3", "Ranges"),
            element("p", ranges),
            figures(plots.ranges_plots(entries)),
            *(_tensors(entry) for entry in entries),
        ]
    )


def _tensors(entry: Entry) -> Markup:
    columns = [
        *("layer", "reason", "SQNR dB", "alone dB", "channel dB"),
        *("clipped %", "range", "99.99 %", "largest", "ratio"),
    ]
    cells = [list(_tensor_cells(tensor)) for tensor in entry["tensors"]]
    caption = (
        "alone: with the rounding of this tensor and nothing before it; channel: the same of its median channel; "
        "ratio: range by the 99.99th percentile"
    )
    return element("details", element("summary", f"All tensors of {title(entry)}"), table(columns, cells, caption, 2))


def _tensor_cells(tensor: Entry) -> Iterator[Child]:
    amax, saturation = tensor["amax"], tensor["saturation"]
    yield tensor["layer"]
    yield tensor["cause"]
    yield number(tensor["sqnr_db"], 1)
    yield number(tensor["own_sqnr_db"], 1, "")
    yield number(tensor["channel_sqnr_db"], 1, "")
    yield number(None if saturation is None else 100 * saturation, 3, "")
    yield number(amax, 3, "float")
    yield number(tensor["percentile"], 3)
    yield number(tensor["peak"], 3)
    yield "" if amax is None or not tensor["percentile"] else f"{amax / tensor['percentile']:.2f}"


def sensitivity(entries: Sequence[Entry]) -> Markup:
    """What each layer costs, and which are worth leaving in float."""
    heading = element("h2", "What each layer costs")
    if not entries:
        hint = element(
            "p", "Not measured: ", element("code", "--sensitivity"), " does, it takes time.", class_="quiet"
        )
        return join([heading, hint])
    text = (
        f"mAP on {entries[0]['images']} validation images with one layer at a time in INT8, all others in float; and "
        "the SQNR of the coverage output, which tells layers apart where mAP does not. On so few images one box of a "
        "rare class may be worth some points of mAP."
    )
    shown = zip(entries, plots.sensitivity_plots(entries))
    return join([heading, element("p", text), element("div", *(_sensitivity(*one) for one in shown), class_="plots")])


def _sensitivity(entry: Entry, plot: plots.Plot) -> Markup:
    columns = ["layer", "mAP", "lost", "coverage SQNR dB"]
    cells = [
        [one["layer"], number(one["map"], 2), number(one["drop"], 2), number(one["cov_sqnr_db"], 1)]
        for one in entry["layers"]
    ]
    maps: list[Child] = ["FP32 ", number(entry["fp32_map"], 2), ", all layers in INT8 ", number(entry["int8_map"], 2)]
    return element(
        "section",
        element("h3", title(entry)),
        element("div", *maps, ". ", *_advice(entry)),
        _figure(plot),
        element("details", element("summary", "All layers"), table(columns, cells, "The costliest first")),
    )


def _advice(entry: Entry) -> Iterator[Child]:
    if not entry["skip"]:
        yield "No layer is worth leaving in float."
        return
    command = "qatkit train ..." if entry["precision"] == "int8-qat" else "qatkit export ..."
    lines = " \\\n".join([command, *(f"  --skip_layers {name}" for name in entry["skip"])])
    yield "With these in float "
    yield number(entry["skip_map"], 2)
    yield ":"
    yield element("pre", element("code", lines))


def pictures(galleries: Sequence[Gallery]) -> Markup:
    """The images on which models differ, side by side."""
    heading = element("h2", "Images that differ the most")
    shown = [gallery for gallery in galleries if gallery.comparisons]
    if not shown:
        return join([heading, element("p", "No INT8 model finds other objects than its FP32 model.", class_="quiet")])
    legend = element(
        "p",
        "Boxes at or above the confidence at which FP32 has its best F1: ",
        element("span", "the same", class_="key same"),
        " as FP32, ",
        element("span", "+ extra", class_="key extra"),
        ", ",
        element("span", "\N{MINUS SIGN} missed", class_="key missed"),
        ". Two boxes are the same from an IoU of 0.5. First the images with the most extra and missed ones.",
    )
    return join([heading, legend, *(part for gallery in shown for part in _gallery(gallery))])


def _gallery(gallery: Gallery) -> Iterator[Markup]:
    for comparison in gallery.comparisons:
        yield element("h3", f"{comparison.file}, compared with {gallery.reference}")
        yield element("div", *(_panel(panel) for panel in comparison.panels), class_="panels")


def _panel(panel: Panel) -> Markup:
    width, height = panel.size
    image = element(
        "img",
        src=data_uri(panel.jpeg, "image/jpeg"),
        alt=f"{panel.title}: {panel.note}",
        width=width,
        height=height,
        loading="lazy",
    )
    return element("figure", image, element("figcaption", element("strong", panel.title), element("br"), panel.note))


def environment(values: Mapping[str, Any]) -> Markup:
    """What it was measured with."""
    pairs = [part for key, value in values.items() for part in (element("dt", key), element("dd", str(value)))]
    more = element("p", "All numbers, with all digits: ", element("code", "result.json"), ".", class_="quiet")
    return join([element("h2", "Measured with"), element("dl", *pairs), more])
