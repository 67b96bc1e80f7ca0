"""`dataset_convert`: labels -> TFRecord files with TAO's names and keys. Images are named in them, not copied."""

from __future__ import annotations

import glob
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit import console, files
from qatkit.dataset import partition
from qatkit.dataset.coco_source import CocoSource
from qatkit.dataset.kitti import KittiObject
from qatkit.dataset.kitti_source import KittiSource
from qatkit.dataset.paths import with_expanded_names
from qatkit.dataset.records import EXIF, EXTENSION, Values, write_records
from qatkit.dataset.sample_modifier import SampleModifier
from qatkit.dataset.source import LabelledFrame, Reading, Source, UnusableImageError, read_frames
from qatkit.dataset.tally import Tally
from qatkit.errors import DataError, SpecError, UsageError
from qatkit.spec.names import stored_name

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

    class_map: name in the labels -> stored name. tally: what was seen in labels and images. skipped: objects left out
    because their box has no area or swapped corners, by the place of their label, with x1 y1 x2 y2 in whole pixels;
    also in `warning_file`, where there are any. passed_over: what lies there and was not converted, counted by
    reason.
    """

    folds: tuple[FoldReport, ...]
    class_map: dict[str, str]
    tally: Tally
    skipped: dict[str, tuple[int, int, int, int]]
    warning_file: Path | None
    passed_over: Counter[str]

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
    output: Path | str,
    *,
    validation_fold: int | None = None,
    tao_split: bool = False,
    seed: int = SEED,
    reading: Reading | None = None,
    leave_out: bool = False,
) -> ConvertReport:
    """Write the record files `<output>-fold-...-shard-...` of `spec`, all or none of them.

    output: folder and prefix; one that ends in `/` is a folder, and the prefix is empty, as in TAO.
    validation_fold: the fold that sample_modifier_config leaves alone.
    tao_split: for partition mode "random", split by name as TAO does, instead of at random.
    reading: how images are read; as a rule decoded whole. leave_out: leave out images that cannot be used.
    Raises SpecError for values that make no sense; DataError for labels or images that are missing or damaged, once
    all have been looked at.
    """
    generator = random.Random(seed)
    source = source_of(spec, generator, tao_split=tao_split, reading=reading)
    prefix = _Prefix.of(output)
    if spec.kitti_config.partition_mode == "random" and spec.kitti_config.val_split and not tao_split:
        console.info("validation images are drawn at random; TAO takes the first in order of name (--tao_split)")
    writer = _Writer(source, prefix, _modifier(spec, validation_fold, source.folds))
    # TAO numbers only the folds that have frames: with val_split 0, the training frames are fold 0.
    filled = [(number, names) for number, names in enumerate(source.fold_names()) if names]
    if 1 == len(filled) < source.folds:
        console.info(f"all frames are in one fold, 000: there is no {_empty_fold(spec, len(filled[0][1]))}")
    with ExitStack() as written:
        folds = tuple(writer.write_fold(written, fold, number, names) for fold, (number, names) in enumerate(filled))
        left_out = _left_out(writer.problems, sum(len(names) for _, names in filled), leave_out=leave_out)
        warning_file = _write_warnings(writer.skipped, prefix)
    _warn_of_others(folds, prefix)
    passed_over = source.passed_over + left_out
    return ConvertReport(folds, writer.class_map, writer.tally, writer.skipped, warning_file, passed_over)


def to_record(frame: LabelledFrame, labels: list[KittiObject]) -> dict[str, Values]:
    """TAO's keys for one frame and those of its objects that are kept; class names become lower case."""
    return {
        "frame/id": [frame.id],
        "frame/height": [frame.height],
        "frame/width": [frame.width],
        "target/object_class": [stored_name(label.class_name) for label in labels],
        "target/truncation": [label.truncation for label in labels],
        "target/occlusion": [label.occlusion for label in labels],
        "target/observation_angle": [label.observation_angle for label in labels],
        **_columns("target/coordinates", ("x1", "y1", "x2", "y2"), [label.box for label in labels]),
        **_columns("target/world_bbox", ("h", "w", "l"), [label.dimensions for label in labels]),
        **_columns("target/world_bbox", ("x", "y", "z"), [label.location for label in labels]),
        "target/world_bbox_rot_y": [label.rotation_y for label in labels],
        **({EXTENSION: [frame.extension]} if frame.extension else {}),
        **({EXIF: [frame.exif]} if frame.exif == "apply" else {}),
    }


