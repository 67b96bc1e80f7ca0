"""What the packages make of a spec, as values that can be compared: a field that changes none of them is not used."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from qatkit import status
from qatkit.dataset.convert import convert
from qatkit.dataset.frames import scan_frames
from qatkit.dataset.images import ImageLayout, load_pixels
from qatkit.detectnet.fit import input_shape
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import Labels
from qatkit.detectnet.postprocess import detect, evaluation_params
from qatkit.detectnet.told_apart import ToldApart
from qatkit.engine.base import ModelInfo
from qatkit.errors import QatkitError
from qatkit.evaluation.evaluate import EvaluationSettings, evaluate
from qatkit.graph.build import build
from qatkit.graph.graph import Graph
from qatkit.keras import augmentation
from qatkit.keras.cost import CostConfig, component_costs, task_cost, updated_objective_weights
from qatkit.keras.loss_mask import LossMask
from qatkit.keras.preparation import Preparation
from qatkit.keras.rasterizer import Rasterizer, Targets
from qatkit.keras.step import StepResult
from qatkit.model.file import Model, save_model
from qatkit.quantization.placement import place
from qatkit.spec import DatasetExportConfig, Experiment, class_names, to_text
from qatkit.training.network import build_network
from qatkit.training.options import TrainOptions
from qatkit.training.precision import of_training
from qatkit.training.schedule import from_spec
from qatkit.training.start import frozen_layers, starting_model
from qatkit.training.watch import trackers
from qatkit.workflow import inference, watching
from qatkit.workflow.train import _Run
from tests.support.backbones import config as model_config
from tests.support.datasets import SIZE, write_frames
from tests.support.detector import batch as detector_batch
from tests.support.detector import detector, stepper
from tests.support.event_files import read_events
from tests.support.frames import LINE, kitti_folder, noise, write_image
from tests.support.networks import tiny_network
from tests.support.services import install

CELL = 4  # pixels of the invented outputs' grid


def prepare(root: Path) -> None:
    """Data, and models to start from, for the specs of this module in `root`."""
    for fold in range(2):
        boxes = {"car": (10.0, 10.0, 60.0, 60.0), "bus": (60.0, 20.0, 120.0, 90.0), "van": (5.0, 5.0, 20.0, 12.0)}
        frames = {f"{fold}{number}": list(boxes.items()) for number in range(3 + fold)}
        write_frames(root / "a", fold, frames)
        write_frames(root / "b", fold, {name: objects[:1] for name, objects in list(frames.items())[:2]})
    for depth in (10, 18):
        graph = build(model_config(num_layers=depth, all_projections=False), (48, 64, 3), 2, seed=depth)
        save_model(root / f"{depth}.tlt", Model(graph, Labels(("car", "bus"))))
    cars = [LINE.format("Car", 1, 2, 30, 22)]
    lines = {"0": cars, "1": [*cars, LINE.format("Bus", 3, 3, 20, 20)], "2": cars, "3": cars * 2, "4": []}
    for name in ("kitti", "other"):
        kitti_folder(root / name, lines if name == "kitti" else {"8": cars, "9": cars})
    for part in ("images", "labels"):
        (root / "kitti" / f"{part}_2").symlink_to(root / "other" / part)
    for number, name in enumerate(("sequences.json", "fewer.json")):
        (root / "kitti" / name).write_text(json.dumps({"a": ["0", "1"], "b": ["2", "3"][number:]}))
    for number in range(4):
        (root / f"{number}.json").write_text(json.dumps(_coco(number)))
        for name in ("train", "val"):
            for row in range(3):
                write_image(root / name / f"{number}{row}.jpg", noise(64, 48))
    write_image(root / "images" / "a.png", noise(64, 48))
    write_image(root / "images" / "b.png", noise(64, 48, seed=1))


def _coco(seed: int) -> dict[str, Any]:
    return {
        "images": [{"id": row, "file_name": f"{seed}{row}.jpg", "width": 64, "height": 48} for row in range(3)],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 20 + seed]}],
    }


def plain(value: Any) -> Any:
    """`value` in a form that == compares."""
    if isinstance(value, (tf.Tensor, tf.Variable)):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Graph):
        return value.nodes, value.outputs, sorted((name, plain(array)) for name, array in value.weights.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return sorted((str(key), plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def frames(spec: Experiment) -> Any:
    return [scan_frames(spec.dataset_config, class_names(spec), split)[0] for split in ("training", "validation")]


def pixels(spec: Experiment) -> Any:
    """An image as the network gets it."""
    table = scan_frames(spec.dataset_config, class_names(spec), "training")[0]
    return load_pixels(table.image(0), ImageLayout.from_spec(spec.augmentation_config.preprocessing), SIZE)


def batch(spec: Experiment) -> Any:
    """The first batch of training."""
    return next(iter(_run(spec)._dataset(0).map(Preparation(spec.augmentation_config))))


def _run(spec: Experiment) -> _Run:
    """A training that has not begun."""
    with status.run("train", None) as log:
        return _Run(TrainOptions(Path(), cache="none"), spec, log, chief=True)


def changes(spec: Experiment) -> Any:
    """Random changes of space and colours."""
    config = spec.augmentation_config
    seeds = [tf.constant([1, number], tf.int64) for number in range(4)]
    space = [augmentation.random_spatial(config.spatial_augmentation, 64, 48, (0, 0), seed) for seed in seeds]
    return space, [augmentation.random_color(config.color_augmentation, seed) for seed in seeds]


def _outputs(count: int = 2) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Invented coverages and boxes: objects of half a dozen cells each, that overlap, and noise."""
    random = np.random.default_rng(7)
    height, width = 48 // CELL, 64 // CELL
    cov = random.uniform(0, 1, (2, count, height, width)).astype(np.float32)
    cov[:, :, ::2] = 0.0
    bbox = random.uniform(0.1, 0.5, (2, 4 * count, height, width)).astype(np.float32)
    return cov, bbox


