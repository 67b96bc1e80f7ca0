"""Mean, spread and difference of several comparisons, by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "summarize.py"


def report(path: Path, rows: dict[tuple[str, str], float]) -> Path:
    models = [{"name": name, "precision": precision, "map": value} for (name, precision), value in rows.items()]
    path.write_text(json.dumps({"models": models}))
    return path


def test_rows_of_all_reports(tmp_path: Path) -> None:
    first = {("pruned", "fp32"): 90.0, ("pruned", "int8-ptq"): 80.0, ("qat", "int8-qat"): 89.0, ("x", "fp32"): 1.0}
    second = {("pruned", "fp32"): 92.0, ("pruned", "int8-ptq"): 76.0, ("qat", "int8-qat"): 92.5}
    paths = [report(tmp_path / f"{number}.json", rows) for number, rows in enumerate((first, second))]
    result = subprocess.run([sys.executable, SCRIPT, *paths], check=True, capture_output=True, text=True)
    assert result.stdout.splitlines() == [
        "| model | mAP of 2 runs | mean | spread | minus FP32 |",
        "|---|---|---|---|---|",
        "| pruned fp32 | 90.00, 92.00 | 91.00 | 2.00 | +0.00 |",
        "| pruned int8-ptq | 80.00, 76.00 | 78.00 | 4.00 | -13.00 |",
        "| qat int8-qat | 89.00, 92.50 | 90.75 | 3.50 | -0.25 |",
    ]
