"""`dataset_convert`: labels -> TFRecord files with TAO's names and keys. Images are named in them, not copied."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit import files, progress
from qatkit.dataset import partition
from qatkit.dataset.kitti import KittiObject
from qatkit.dataset.sample_modifier import SampleModifier
from qatkit.dataset.sources import CocoSource, KittiSource, LabelledFrame, Source
from qatkit.errors import SpecError

if TYPE_CHECKING:
    from qatkit.dataset.tfrecord import Feature
    from qatkit.spec import DatasetExportConfig

SEED = 42  # TAO's, so that its order can be reproduced


@dataclass
class FoldReport:
    """What one fold holds: files, images, and objects by stored class name."""

    fold: int
    files: list[Path] = field(default_factory=list)
    images: int = 0
    objects: Counter[str] = field(default_factory=Counter)


@dataclass
class ConvertReport:
    """What a conversion wrote.

    class_map: name in the labels -> stored name. skipped: objects left out because their box has no area, by the
    place of their label, with x1 y1 x2 y2 in whole pixels; also in `warning_file`, where there are any.
    """

    folds: list[FoldReport] = field(default_factory=list)
    class_map: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    warning_file: Path | None = None

    @property
    def images(self) -> int:
        """Number of records in all folds."""
        return sum(fold.images for fold in self.folds)

    @property
    def objects(self) -> Counter[str]:
        """Objects in all folds by stored class name."""
        return sum((fold.objects for fold in self.folds), Counter())


def convert(
    spec: DatasetExportConfig,
    output: Path,
    *,
    validation_fold: int | None = None,
    tao_split: bool = False,
    seed: int = SEED,
) -> ConvertReport:
    """Write the record files `<output>-fold-...-shard-...` of `spec`, all or none of them.

    validation_fold: the fold that sample_modifier_config leaves alone.
    tao_split: for partition mode "random", split by name as TAO does, instead of at random.
    Raises SpecError for values that make no sense; DataError for labels or images that are missing or damaged.
    """
    generator = random.Random(seed)
    source = _source(spec, generator, tao_split=tao_split)
    writer = _Writer(source, output, _modifier(spec, validation_fold, source.folds))
    # TAO numbers only the folds that have frames: with val_split 0, the training frames are fold 0.
    filled = [(number, names) for number, names in enumerate(source.fold_names()) if names]
    if 1 == len(filled) < source.folds:
        progress.info("all frames are in one fold, 000: there is no validation fold")
    with ExitStack() as written:
        for fold, (number, names) in enumerate(filled):
            writer.write_fold(written, fold, number, names)
        _write_warnings(writer.report, output)
    _warn_of_others(writer.report, output)
    return writer.report


def to_record(frame: LabelledFrame, labels: list[KittiObject]) -> dict[str, Feature]:
    """TAO's keys for one frame and those of its objects that are kept; class names become lower case."""
    return {
        "frame/id": [frame.id],
        "frame/height": [frame.height],
        "frame/width": [frame.width],
        "target/object_class": [label.class_name.lower() for label in labels],
        "target/truncation": [label.truncation for label in labels],
        "target/occlusion": [label.occlusion for label in labels],
        "target/observation_angle": [label.observation_angle for label in labels],
        **_columns("target/coordinates", ("x1", "y1", "x2", "y2"), [label.box for label in labels]),
        **_columns("target/world_bbox", ("h", "w", "l"), [label.dimensions for label in labels]),
        **_columns("target/world_bbox", ("x", "y", "z"), [label.location for label in labels]),
        "target/world_bbox_rot_y": [label.rotation_y for label in labels],
    }


def _columns(prefix: str, names: Sequence[str], rows: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    return {f"{prefix}_{name}": [row[column] for row in rows] for column, name in enumerate(names)}


class _Writer:
    """Writes folds and keeps account of them."""

    def __init__(self, source: Source, output: Path, modifier: SampleModifier | None) -> None:
        self.report = ConvertReport()
        self._source = source
        self._output = output
        self._modifier = modifier

    def write_fold(self, written: ExitStack, fold: int, number: int, names: list[str]) -> None:
        """Write the frames of fold `number` of the source as fold `fold`; `written` keeps or discards the files."""
        from qatkit.dataset.tfrecord import write_records

        report = FoldReport(fold)
        shards = self._source.shards(number)
        todo = progress.track(names, f"fold {fold}", len(names))
        for shard, part in enumerate(partition.shards(names, shards)):
            name = partition.file_name(self._output.name, fold, self._source.folds, shard, shards)
            path = self._output.with_name(name)
            frames = (self._source.frame(number, next(todo)) for _ in part)
            temporary = written.enter_context(files.replacing(path))
            report.images += write_records(temporary, self._records(frames, report))
            report.files.append(path)
        self.report.folds.append(report)

    def _records(self, frames: Iterator[LabelledFrame], report: FoldReport) -> Iterator[dict[str, Feature]]:
        for frame in frames:
            labels = self._kept(frame)
            stored = [label.class_name.lower() for label in labels]
            self.report.class_map.update((label.class_name, name) for label, name in zip(labels, stored))
            copies = self._modifier.copies(stored, report.fold) if self._modifier else 1
            for _ in range(copies):
                report.objects.update(stored)
                yield to_record(frame, labels)

    def _kept(self, frame: LabelledFrame) -> list[KittiObject]:
        for item in frame.objects:
            if not item.label.is_drawable:
                self.report.skipped[item.key] = item.label.integer_box
        return [item.label for item in frame.objects if item.label.is_drawable]


def _source(spec: DatasetExportConfig, generator: random.Random, *, tao_split: bool) -> Source:
    which = spec.WhichOneof("convert_config_type")
    if which == "coco_config":
        return CocoSource(spec.coco_config)
    if which == "kitti_config":
        if spec.kitti_config.partition_mode == "random" and spec.kitti_config.val_split and not tao_split:
            progress.info("validation images are drawn at random; TAO takes the first in order of name (--tao_split)")
        return KittiSource(spec.kitti_config, generator, partition.tao_split if tao_split else partition.random_split)
    raise SpecError("the conversion spec has neither kitti_config nor coco_config")


def _modifier(spec: DatasetExportConfig, validation_fold: int | None, folds: int) -> SampleModifier | None:
    if validation_fold is not None and not 0 <= validation_fold < max(folds, 1):
        raise SpecError(f"validation fold {validation_fold} does not exist; there are {max(folds, 1)}, from 0")
    if not spec.HasField("sample_modifier_config"):
        return None
    return SampleModifier(spec.sample_modifier_config, validation_fold, folds)


def _write_warnings(report: ConvertReport, output: Path) -> None:
    """TAO's name and content. The reader of records passes over it, though a pattern such as `folder/*` matches."""
    path = output.with_name(f"{output.name}_warning.json")
    path.unlink(missing_ok=True)
    if report.skipped:
        report.warning_file = path
        files.write_json(path, report.skipped)


def _warn_of_others(report: ConvertReport, output: Path) -> None:
    """Older files of the same prefix would be read together with the new ones."""
    new = {path for fold in report.folds for path in fold.files}
    old = [path for path in output.parent.glob(f"{output.name}-fold-*") if path not in new]
    if old:
        progress.warn(f"{len(old)} older record files with this prefix remain, such as {min(old)}: remove them")