def _columns(prefix: str, names: Sequence[str], rows: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    return {f"{prefix}_{name}": [row[column] for row in rows] for column, name in enumerate(names)}


@dataclass(frozen=True)
class _Prefix:
    """Where record files go, and what their names begin with."""

    folder: Path
    name: str

    @classmethod
    def of(cls, output: Path | str) -> _Prefix:
        """That of a path, which is a folder where it ends in `/`. Raises UsageError for an empty one."""
        if not os.fspath(output):
            raise UsageError(
                "-o is empty", hint="folder and prefix of the record files, such as tfrecords/train/part"
            )
        folder, name = os.path.split(os.path.expanduser(output))  # noqa: PTH111 - pathlib would drop the last slash
        if name in (".", ".."):
            folder, name = os.fspath(output), ""
        return cls(Path(folder), name)


class _Writer:
    """Writes folds, and notes class names, objects that are left out, and frames that cannot be read."""

    def __init__(self, source: Source, prefix: _Prefix, modifier: SampleModifier | None) -> None:
        self.class_map: dict[str, str] = {}
        self.skipped: dict[str, tuple[int, int, int, int]] = {}
        self.problems: list[DataError] = []
        self.tally = Tally()
        self._source = source
        self._prefix = prefix
        self._modifier = modifier

    def write_fold(self, written: ExitStack, fold: int, number: int, names: list[str]) -> FoldReport:
        """Write the frames of fold `number` of the source as fold `fold`; `written` keeps or discards the files."""
        images, objects, paths = 0, Counter[str](), []
        shards = self._source.shards(number)
        for shard, part in enumerate(partition.shards(names, shards)):
            name = partition.file_name(self._prefix.name, fold, self._source.folds, shard, shards)
            if not name:
                raise SpecError(f"-o {self._prefix.folder}/: without folds and shards a record file needs a name")
            paths.append(self._prefix.folder / name)
            temporary = written.enter_context(files.replacing(paths[-1]))
            title = f"fold {fold}, shard {shard}"
            frames = read_frames(self._source, number, part, title, self.problems.append)
            images += write_records(temporary, self._records(frames, fold, objects), known_as=paths[-1])
        return FoldReport(fold, tuple(paths), images, objects)

    def _records(
        self, frames: Iterator[LabelledFrame], fold: int, objects: Counter[str]
    ) -> Iterator[dict[str, Values]]:
        """The records of `frames`; counts what is in them in `objects`."""
        for frame in frames:
            self.tally.add(frame)
            labels = [item.label for item in frame.drawable]
            self.skipped |= {item.key: item.label.integer_box for item in frame.objects if not item.label.is_drawable}
            stored = [stored_name(label.class_name) for label in labels]
            self.class_map.update((label.class_name, name) for label, name in zip(labels, stored))
            copies = self._modifier.copies(stored, fold) if self._modifier else 1
            for _ in range(copies):
                objects.update(stored)
                yield to_record(frame, labels)


def source_of(
    spec: DatasetExportConfig,
    generator: random.Random,
    *,
    tao_split: bool = False,
    reading: Reading | None = None,
) -> Source:
    """The labelled frames that `spec` describes. Raises SpecError, and DataError where they cannot be read."""
    which, reading = spec.WhichOneof("convert_config_type"), reading or Reading()
    spec = with_expanded_names(spec)
    if which == "coco_config":
        return CocoSource(spec.coco_config, reading)
    if which == "kitti_config":
        split = partition.tao_split if tao_split else partition.random_split
        return KittiSource(spec.kitti_config, generator, split, reading)
    raise SpecError("the conversion spec has neither kitti_config nor coco_config")


def _modifier(spec: DatasetExportConfig, validation_fold: int | None, folds: int) -> SampleModifier | None:
    if validation_fold is not None and not 0 <= validation_fold < max(folds, 1):
        raise SpecError(f"validation fold {validation_fold} does not exist; there are {max(folds, 1)}, from 0")
    if not spec.HasField("sample_modifier_config"):
        return None
    return SampleModifier(spec.sample_modifier_config, validation_fold, folds)


def _empty_fold(spec: DatasetExportConfig, images: int) -> str:
    """Which fold got no frames, and why."""
    kitti = spec.kitti_config
    if kitti.partition_mode != "random" or not spec.HasField("kitti_config"):
        return "other fold"
    kind = "training" if kitti.val_split == 100 else "validation"
    return f"{kind} fold (val_split {kitti.val_split:g} of {images} image{'s' * (images != 1)})"


def _left_out(problems: Sequence[DataError], images: int, *, leave_out: bool) -> Counter[str]:
    """Images that cannot be used, counted by reason.

    Raises DataError where they may not be left out, where all would be, and for labels that make no sense.
    """
    fatal = [problem for problem in problems if not isinstance(problem, UnusableImageError)]
    if fatal:
        more = f"; {len(fatal) - 1} more files with labels that make no sense" if len(fatal) > 1 else ""
        raise DataError(f"{fatal[0]}{more}")
    reasons = Counter(problem.reason for problem in problems if isinstance(problem, UnusableImageError))
    if problems and (not leave_out or len(problems) == images):
        hint = "" if len(problems) == images else "; --leave_out goes on without them"
        raise DataError(f"{problems[0]}; {len(problems)} of {images} cannot be used: {console.listed(reasons)}{hint}")
    return reasons


def _write_warnings(skipped: dict[str, tuple[int, int, int, int]], prefix: _Prefix) -> Path | None:
    """TAO's name and content. The reader of records passes over it, though a pattern such as `folder/*` matches."""
    path = prefix.folder / f"{prefix.name}_warning.json"
    path.unlink(missing_ok=True)  # of an earlier conversion
    if not skipped:
        return None
    files.write_json(path, skipped)
    return path


def _warn_of_others(folds: Sequence[FoldReport], prefix: _Prefix) -> None:
    """Older files of the same prefix would be read together with the new ones."""
    new = {path for fold in folds for path in fold.files}
    old = [path for path in prefix.folder.glob(f"{glob.escape(prefix.name)}-fold-*") if path not in new]
    if old:
        console.warn(f"{len(old)} older record files with this prefix remain, such as {min(old)}: remove them")
