"""HTML as a value."""

from __future__ import annotations

import base64

import pytest

from qatkit.report.markup import Markup, data_uri, element, join


@pytest.mark.parametrize(
    "found, expected",
    [
        (element("p"), "<p></p>"),
        (element("p", "a<b & 'c'", None, 1.5), "<p>a&lt;b &amp; &#x27;c&#x27;1.5</p>"),
        (element("p", element("b", "x")), "<p><b>x</b></p>"),
        (element("br"), "<br>"),
        (element("img", alt='"><script>', src="x"), '<img alt="&quot;&gt;&lt;script&gt;" src="x">'),
        (element("td", class_="a", aria_label="b", hidden=True, id=None, open=False), None),
        (element("meta", name="viewport"), '<meta name="viewport">'),
        (join(["<", Markup("<b>")]), "&lt;<b>"),  # type: ignore[list-item]
    ],
)
def test_element(found: Markup, expected: str | None) -> None:
    assert found == (expected or '<td class="a" aria-label="b" hidden></td>')
    assert isinstance(found, Markup)


def test_text_that_is_cut_out_of_markup_is_no_markup() -> None:
    assert not isinstance(element("b", "x")[0:2], Markup)


def test_data_uri() -> None:
    head, _, content = data_uri(b"\x00\xff<", "image/jpeg").partition(",")
    assert head == "data:image/jpeg;base64" and base64.b64decode(content) == b"\x00\xff<"
