"""Weights & Biases and ClearML, with stand-ins for their packages: which calls are made, and what errors cost."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qatkit.spec import ClearMLConfig, VisualizerConfig, WandBConfig
from qatkit.training.watch import trackers as module
from qatkit.training.watch.sinks import Sink
from qatkit.training.watch.trackers import trackers
from tests.support.services import install

IMAGES = np.zeros((2, 4, 6, 3), np.uint8)
PATH = "training_config.visualizer"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "strftime", lambda _: "now")


def opened(config: VisualizerConfig, key: str = "") -> list[Sink]:
    return list(trackers(config, Path("results"), {"random_seed": 42}, key))


def test_nothing_is_opened_that_the_spec_does_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, "wandb", "clearml")
    assert opened(VisualizerConfig(enabled=True)) == []
    assert calls == []


def test_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, "wandb")
    config = WandBConfig(project="p", entity="e", name="n", notes="seen", reinit=True, mode=WandBConfig.OFFLINE)
    (sink,) = opened(VisualizerConfig(wandb_config=config), key="secret")
    settings = {"project": "p", "entity": "e", "name": "n_now", "tags": ["tao-toolkit", "training"], "notes": "seen"}
    settings |= {"dir": "results", "mode": "offline", "config": {"random_seed": 42}, "reinit": True}
    assert calls == [("wandb.login", (), {"key": "secret"}), ("wandb.init", (), settings)]
    calls.clear()
    sink.scalars({"cost": 0.5}, 3)
    sink.histograms({"weights": np.arange(4, dtype=np.float32)}, 3)
    sink.images("image", IMAGES, 3)
    sink.close(failed=True)
    assert calls[0] == ("wandb.init.log", ({"cost": 0.5},), {"step": 3})
    assert [name for name, _, _ in calls[1:]] == [
        *("wandb.Histogram", "wandb.init.log", "wandb.Image", "wandb.Image", "wandb.init.log", "wandb.init.finish")
    ]
    assert calls[1][2]["np_histogram"][0].sum() == 4
    assert calls[-1][2] == {"exit_code": 1}


def test_wandb_without_anything_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in TAO the block alone switches it on."""
    calls = install(monkeypatch, "wandb")
    assert len(opened(VisualizerConfig(wandb_config=WandBConfig()))) == 1
    settings = {"project": None, "entity": None, "name": "train_now", "tags": ["tao-toolkit", "training"]}
    settings |= {"notes": None, "dir": "results", "mode": "online", "config": {"random_seed": 42}}
    assert calls == [("wandb.init", (), settings)]


@pytest.mark.parametrize("config", [WandBConfig(enabled=False), WandBConfig(mode=WandBConfig.DISABLED)])
def test_wandb_switched_off(config: WandBConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, "wandb")
    assert opened(VisualizerConfig(wandb_config=config)) == []
    assert calls == []


def test_clearml(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, "clearml")
    config = ClearMLConfig(project="p", task="t", tags=["a"], deferred_init=True)
    (sink,) = opened(VisualizerConfig(clearml_config=config))
    settings = {"project_name": "p", "task_name": "t_now", "tags": ["a"], "reuse_last_task_id": False}
    settings |= {"continue_last_task": False, "deferred_init": True, "auto_connect_frameworks": False}
    assert calls == [("clearml.Task.init", (), settings), ("clearml.Task.init.get_logger", (), {})]
    calls.clear()
    sink.scalars({"cost": 0.5}, 3)
    sink.histograms({"weights": np.arange(4, dtype=np.float32)}, 3)
    sink.images("image", IMAGES, 3)
    sink.close(failed=False)
    assert calls[0][2] == {"title": "cost", "series": "cost", "value": 0.5, "iteration": 3}
    assert sum(calls[1][2]["values"]) == 4
    assert [named["series"] for name, _, named in calls if name.endswith("report_image")] == ["0", "1"]
    assert calls[-1][0] == "clearml.Task.init.close"
    assert not any(name.endswith("mark_failed") for name, _, _ in calls)


def test_a_task_of_a_training_that_failed_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, "clearml")
    (sink,) = opened(VisualizerConfig(clearml_config=ClearMLConfig()))
    sink.close(failed=True)
    assert [name.rpartition(".")[2] for name, _, _ in calls[-2:]] == ["mark_failed", "close"]


@pytest.mark.parametrize(
    "config, block, package, name",
    [
        (VisualizerConfig(wandb_config=WandBConfig()), "wandb_config", "wandb", "Weights & Biases"),
        (VisualizerConfig(clearml_config=ClearMLConfig()), "clearml_config", "clearml", "ClearML"),
    ],
)
def test_a_package_that_is_missing_costs_one_line(
    config: VisualizerConfig,
    block: str,
    package: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert opened(config) == []
    assert capsys.readouterr().err == (
        f"warning: {PATH}.{block}: {package} is not installed here (pip install 'qatkit[{package}]'); training goes "
        f"on, and {name} sees nothing of it\n"
    )


def refusing(*arguments: object, **named: object) -> None:
    raise RuntimeError("no network\nmany lines")


def test_a_service_that_cannot_be_reached_costs_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = ModuleType("wandb")
    package.init = refusing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", package)
    assert opened(VisualizerConfig(wandb_config=WandBConfig())) == []
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {PATH}.wandb_config: failed (RuntimeError); training goes on")
    assert told.count("\n") == 1


def test_a_service_that_goes_away_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = install(monkeypatch, "wandb")
    (sink,) = opened(VisualizerConfig(wandb_config=WandBConfig()))
    calls.clear()
    monkeypatch.setattr("qatkit.training.watch.trackers.WeightsAndBiases.scalars", refusing)
    for step in range(3):
        sink.scalars({"cost": 1.0}, step)
    sink.close(failed=False)
    assert capsys.readouterr().err == (
        f"warning: {PATH}.wandb_config: failed (RuntimeError); training goes on without it\n"
    )
    assert calls == []
