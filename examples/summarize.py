"""Mean and spread of several comparisons: python examples/summarize.py A/report/result.json B/report/result.json ...

One row for each model and precision that every report has; spread is the largest minus the smallest mAP. Differences
are taken within each report, against the FP32 row of the model that --reference names, then averaged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

Row = tuple[str, str]  # model, precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--reference", default="pruned", help="model whose FP32 mAP the others are compared with")
    args = parser.parse_args()
    reports = [read(path) for path in args.reports]
    rows = [row for row in reports[0] if all(row in report for report in reports)]
    print(f"| model | mAP of {len(reports)} runs | mean | spread | minus FP32 |\n|---|---|---|---|---|")
    for row in rows:
        values = [report[row] for report in reports]
        drops = [report[row] - report[args.reference, "fp32"] for report in reports]
        listed = ", ".join(f"{value:.2f}" for value in values)
        spread = max(values) - min(values)
        print(f"| {row[0]} {row[1]} | {listed} | {mean(values):.2f} | {spread:.2f} | {mean(drops):+.2f} |")


def read(path: Path) -> dict[Row, float]:
    """Model and precision -> mAP in percent, of a `result.json`."""
    return {(row["name"], row["precision"]): row["map"] for row in json.loads(path.read_text())["models"]}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
