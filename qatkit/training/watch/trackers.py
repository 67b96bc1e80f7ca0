"""Weights & Biases and ClearML: a training shown there (`wandb_config`, `clearml_config` of the visualizer).

As in TAO the presence of a block switches it on, whether the visualizer is enabled or not. A service that is not
installed, or that cannot be reached, costs a warning and not the training.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.console import warn
from qatkit.errors import EnvironmentProblem
from qatkit.spec import ClearMLConfig, VisualizerConfig, WandBConfig
from qatkit.spec.defaults import wandb_is_on
from qatkit.training.watch.sinks import Guarded, Sink, reason

_TAGS = ("tao-toolkit", "training")  # TAO's


class WeightsAndBiases:
    """A run of W&B. Raises EnvironmentProblem where its package is not installed."""

    def __init__(self, config: WandBConfig, results: Path, settings: Mapping[str, Any], key: str = "") -> None:
        """settings: the spec, which the run shows. key: of the account; "" = WANDB_API_KEY or `wandb login`."""
        self._wandb = _installed("wandb")
        if key:
            self._wandb.login(key=key)
        self._run = self._wandb.init(
            project=config.project or None,
            entity=config.entity or None,
            name=_at_this_time(config.name or "train"),
            tags=list(config.tags or _TAGS),
            notes=config.notes or None,
            dir=config.wandb_dir or str(results),
            mode=WandBConfig.MODE.Name(config.mode).lower(),
            config=dict(settings),
            **({"reinit": True} if config.reinit else {}),
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def histograms(self, values: Mapping[str, NDArray[np.float32]], step: int) -> None:
        shown = {name: self._wandb.Histogram(np_histogram=np.histogram(value)) for name, value in values.items()}
        self._run.log(shown, step=step)

    def images(self, name: str, images: NDArray[np.uint8], step: int) -> None:
        self._run.log({name: [self._wandb.Image(image) for image in images]}, step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class ClearML:
    """A task of ClearML. Raises EnvironmentProblem where its package is not installed."""

    def __init__(self, config: ClearMLConfig) -> None:
        self._task = _installed("clearml").Task.init(
            project_name=config.project or "qatkit",
            task_name=_at_this_time(config.task or "detectnet_v2_train"),
            tags=list(config.tags) or None,
            reuse_last_task_id=config.reuse_last_task_id,
            continue_last_task=config.continue_last_task,
            deferred_init=config.deferred_init,
            auto_connect_frameworks=False,  # it would take everything from the event files a second time
        )
        self._logger = self._task.get_logger()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._logger.report_scalar(title=name, series=name, value=value, iteration=step)

    def histograms(self, values: Mapping[str, NDArray[np.float32]], step: int) -> None:
        for name, value in values.items():
            counts, edges = np.histogram(value)
            labels = [f"{edge:.3g}" for edge in edges[:-1]]
            self._logger.report_histogram(
                title=name, series=name, values=counts.tolist(), iteration=step, xlabels=labels
            )

    def images(self, name: str, images: NDArray[np.uint8], step: int) -> None:
        for number, image in enumerate(images):
            self._logger.report_image(title=name, series=str(number), iteration=step, image=image)

    def close(self, *, failed: bool) -> None:
        if failed:
            self._task.mark_failed()
        self._task.close()


def trackers(config: VisualizerConfig, results: Path, settings: Mapping[str, Any], key: str = "") -> Iterator[Sink]:
    """The services that a spec asks for and that are there; a warning for each that is not."""
    wandb = config.wandb_config
    if config.HasField("wandb_config") and wandb_is_on(wandb):
        yield from _opened(
            "wandb_config", "Weights & Biases", lambda: WeightsAndBiases(wandb, results, settings, key)
        )
    if config.HasField("clearml_config"):
        yield from _opened("clearml_config", "ClearML", lambda: ClearML(config.clearml_config))


def _opened(block: str, name: str, make: Callable[[], Sink]) -> Iterator[Sink]:
    path = f"training_config.visualizer.{block}"
    try:
        yield Guarded(path, make())
    except Exception as error:  # whatever a library for the network may raise
        warn(f"{path}: {reason(error)}; training goes on, and {name} sees nothing of it")


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EnvironmentProblem(f"{module} is not installed here", hint=f"pip install 'qatkit[{module}]'") from error


def _at_this_time(name: str) -> str:
    """As TAO has it: runs of one spec are told apart."""
    return f"{name}_{time.strftime('%Y%m%d_%H%M%S')}"
