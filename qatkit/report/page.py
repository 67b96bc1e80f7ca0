"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from qatkit.report import plots, sections
from qatkit.report.markup import Markup, element
from qatkit.report.pictures import Gallery

# The page may load nothing, whatever the names in it hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(report: Mapping[str, Any], galleries: Sequence[Gallery]) -> str:
    """The page of `report`, the content of result.json; galleries: images on which its models differ."""
    body = element("body", element("main", *_parts(report, galleries)))
    return f"<!DOCTYPE html>\n{element('html', _head(), body, lang='en')}\n"


def _head() -> Markup:
    style = files("qatkit.report").joinpath("style.css").read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "qatkit compare"),
        element("style", Markup(style)),
    )


def _parts(report: Mapping[str, Any], galleries: Sequence[Gallery]) -> Iterator[Markup]:
    rows = report["models"]
    classes = list(rows[0]["ap"])
    yield sections.opening(report, classes)
    yield sections.models_table(rows, classes)
    yield sections.figures([plots.precision_plot(rows, classes)])
    if report["layers"]:
        yield sections.layers(report["layers"])
    yield sections.sensitivity(report.get("sensitivity", []))
    yield sections.pictures(galleries)
    yield sections.environment(report["environment"])
