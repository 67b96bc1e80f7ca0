"""`qatkit inference`: images in, annotated images and KITTI label files out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qatkit import status
from qatkit.console import info, track
from qatkit.dataset.images import image_files, load_image, map_ahead
from qatkit.dataset.picture_file import PictureFile, look_at
from qatkit.detectnet.clustering import Compat, Detections
from qatkit.detectnet.fit import size
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import Labels
from qatkit.detectnet.postprocess import detect, inference_params
from qatkit.engine.base import Engine
from qatkit.engine.open import open_engine
from qatkit.errors import UsageError
from qatkit.files import check_writable, make_directory, replacing, write_json, write_text
from qatkit.report.drawing import DrawnBox, draw_boxes
from qatkit.spec import Inference, load_inference


@dataclass(frozen=True)
class Found:
    """One object in one image: name, box x1, y1, x2, y2 in pixels of the image file, confidence, colour (RGB)."""

    name: str
    box: tuple[float, float, float, float]
    confidence: float
    color: tuple[int, int, int]

    def kitti(self) -> str:
        """The 16-field KITTI line, as TAO's inference writes it."""
        box = " ".join(f"{value:.3f}" for value in self.box)
        return f"{self.name} 0.00 0 0.00 {box} 0.00 0.00 0.00 0.00 0.00 0.00 0.00 {self.confidence:.3f}"


@dataclass(frozen=True)
class Inferred:
    """images: how many. engine, precision: what ran. counts: objects per name."""

    images: int
    engine: str
    precision: str
    counts: Mapping[str, int]


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
    verbose: bool = False,
) -> Inferred:
    """Detect objects in an image or a folder of images, by the inference spec file `spec`.

    Writes what the spec asks for below `results`: `images_annotated/<file>` unless `disable_overlay`,
    `labels/<stem>.txt` with `kitti_dump`, `detections.json` always. model: None = that of the spec; batch_size too.
    compat: whose clustering. verbose: name what is found in each image.
    Raises UsageError when the spec does not fit the network.
    """
    check_writable(results)
    with status.run("inference", results) as log:
        config = load_inference(spec)
        images = image_files(image_dir)
        path = model or model_of(config)
        engine = open_engine(path, key, cal_cache=cal_cache, labels=labels_of(config, path))
        at_once = batch_size or config.inferencer_config.batch_size
        counts = _infer(engine, config, images, results, at_once, compat, verbose)
        log.succeed(categorical={"num_objects": counts})
    return Inferred(len(images), engine.name, engine.precision, counts)


def model_of(spec: Inference) -> Path:
    """The model that the spec names. Raises UsageError where it names none that can be run."""
    config = spec.inferencer_config
    named = config.tlt_config.model or config.tensorrt_config.trt_engine
    if named:
        return Path(named)
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


def _infer(
    engine: Engine,
    spec: Inference,
    images: Sequence[Path],
    results: Path,
    batch_size: int,
    compat: Compat,
    verbose: bool,
) -> dict[str, int]:
    """Objects per name."""
    config, handlers = spec.inferencer_config, spec.bbox_handler_config
    _name_classes(engine, config.target_classes)
    _check(engine, spec)
    classes = engine.info.labels.classes
    params = inference_params(spec, classes, compat=compat)
    rendered = set(handlers.postproc_classes or classes)
    if not handlers.disable_overlay:
        make_directory(results / "images_annotated")
    if handlers.kitti_dump:
        make_directory(results / "labels")
    listed: dict[str, list[dict[str, Any]]] = {}
    counts: dict[str, int] = {}
    input_height, input_width, _ = engine.info.input_shape
    inferred = _detect(engine, images, params, batch_size)
    for path, (width, height), detections in track(inferred, "Inference", len(images)):
        found = [
            item
            for index, of_class in detections.items()
            if classes[index] in rendered
            for item in _found(classes[index], of_class.scaled(width / input_width, height / input_height), spec)
        ]
        for item in found:
            counts[item.name] = counts.get(item.name, 0) + 1
        if verbose:
            info(f"{path.name}: {', '.join(f'{item.name} {item.confidence:.3f}' for item in found) or 'nothing'}")
        listed[path.name] = [{"name": item.name, "box": item.box, "confidence": item.confidence} for item in found]
        if not handlers.disable_overlay:
            _annotate(path, found, results / "images_annotated" / path.name, handlers.overlay_linewidth or 1)
        if handlers.kitti_dump:
            write_text(results / "labels" / f"{path.stem}.txt", "".join(f"{item.kitti()}\n" for item in found))
    write_json(results / "detections.json", {"classes": list(config.target_classes), "images": listed})
    return counts


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
    engine: Engine, images: Sequence[Path], params: Sequence[Any], batch_size: int
) -> Iterator[tuple[Path, tuple[int, int], Mapping[int, Detections]]]:
    """Path, size (width, height) of the file, and detections in network-input pixels, image by image."""
    (height, width, channels), labels = engine.info.input_shape, engine.info.labels
    load = partial(load_image, width=width, height=height, channels=channels, auto_resize=True)
    loaded = map_ahead(load, images, 2 * batch_size)
    for start in range(0, len(images), batch_size):
        paths = images[start : start + batch_size]
        batch = np.stack(list(islice(loaded, len(paths))))
        cov, bbox = engine.predict(batch)
        grid = Grid(width, height, cov.shape[3], cov.shape[2], labels.box_scale, labels.box_offset)
        for path, detections in zip(paths, detect(cov, bbox, grid, params)):
            yield path, look_at(PictureFile(str(path)), decode=False).size, detections


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


def _annotate(source: Path, found: Sequence[Found], target: Path, line_width: int) -> None:
    with Image.open(source) as image:
        picture, kind = image.convert("RGB"), image.format
    draw_boxes(
        picture, [DrawnBox(item.box, item.color, f"{item.name}:{item.confidence:.3f}", line_width) for item in found]
    )
    with replacing(target) as temporary:
        picture.save(temporary, format=kind or "PNG")
