from __future__ import annotations

import json
from typing import Any

import pytest
import tensorflow as tf

from qatkit.errors import EnvironmentProblem, UsageError
from qatkit.training.devices import check_same_step, is_chief, strategy


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """Let TensorFlow see this many GPUs; strategies say how they were made instead of starting."""
    count = request.param
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * count if kind == "GPU" else [])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: ("mirrored", devices))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: ("several machines",))
    return count


@pytest.mark.parametrize(
    "gpus, wanted, message",
    [
        (0, 2, "--gpus 2: this machine has 0"),
        (1, 2, "--gpus 2: this machine has 1"),
        (4, 8, "--gpus 8: this machine has 4"),
    ],
    indirect=["gpus"],
)
def test_more_gpus_than_there_are(gpus: int, wanted: int, message: str) -> None:
    with pytest.raises(EnvironmentProblem, match=message):
        strategy(wanted)


@pytest.mark.parametrize("wanted", [0, -1])
@pytest.mark.parametrize("gpus", [0, 2], indirect=True)
def test_no_gpus_asked_for(gpus: int, wanted: int) -> None:
    with pytest.raises(UsageError, match=f"--gpus must be at least 1, found {wanted}"):
        strategy(wanted)


@pytest.mark.parametrize("gpus, line", [(0, "No GPU found: training on the CPU.\n"), (1, "")], indirect=["gpus"])
def test_one_device_needs_no_distribution(gpus: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert strategy(1).num_replicas_in_sync == 1
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("gpus", [4], indirect=True)
def test_several_gpus(gpus: int) -> None:
    found: Any = strategy(2)
    assert found == ("mirrored", ["GPU:0", "GPU:1"])


@pytest.mark.parametrize("gpus", [0, 1], indirect=True)
def test_several_machines(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    found: Any = strategy(1)
    assert found == ("several machines",)


CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


@pytest.mark.parametrize(
    "config, chief",
    [
        (None, True),
        ({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}, True),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 0}}, False),
        ({"cluster": {"worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 0}}, True),
        ({"cluster": {"worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": "1"}}, False),
    ],
)
def test_one_process_writes(config: Any, chief: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(config) if config else "")
    assert is_chief() is chief


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cluster": {}, "task": {"type": "worker"}}', '{"task": 1}'])
def test_a_config_that_makes_no_sense(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(EnvironmentProblem, match="TF_CONFIG"):
        is_chief()


def test_a_single_process_agrees_with_itself() -> None:
    check_same_step(tf.distribute.get_strategy(), 7)
