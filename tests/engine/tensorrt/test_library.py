"""What is told where TensorRT or pycuda is missing. Nothing here stands in for them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from qatkit.engine.tensorrt.library import load_cuda, load_tensorrt
from qatkit.errors import EnvironmentProblem


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_the_error_says_how_to_get_it() -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"TensorRT is not installed here \(pip install 'qatkit\[tensorrt\]'"
    ):
        load_tensorrt()


@pytest.mark.skipif(importlib.util.find_spec("pycuda") is not None, reason="pycuda is installed here")
def test_without_pycuda_the_error_names_it() -> None:
    with pytest.raises(EnvironmentProblem, match="pycuda is not installed here"):
        load_cuda()


@pytest.mark.parametrize(
    "source, message",
    [
        (
            "raise ImportError('libnvinfer.so.10: cannot open shared object file\\nmore')",
            "TensorRT cannot be used here",
        ),
        ("raise OSError()", "TensorRT cannot be used here: OSError"),
        ("__version__ = '8.4.3.1'", r"TensorRT 8\.4\.3\.1 is too old \(8\.5 or newer\)"),
    ],
)
def test_a_broken_or_old_installation_is_one_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EnvironmentProblem, match=message) as error:
        load_tensorrt()
    sys.modules.pop("tensorrt", None)
    assert "\n" not in str(error.value)
