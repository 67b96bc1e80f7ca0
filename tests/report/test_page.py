"""The page: well-formed, needs nothing else, holds every number, lets no name become markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qatkit.report.page import render
from qatkit.report.pictures import Comparison, Gallery, Panel
from tests.support.html_page import Page
from tests.support.report_content import EVIL, report, row

PANEL = Panel(EVIL, "3 found", b"jpeg", (480, 360))
GALLERY = Gallery(f"{EVIL}, FP32", (Comparison(f"{EVIL}.jpg", (PANEL, PANEL)),))


@pytest.fixture(scope="module")
def html() -> str:
    return render(report(), [GALLERY, Gallery("empty, FP32", ())])


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, (int, float)):
        yield value


def test_it_needs_nothing_else(html: str, page: Page) -> None:
    assert html.startswith("<!DOCTYPE html>")
    addresses = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "srcset", "href", "action", "data")
    ]
    assert addresses and all(value is not None and value.startswith("data:image/") for value in addresses)
    assert not re.search(r"https?:|@import|url\(", html)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "base"})


def test_no_name_becomes_markup(page: Page) -> None:
    assert not [attributes for tag, attributes in page.elements if tag == "b" or "onload" in attributes]
    for text in (f"{EVIL}, INT8 PTQ", f"{EVIL}.jpg, compared with {EVIL}, FP32", f"classes: car, {EVIL}"):
        assert text in page.text


def test_every_number_of_the_result_is_there(page: Page) -> None:
    content = report()
    exact = {float(str(attributes["value"])) for attributes in page.all("data")}
    assert set(numbers(content["models"])) <= exact
    # The part of the error that clipping makes is summed up in the reason; counts of images are in the text.
    shown = [
        {key: value for key, value in tensor.items() if key not in ("clipping", "saturation")}
        for entry in content["layers"]
        for tensor in entry["tensors"]
    ]
    assert set(numbers(shown)) <= exact
    assert 100 * 0.00125 in exact
    for entry in content["sensitivity"]:
        assert set(numbers([entry["layers"], entry["fp32_map"], entry["int8_map"]])) <= exact
    for text in ("80.03", "60.16", "79.72", "25.0", "7 validation images with 21 objects"):
        assert text in page.text


def test_what_was_lost_is_said(page: Page) -> None:
    assert (
        f"{EVIL}, INT8 PTQ: mAP 60.16, 19.88 below {EVIL}, FP32 (80.03), 2.5 times its speed, 0.25 of its size. "
        "Look first at a: range too small: clips."
    ) in page.text
    assert "0.31 below" in page.text and "\N{MINUS SIGN}19.88" in page.text
    assert "With these in float 79.62:" in page.text and "qatkit export ... \\\n  --skip_layers conv1" in page.text
    assert "No layer is worth leaving in float." in page.text


def test_tables_and_figures_can_be_read_without_seeing_them(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) == 5
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    images = page.all("img")
    assert len(images) == 1 + 1 + 2 + 2 + len(GALLERY.comparisons[0].panels)
    assert all(attributes.get("alt") for attributes in images)


def test_rows_have_the_columns_of_their_table(html: str) -> None:
    for table in re.findall("<table>.*?</table>", html, re.DOTALL):
        cells = [len(re.findall("<t[hd]", row)) for row in re.findall("<tr>.*?</tr>", table, re.DOTALL)]
        assert len(set(cells)) == 1 and len(cells) > 1


def test_a_float_model_alone() -> None:
    content = report() | {"models": [row("a", "fp32", 50.0)], "layers": [], "sensitivity": []}
    text = Page(render(content, [])).text
    assert "No INT8 model finds other objects" in text and "Where INT8 loses" not in text


def test_a_qat_model_alone_and_no_sensitivity() -> None:
    content = report()
    content["models"], content["layers"] = content["models"][2:], content["layers"][1:]
    del content["sensitivity"]
    text = Page(render(content, [])).text
    assert "qat, INT8 QAT: mAP 79.72." in text and "Not measured: --sensitivity does" in text
