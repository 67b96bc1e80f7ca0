"""`qatkit check`: everything that can be said of specs, and of the data that they name, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from qatkit.analysis.dataset import ConversionStatistics, SplitStatistics, conversion_statistics, split_statistics
from qatkit.choices import EXIF, Exif
from qatkit.console import listed
from qatkit.dataset.frames import Split, missing_error, sources_of
from qatkit.dataset.paths import resolve
from qatkit.dataset.record_files import NoRecordsError, record_files
from qatkit.dataset.source import Reading
from qatkit.errors import DataError, SpecError, UsageError
from qatkit.files import expand
from qatkit.spec import (
    DatasetExportConfig,
    Experiment,
    Inference,
    Review,
    contradictions,
    review_dataset_export,
    review_experiment,
    review_inference,
    to_json,
    to_text,
)

M = TypeVar("M", Experiment, DatasetExportConfig, Inference)

_MOST_SHOWN = 5  # frames that cannot be read


@dataclass
class SpecReport:
    """What there is to say of one spec file.

    text, values: the effective values as a spec file has them, and as JSON; empty for a file that cannot be read.
    errors, warnings: lines that begin with the name of the file.
    """

    path: Path
    text: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, problems: Iterable[str]) -> None:
        """Add errors of the file that do not name it."""
        self.errors += [f"{self.path}: {line}" for line in problems]


@dataclass
class DataReport:
    """What there is to say of the data; not_here: what the specs name and this machine does not have."""

    splits: dict[str, SplitStatistics] = field(default_factory=dict)
    conversion: ConversionStatistics | None = None
    not_here: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CheckReport:
    """The reports by kind of spec ("experiment", "dataset_export", "inference"), and that of the data."""

    specs: dict[str, SpecReport]
    data: DataReport

    @property
    def spec_errors(self) -> list[str]:
        """Of all specs."""
        return [line for report in self.specs.values() for line in report.errors]

    @property
    def errors(self) -> list[str]:
        """Of specs and data."""
        return [*self.spec_errors, *self.data.errors]

    @property
    def warnings(self) -> list[str]:
        """Of specs and data."""
        return [*(line for report in self.specs.values() for line in report.warnings), *self.data.warnings]

    def raise_for_errors(self) -> None:
        """Raise SpecError, or DataError where the specs are good, if there is any error."""
        if self.errors:
            kind = SpecError if self.spec_errors else DataError
            raise kind(f"not valid: {self.counts()}")

    def counts(self) -> str:
        """How many errors and warnings there are."""
        errors, warnings = len(self.errors), len(self.warnings)
        return f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "valid": not self.errors,
            "errors": self.errors,
            "warnings": self.warnings,
            "specs": {
                kind: {
                    "file": str(report.path),
                    "effective": report.values,
                    "errors": report.errors,
                    "warnings": report.warnings,
                }
                for kind, report in self.specs.items()
            },
            "data": asdict(self.data),
        }


def check(
    experiment: Path | None = None,
    dataset_export: Path | None = None,
    inference: Path | None = None,
    *,
    exif: Exif = EXIF,
    decode: bool = True,
) -> CheckReport:
    """Review the specs that are given, one by one and together, and take statistics of what is here of their data.

    exif: how a conversion reads its images. decode: look at all pixels of all images, not only at their heads.
    Raises UsageError when no spec is given, and nothing else: errors are in the report.
    """
    files = {"experiment": experiment, "dataset_export": dataset_export, "inference": inference}
    reports = {kind: SpecReport(path) for kind, path in files.items() if path is not None}
    if not reports:
        raise UsageError("nothing to check", hint="-e, -d or -i with a spec file")
    spec = _reviewed(reports.get("experiment"), review_experiment)
    export = _reviewed(reports.get("dataset_export"), review_dataset_export)
    deployed = _reviewed(reports.get("inference"), review_inference)
    if spec and export:
        reports["dataset_export"].refuse(contradictions.of_conversion(spec, export))
    if spec and deployed:
        reports["inference"].refuse(contradictions.of_inference(spec, deployed))
    return CheckReport(reports, _data_report(spec, export, deployed, Reading(exif, decode)))


def _reviewed(report: SpecReport | None, review: Callable[[Path], Review[M]]) -> M | None:
    """Fill the report of a spec file; its message where commands would take it."""
    if report is None:
        return None
    try:
        found: Review[M] = review(report.path)
    except SpecError as error:
        report.errors.append(str(error))
        return None
    report.text, report.values = to_text(found.message), to_json(found.message)
    report.refuse((*found.problems, *found.contradictions))
    report.warnings += [f"{report.path}: {line}" for line in found.notices]
    return None if found.problems else found.message


def _data_report(
    spec: Experiment | None, export: DatasetExportConfig | None, inference: Inference | None, reading: Reading
) -> DataReport:
    data = DataReport()
    if spec is not None:
        for split in get_args(Split):
            _add_split(spec, split, data, decode=reading.decode)
        _look_for(spec.model_config.pretrained_model_file, "model_config.pretrained_model_file", data)
    if export is not None:
        _add_conversion(export, spec, data, reading)
    if inference is not None:
        config = inference.inferencer_config
        _look_for(config.tlt_config.model, "tlt_config.model", data)
        _look_for(config.tensorrt_config.trt_engine, "tensorrt_config.trt_engine", data)
    data.errors = list(dict.fromkeys(data.errors))  # both splits may lack the same folder
    return data


def _add_split(spec: Experiment, split: Split, data: DataReport, *, decode: bool) -> None:
    patterns = [source.tfrecords_path for source in sources_of(spec.dataset_config, split)]
    try:
        elsewhere = all(_are_elsewhere(pattern) for pattern in patterns)
    except SpecError as error:  # a variable that is not set
        data.not_here.append(f"{split} data: {error}")
        return
    if elsewhere:
        data.not_here.append(f"{split} data: no record files match {', '.join(patterns)}")
        return
    try:
        statistics = split_statistics(spec, split, decode=decode)
    except (DataError, SpecError, OSError) as error:
        data.errors.append(str(error))
        return
    data.splits[split] = statistics
    data.warnings += statistics.notes
    if statistics.missing_images:
        data.errors.append(f"{split} data: {missing_error(statistics.missing_images, statistics.images)}")
    _add_problems(f"{split} data", statistics.problems, data)


def _are_elsewhere(pattern: str) -> bool:
    """Whether neither the records nor others near them are on this machine."""
    try:
        record_files(pattern)
    except NoRecordsError as error:
        return not error.are_near
    except DataError:
        pass
    return False


def _add_conversion(config: DatasetExportConfig, spec: Experiment | None, data: DataReport, reading: Reading) -> None:
    kitti = config.WhichOneof("convert_config_type") == "kitti_config"
    root = config.kitti_config.root_directory_path if kitti else config.coco_config.root_directory_path
    try:
        here = os.path.isdir(resolve(root))  # noqa: PTH112 - Path.is_dir raises an error for names that are too long
    except SpecError as error:  # a variable that is not set
        data.not_here.append(f"labels: {error}")
        return
    if not here:
        data.not_here.append(f"labels: no folder {root}")
        return
    try:
        statistics = conversion_statistics(config, spec, reading)
    except (DataError, SpecError, OSError) as error:
        data.errors.append(str(error))
        return
    data.conversion = statistics
    _add_problems("labels", statistics.problems, data)
    data.warnings += [f"labels: {note}" for note in statistics.notes]
    if statistics.passed_over:
        data.warnings.append(f"labels: passed over: {listed(statistics.passed_over)}")
    data.warnings += [f"labels: {note}" for item in statistics.classes for note in item.notes()]


def _add_problems(title: str, problems: Sequence[str], data: DataReport) -> None:
    data.errors += problems[:_MOST_SHOWN]
    if len(problems) > _MOST_SHOWN:
        data.errors.append(f"{title}: {len(problems) - _MOST_SHOWN} more images that cannot be used")


def _look_for(path: str, field: str, data: DataReport) -> None:
    try:
        if path and not os.path.exists(expand(path)):  # noqa: PTH110 - as above
            data.not_here.append(f"{field}: no file {path}")
    except SpecError as error:
        data.not_here.append(f"{field}: {error}")
