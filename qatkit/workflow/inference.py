"""`qatkit inference`: images in, annotated images and KITTI label files out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit import status
from qatkit.choices import EXIF, Exif
from qatkit.console import info, info_names, listed, track
from qatkit.dataset.images import ImageLayout, image_files, map_ahead, to_canvas, to_float
from qatkit.dataset.picture_file import PictureFile, Size, list_pictures, read_picture
from qatkit.detectnet.clustering import Compat, Detections
from qatkit.detectnet.fit import size
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import Labels
from qatkit.detectnet.postprocess import detect, inference_params
from qatkit.engine.base import Engine
from qatkit.engine.open import open_engine
from qatkit.errors import DataError, UsageError
from qatkit.files import check_writable, expand
from qatkit.report.found import Found, FoundFiles
from qatkit.spec import Inference, load_inference


@dataclass(frozen=True)
class Inferred:
    """images: how many. engine, precision: what ran. counts: objects per name."""

    images: int
    engine: str
    precision: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class _Picture:
    """A picture as the network sees it: float32 [h, w, c] in 0..1; size: its own width and height."""

    file: PictureFile
    size: Size
    pixels: NDArray[np.float32]


@dataclass(frozen=True)
class _Unread:
    """A file that is no picture, or a damaged one."""

    file: PictureFile
    reason: DataError


def run_inference(
    spec: Path,
    image_dir: Path,
    results: Path,
    model: Path | None = None,
    *,
    key: str = "",
    cal_cache: Path | None = None,
    batch_size: int | None = None,
    compat: Compat = "none",
    exif: Exif = EXIF,
    verbose: bool = False,
) -> Inferred:
    """Detect objects in an image or a folder of images, by the inference spec file `spec`.

    Writes what the spec asks for below `results`: `images_annotated/<file>` unless `disable_overlay`,
    `labels/<stem>.txt` with `kitti_dump`, `detections.json` always. model: None = that of the spec; batch_size too.
    compat: whose clustering. exif: "apply" turns images as their EXIF data say, and boxes are in the pixels then.
    verbose: name what is found in each image.
    Raises UsageError when the spec does not fit the network; DataError for images that cannot be read, when the
    results of all others are written.
    """
    check_writable(results)
    with status.run("inference", results) as log:
        config = load_inference(spec)
        files = [PictureFile(str(path), exif == "apply") for path in image_files(image_dir)]
        path = model or model_of(config)
        engine = open_engine(path, key, cal_cache=cal_cache, labels=labels_of(config, path))
        if image_dir.is_dir() and (others := list_pictures(image_dir).others):
            info(f"passed over, not images: {sum(others.values())} ({listed(others)})")
        at_once = batch_size or config.inferencer_config.batch_size
        handlers = config.bbox_handler_config
        line_width = 0 if handlers.disable_overlay else handlers.overlay_linewidth or 1
        output = FoundFiles(results, files, line_width=line_width, labels=handlers.kitti_dump)
        info_names("labels of images whose names differ in their endings only", output.renamed, verbose=verbose)
        _infer(engine, config, files, output, at_once, compat, verbose)
        if output.unread:
            raise _incomplete(output.unread, len(files), results)
        log.succeed(categorical={"num_objects": output.counts})
    return Inferred(len(files), engine.name, engine.precision, output.counts)


def model_of(spec: Inference) -> Path:
    """The model that the spec names. Raises UsageError where it names none that can be run."""
    config = spec.inferencer_config
    named = config.tlt_config.model or config.tensorrt_config.trt_engine
    if named:
        return Path(expand(named))
    if config.tensorrt_config.etlt_model:
        raise UsageError(
            f"{config.tensorrt_config.etlt_model}: NVIDIA's .etlt cannot be read", hint="name a model with -m"
        )
    raise UsageError("the spec names no model", hint="tlt_config.model, tensorrt_config.trt_engine, or -m")


def labels_of(spec: Inference, model: Path) -> Labels | None:
    """What an inference spec tells of an ONNX or an engine without metadata.

    Its classes, and the units of boxes that TAO's inference takes for granted. None where the spec names no classes,
    and for the other kinds of models, whose classes are only named by it (see `_name_classes`).
    """
    names = spec.inferencer_config.target_classes
    return Labels(tuple(names)) if names and model.suffix.lower() not in (".tlt", ".hdf5") else None


def _incomplete(unread: Mapping[str, DataError], images: int, results: Path) -> DataError:
    reason = str(next(iter(unread.values())))
    if images == 1:
        return DataError(reason)
    rest = f"detections.json lists them, the results of the others are in {results}"
    return DataError(f"{len(unread)} of {images} images cannot be read ({rest}), such as {reason}")


def _infer(
    engine: Engine,
    spec: Inference,
    files: Sequence[PictureFile],
    output: FoundFiles,
    batch_size: int,
    compat: Compat,
    verbose: bool,
) -> None:
    config = spec.inferencer_config
    _name_classes(engine, config.target_classes)
    _check(engine, spec)
    classes = engine.info.labels.classes
    params = inference_params(spec, classes, compat=compat)
    rendered = set(spec.bbox_handler_config.postproc_classes or classes)
    input_height, input_width, _ = engine.info.input_shape
    inferred = _detect(engine, files, params, batch_size, output)
    for file, (width, height), detections in track(inferred, "Inference", len(files)):
        found = [
            item
            for index, of_class in detections.items()
            if classes[index] in rendered
            for item in _found(classes[index], of_class.scaled(width / input_width, height / input_height), spec)
        ]
        if verbose:
            seen = ", ".join(f"{item.name} {item.confidence:.3f}" for item in found) or "nothing"
            info(f"{Path(file.path).name}: {seen}")
        output.add(file, found)
    output.write_json(config.target_classes)


def _name_classes(engine: Engine, names: Sequence[str]) -> None:
    """Call the classes of a network from a TAO file, which names none, as the spec does."""
    labels = engine.info.labels
    if len(names) == len(labels.classes) and labels.are_unnamed:
        engine.info = replace(engine.info, labels=replace(labels, classes=tuple(names)))


def _check(engine: Engine, spec: Inference) -> None:
    config, shape, classes = spec.inferencer_config, engine.info.input_shape, engine.info.labels.classes
    wanted = (config.image_height, config.image_width, config.image_channels)
    if wanted != shape:
        raise UsageError(f"inferencer_config: images of {size(wanted)}, but the model takes {size(shape)}")
    if config.target_classes and tuple(config.target_classes) != classes:
        raise UsageError(
            f"inferencer_config.target_classes: {', '.join(config.target_classes)}, "
            f"but the model knows {', '.join(classes)}",
            hint="the same names in the same order",
        )


def _detect(
    engine: Engine, files: Sequence[PictureFile], params: Sequence[Any], batch_size: int, output: FoundFiles
) -> Iterator[tuple[PictureFile, Size, Mapping[int, Detections]]]:
    """File, size of the picture, and detections in network-input pixels, image by image.

    Those that cannot be read are left out of `output`.
    """
    (height, width, channels), labels = engine.info.input_shape, engine.info.labels
    load = partial(_load, layout=ImageLayout(width, height, channels, auto_resize=True))
    pictures = _readable(map_ahead(load, files, 2 * batch_size), output)
    while batch := list(islice(pictures, batch_size)):
        cov, bbox = engine.predict(np.stack([picture.pixels for picture in batch]))
        grid = Grid(width, height, cov.shape[3], cov.shape[2], labels.box_scale, labels.box_offset)
        for picture, detections in zip(batch, detect(cov, bbox, grid, params)):
            yield picture.file, picture.size, detections


def _load(file: PictureFile, layout: ImageLayout) -> _Picture | _Unread:
    try:
        picture = read_picture(file, layout.channels)
    except DataError as reason:
        return _Unread(file, reason)
    return _Picture(file, picture.size, to_float(to_canvas(picture, layout)))


def _readable(pictures: Iterator[_Picture | _Unread], output: FoundFiles) -> Iterator[_Picture]:
    for picture in pictures:
        if isinstance(picture, _Unread):
            output.leave_out(picture.file, picture.reason)
        else:
            yield picture


def _found(name: str, detections: Detections, spec: Inference) -> list[Found]:
    handlers = spec.bbox_handler_config.classwise_bbox_handler_config
    own = handlers.get(name)
    handler = own if own is not None else handlers["default"]
    shown = own.output_map if own is not None and own.output_map else name
    color = handler.bbox_color.R, handler.bbox_color.G, handler.bbox_color.B
    return [
        Found(shown, (x1, y1, x2, y2), float(confidence), color)
        for (x1, y1, x2, y2), confidence in zip(detections.boxes.tolist(), detections.confidences)
    ]
