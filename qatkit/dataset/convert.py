"""`dataset_convert`: labels -> TFRecord files with TAO's names and keys. Images are named in them, not copied."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit import console, files
from qatkit.dataset import partition
from qatkit.dataset.kitti import KittiObject
from qatkit.dataset.records import Values, write_records
from qatkit.dataset.sample_modifier import SampleModifier
from qatkit.dataset.sources import CocoSource, KittiSource, LabelledFrame, Source
from qatkit.errors import SpecError

if TYPE_CHECKING:
    from qatkit.spec import DatasetExportConfig

SEED = 42  # TAO's, so that its order can be reproduced


@dataclass(frozen=True)
class FoldReport:
    """What one fold holds: files, images, and objects by stored class name."""

    fold: int
    files: tuple[Path, ...]
    images: int
    objects: Counter[str]


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion wrote.

    class_map: name in the labels -> stored name. skipped: objects left out because their box has no area, by the
    place of their label, with x1 y1 x2 y2 in whole pixels; also in `warning_file`, where there are any.
    """

    folds: tuple[FoldReport, ...]
    class_map: dict[str, str]
    skipped: dict[str, tuple[int, int, int, int]]
    warning_file: Path | None

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
    source = source_of(spec, generator, tao_split=tao_split)
    if spec.kitti_config.partition_mode == "random" and spec.kitti_config.val_split and not tao_split:
        console.info("validation images are drawn at random; TAO takes the first in order of name (--tao_split)")
    writer = _Writer(source, output, _modifier(spec, validation_fold, source.folds))
    # TAO numbers only the folds that have frames: with val_split 0, the training frames are fold 0.
    filled = [(number, names) for number, names in enumerate(source.fold_names()) if names]
    if 1 == len(filled) < source.folds:
        other = "training" if spec.kitti_config.val_split == 100 else "validation"
        console.info(f"all frames are in one fold, 000: there is no {other} fold")
    with ExitStack() as written:
        folds = tuple(writer.write_fold(written, fold, number, names) for fold, (number, names) in enumerate(filled))
        warning_file = _write_warnings(writer.skipped, output)
    _warn_of_others(folds, output)
    return ConvertReport(folds, writer.class_map, writer.skipped, warning_file)


def to_record(frame: LabelledFrame, labels: list[KittiObject]) -> dict[str, Values]:
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
    """Writes folds, and notes class names and objects that are left out."""

    def __init__(self, source: Source, output: Path, modifier: SampleModifier | None) -> None:
        self.class_map: dict[str, str] = {}
        self.skipped: dict[str, tuple[int, int, int, int]] = {}
        self._source = source
        self._output = output
        self._modifier = modifier

    def write_fold(self, written: ExitStack, fold: int, number: int, names: list[str]) -> FoldReport:
        """Write the frames of fold `number` of the source as fold `fold`; `written` keeps or discards the files."""
        images, objects, paths = 0, Counter[str](), []
        shards = self._source.shards(number)
        for shard, part in enumerate(partition.shards(names, shards)):
            name = partition.file_name(self._output.name, fold, self._source.folds, shard, shards)
            paths.append(self._output.with_name(name))
            temporary = written.enter_context(files.replacing(paths[-1]))
            tracked = console.track(part, f"fold {fold}, shard {shard}", len(part))
            frames = (self._source.frame(number, name) for name in tracked)
            images += write_records(temporary, self._records(frames, fold, objects))
        return FoldReport(fold, tuple(paths), images, objects)

    def _records(
        self, frames: Iterator[LabelledFrame], fold: int, objects: Counter[str]
    ) -> Iterator[dict[str, Values]]:
        """The records of `frames`; counts what is in them in `objects`."""
        for frame in frames:
            labels = [item.label for item in frame.objects if item.label.is_drawable]
            self.skipped |= {item.key: item.label.integer_box for item in frame.objects if not item.label.is_drawable}
            stored = [label.class_name.lower() for label in labels]
            self.class_map.update((label.class_name, name) for label, name in zip(labels, stored))
            copies = self._modifier.copies(stored, fold) if self._modifier else 1
            for _ in range(copies):
                objects.update(stored)
                yield to_record(frame, labels)


def source_of(spec: DatasetExportConfig, generator: random.Random, *, tao_split: bool = False) -> Source:
    """The labelled frames that `spec` describes. Raises SpecError, and DataError where they cannot be read."""
    which = spec.WhichOneof("convert_config_type")
    if which == "coco_config":
        return CocoSource(spec.coco_config)
    if which == "kitti_config":
        return KittiSource(spec.kitti_config, generator, partition.tao_split if tao_split else partition.random_split)
    raise SpecError("the conversion spec has neither kitti_config nor coco_config")


def _modifier(spec: DatasetExportConfig, validation_fold: int | None, folds: int) -> SampleModifier | None:
    if validation_fold is not None and not 0 <= validation_fold < max(folds, 1):
        raise SpecError(f"validation fold {validation_fold} does not exist; there are {max(folds, 1)}, from 0")
    if not spec.HasField("sample_modifier_config"):
        return None
    return SampleModifier(spec.sample_modifier_config, validation_fold, folds)


def _write_warnings(skipped: dict[str, tuple[int, int, int, int]], output: Path) -> Path | None:
    """TAO's name and content. The reader of records passes over it, though a pattern such as `folder/*` matches."""
    path = output.with_name(f"{output.name}_warning.json")
    path.unlink(missing_ok=True)  # of an earlier conversion
    if not skipped:
        return None
    files.write_json(path, skipped)
    return path


def _warn_of_others(folds: Sequence[FoldReport], output: Path) -> None:
    """Older files of the same prefix would be read together with the new ones."""
    new = {path for fold in folds for path in fold.files}
    old = [path for path in output.parent.glob(f"{output.name}-fold-*") if path not in new]
    if old:
        console.warn(f"{len(old)} older record files with this prefix remain, such as {min(old)}: remove them")