def detections(spec: Experiment) -> Any:
    """Objects that are found in invented outputs."""
    return detect(*_outputs(), Grid(64, 48, 64 // CELL, 48 // CELL, 35.0, 0.5), evaluation_params(spec))


def evaluated(spec: Experiment) -> Any:
    settings = EvaluationSettings.from_spec(spec)
    truth = np.array([[[4, 4, 30, 30], [20, 10, 60, 40]]] * 2, np.float32)
    ids = np.array([[0, 1]] * 2, np.int32)
    images = np.zeros((2, 48, 64, 3), np.float32)
    found = {"image": images, "boxes": truth, "class_ids": ids, "weight": np.ones(2), "index": np.arange(2)}
    cov, bbox = _outputs()
    cov[:, 0, 3, 3] = cov[:, 1, 5, 9] = 1.0
    bbox[:, :4, 3, 3] = np.float32([0.3, 0.3, 0.5, 0.5])
    result = evaluate(lambda _: (cov, bbox), [found], settings)  # type: ignore[list-item]
    return dataclasses.replace(result, seconds_per_image=None)


def graph(spec: Experiment) -> Any:
    return build(spec.model_config, input_shape(spec), len(class_names(spec)), spec.random_seed)


def start(spec: Experiment) -> Any:
    """What training starts from, and which convolutions stay."""
    found = starting_model(spec, "").graph
    return found, sorted(frozen_layers(spec, found))


def cost(spec: Experiment) -> Any:
    config, random = CostConfig.from_spec(spec.cost_function_config), np.random.default_rng(0)
    shape = (2, 3, 4, len(class_names(spec)))
    maps = [tf.constant(random.uniform(0.01, 0.99, shape), tf.float32) for _ in range(3)]
    boxes = [tf.constant(random.uniform(0, 1, (*shape[:3], 4 * shape[3])), tf.float32) for _ in range(2)]
    components = component_costs(config, maps[0], boxes[0], Targets(maps[1], boxes[1], maps[2]), tf.ones(2))
    weights = config.initial_weights
    if config.autoweighting:
        weights = updated_objective_weights(config, np.float32([[1e-6, 2.0], [3.0, 1e-3]]), weights)
    return components, task_cost(config, components, config.initial_weights), weights


def targets(spec: Experiment) -> Any:
    rasterizer = Rasterizer.from_spec(spec, Grid.from_spec(spec, 64 // CELL, 48 // CELL))
    boxes = tf.constant([[[4, 4, 30, 24], [20, 10, 60, 40], [8, 8, 11, 10]]], tf.float32)
    return rasterizer.batch_targets(boxes, tf.constant([[0, 0, 0]]))


def mask(spec: Experiment) -> Any:
    """What multiplies the cost of cells with a car, a bus, a van and what is not learned in them."""
    grid, apart = Grid.from_spec(spec, 64 // CELL, 48 // CELL), ToldApart.from_spec(spec)
    found, mapping = LossMask.from_spec(spec, grid), spec.dataset_config.target_class_mapping
    if found is None:
        return None
    names = ("car", "bus", "van", "dontcare")
    of_class = [apart.classes.index(mapping[name]) if name in mapping else -1 for name in names]
    own = [
        len(apart.classes) + apart.sources.index(name) if name in apart.sources else class_id
        for name, class_id in zip(names, of_class)
    ]
    boxes = tf.constant([[[0, 0, 20, 8], [8, 20, 16, 40], [40, 4, 60, 20], [36, 30, 60, 44]]], tf.float32)
    cov = np.zeros((1, grid.grid_height, grid.grid_width, len(apart.classes)), np.float32)
    cov[:, 1:4, 1:3] = cov[:, 8:9, 10:12] = 0.5
    return found(boxes, tf.constant([own], tf.int32), tf.constant(cov))


def watched(spec: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is shown of two epochs of twenty steps: event files, and the calls of the services' packages."""
    calls = install(monkeypatch, "wandb", "clearml")
    monkeypatch.setattr(trackers.time, "strftime", lambda _: "now")
    monkeypatch.setattr(watching, "predictor", lambda _: lambda images: [one[: len(images)] for one in _outputs()])
    step = stepper(detector(), spec.training_config)
    frames = scan_frames(spec.dataset_config, class_names(spec), "validation")[0]
    public, secrets = watching.without_secrets(spec)
    with watching.make_watch(public, folder, step, frames, secrets, chief=True) as watch:
        for epoch in range(1, 3):
            for number in range(20 * (epoch - 1), 20 * epoch):
                watch.stepped(number + 1, 20, StepResult(1.0, np.ones((2, 2), np.float32)), 1e-3)
            watch.epoch_ended(epoch, 3, 20 * epoch, 10.0, 0.5)
    # The settings that a service shows are the spec itself; the folder of results is another one each time.
    noted = [(name, args, {**named, "config": None, "dir": None}) for name, args, named in calls if "log" not in name]
    reported = [named.get("step", named.get("iteration")) for name, _, named in calls if "log" in name]
    elsewhere = [named["dir"] for _, _, named in calls if named.get("dir") not in (None, str(folder))]
    keys = [named for name, _, named in calls if name == "wandb.login"]
    return noted, reported, elsewhere, keys, read_events(folder / "events")


def rates(spec: Experiment) -> Any:
    """The learning rates of a training that does not improve, until it stops."""
    epochs, steps = spec.training_config.num_epochs, 5
    schedule, found = from_spec(spec.training_config.learning_rate, epochs, steps), list[float]()
    for epoch in range(epochs):
        found += [schedule.rate(epoch * steps + step) for step in range(steps)]
        schedule.observe(1.0, epoch + 1, (epoch + 1) * steps)
        if schedule.stopped:
            break
    return found


def weights(spec: Experiment) -> Any:
    """Those of a small detector after two steps."""
    tf.config.run_functions_eagerly(True)  # tracing takes longer
    try:
        step = stepper(detector(), spec.training_config)
        losses = [step(detector_batch(size=1, seed=seed), 1e-2).loss for seed in range(2)]
    finally:
        tf.config.run_functions_eagerly(False)
    return losses, step.network.read()


def plan(spec: Experiment) -> Any:
    shape = _run(spec)._plan("float32")
    numbers = {name: value for name, value in vars(shape).items() if not isinstance(value, str)}
    return numbers, [shape.validates(epoch) for epoch in range(1, 10)]


def precision(spec: Experiment) -> Any:
    return of_training(spec, None, 1, tf.distribute.get_strategy(), lambda: "mixed")


def network(spec: Experiment) -> Any:
    plan = place(tiny_network(), "tensorrt")
    model = Model(tiny_network(), Labels(("car", "bus")), dict.fromkeys(plan.activations, 1.0), plan)
    return type(build_network(model, spec, TrainOptions(Path()), "float32", ())).__name__


def meaning(spec: Experiment) -> Any:
    """What the outputs mean."""
    return Labels.from_spec(spec)


def records(spec: DatasetExportConfig, folder: Path) -> Any:
    """What `dataset_convert` writes."""
    folder.mkdir()
    convert(spec, folder / "part", validation_fold=0)
    return _contents(folder)


def _contents(folder: Path) -> list[tuple[str, str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "status.json")
    return [(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


class Invented:
    """An engine with two classes; opened: with what it was opened."""

    name, precision = "invented", "fp32"

    def __init__(self, labels: Labels | None) -> None:
        self.info = ModelInfo((48, 64, 3), labels or Labels.unnamed(2))
        self.sizes: list[int] = []

    def predict(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.sizes.append(len(images))
        cov, bbox = _outputs()
        return cov[: len(images)], bbox[: len(images)]


def inferred(spec: Any, root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `inference` opens, runs and writes."""
    seen: list[Any] = []

    def opened(path: Path, *_: Any, labels: Labels | None, **__: Any) -> Invented:
        engine = Invented(labels)
        seen.extend([str(path), engine.sizes])
        return engine

    monkeypatch.setattr(inference, "open_engine", opened)
    folder.mkdir()
    (folder / "spec.txt").write_text(to_text(spec))
    inference.run_inference(folder / "spec.txt", root / "images", folder / "out")
    return seen, _contents(folder / "out")


def of(observe: Callable[..., Any], *arguments: Any) -> Any:
    """What is observed; an error is one too."""
    try:
        return plain(observe(*arguments))
    except QatkitError as error:
        return f"{type(error).__name__}: {error}"


def same(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)
