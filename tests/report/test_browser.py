"""The page in a real browser, cut off from every network: figures and pictures are drawn, dark or light."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from qatkit.report.page import render
from qatkit.report.pictures import Comparison, Gallery, Panel
from qatkit.report.plots import DARK, LIGHT, Theme
from tests.support.report_content import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Nothing answers there.
    *("--disable-quic", "--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),
)
DARK_THEME = "--blink-settings=preferredColorScheme=0"
PICTURE = (12, 200, 34)  # in no theme

Pixels = NDArray[np.int16]
Shot = Callable[[int, bool], Pixels]


def browse(*arguments: str | Path) -> bytes:
    """What the browser prints. It and all its processes end, also where it hangs."""
    assert BROWSER is not None
    process = subprocess.Popen(
        [BROWSER, *FLAGS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = io.BytesIO()
    Image.new("RGB", (480, 360), PICTURE).save(content, "JPEG", quality=95)
    panel = Panel("a", "3 found", content.getvalue(), (480, 360))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report(), [Gallery("a, FP32", (Comparison("a.jpg", (panel, panel)),))]), encoding="utf-8")
    return path


@pytest.fixture
def shot(page: Path, tmp_path: Path) -> Shot:
    """Window width and whether the theme is dark -> [height, width, RGB] of the page."""

    def take(width: int, dark: bool) -> Pixels:
        target = tmp_path / "page.png"
        theme = [DARK_THEME] if dark else []
        size = f"--window-size={width},5000"
        browse(f"--user-data-dir={tmp_path / 'profile'}", *theme, size, f"--screenshot={target}", page.as_uri())
        return np.asarray(Image.open(target).convert("RGB"), np.int16)

    return take


def near(pixels: Pixels, color: str | tuple[int, int, int]) -> NDArray[np.bool_]:
    """[height, width]: where `pixels` have that colour, up to what JPEG does to it. color: #rrggbb, or RGB."""
    rgb = tuple(bytes.fromhex(color[1:])) if isinstance(color, str) else color
    return (np.abs(pixels - np.array(rgb)) <= 6).all(axis=-1)


def test_the_document_is_what_was_written(page: Path, tmp_path: Path) -> None:
    text = browse(f"--user-data-dir={tmp_path}", "--dump-dom", page.as_uri()).decode()
    assert "http:" not in text and "https:" not in text
    written = page.read_text(encoding="utf-8")
    assert [text.count(part) for part in ("<img", "<picture", "<table")] == [
        written.count(part) for part in ("<img", "<picture", "<table")
    ]


@pytest.mark.parametrize("theme, width", [(LIGHT, 1400), (DARK, 390)], ids=["light desktop", "dark phone"])
def test_figures_and_pictures_are_drawn(shot: Shot, theme: Theme, width: int) -> None:
    pixels = shot(width, theme is DARK)
    assert pixels.shape[1] == width
    assert (pixels[0, 0].mean() < 128) == (theme is DARK)
    # A bar of each precision is wider than a tenth of a phone; the picture is there twice, above each other or not.
    for precision, colors in theme.series.items():
        assert near(pixels, colors[0]).sum(axis=1).max() > 39, precision
    pictures = near(pixels, PICTURE)
    assert pictures.sum() > 2 * 200 * 150
    # Nothing is wider than the window: the page's colour is on its right edge all the way down.
    assert near(pixels[:, -4:], tuple(pixels[0, 0].tolist())).all()
