"""Who watches a training: event files, services, the curve in the results folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qatkit.dataset.frames import FrameTable
from qatkit.engine.keras import predictor
from qatkit.keras.step import Stepper
from qatkit.report.curve import write_curve
from qatkit.report.validation_images import ValidationImages
from qatkit.spec import Experiment, class_names, to_json
from qatkit.training.watch.events import EventFiles
from qatkit.training.watch.sinks import Guarded, Sink
from qatkit.training.watch.trackers import trackers
from qatkit.training.watch.watch import Times, Watch


@dataclass(frozen=True)
class Secrets:
    """What a spec holds that belongs into no file: neither into the results nor into a model."""

    wandb_key: str = ""


NO_SECRETS = Secrets()


def without_secrets(spec: Experiment) -> tuple[Experiment, Secrets]:
    """A copy of `spec` without them, and them."""
    public = Experiment()
    public.CopyFrom(spec)
    visualizer = public.training_config.visualizer
    if not visualizer.HasField("wandb_config"):
        return public, Secrets()
    secrets = Secrets(visualizer.wandb_config.key)
    visualizer.wandb_config.ClearField("key")
    return public, secrets


def make_watch(
    spec: Experiment, results: Path, stepper: Stepper, frames: FrameTable, secrets: Secrets, *, chief: bool
) -> Watch:
    """What the visualizer of `spec` asks for. frames: of validation. chief: whether this process writes."""
    config = spec.training_config.visualizer
    sinks: list[Sink] = []
    if config.enabled:
        sinks.append(Guarded("TensorBoard", EventFiles(results / "events" if chief else None)))
    if chief:
        sinks += trackers(config, results, to_json(spec), secrets.wandb_key)
    images = None
    if config.enabled and config.num_images:
        images = ValidationImages(spec, frames, predictor(stepper.network.model))
    curve = partial(write_curve, results) if chief else None
    return Watch(stepper, class_names(spec), sinks, Times.from_spec(config), images=images, curve=curve)
