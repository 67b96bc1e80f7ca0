"""`prune` from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import EnvironmentProblem, ModelError, QatkitError, UsageError
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.pruning.prune import PruneOptions
from qatkit.quantization.placement import place
from qatkit.workflow.prune import prune_model
from tests.support.networks import tiny_network

OPTIONS = PruneOptions(threshold=0.95, granularity=1, min_num_filters=2)
MODEL = Model(
    tiny_network(),
    Labels(("person", "bag"), box_scale=20.0),
    ranges={"input_1": 1.0, "activation_3": 2.5},
    plan=place(tiny_network()),
    spec_text="spec",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.tlt"
    save_model(path, MODEL)
    return path


def test_the_pruned_model_keeps_what_is_known_about_it(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "pruned"
    result = prune_model(source, output, OPTIONS)
    found = open_model(output)
    assert found.graph.params == result.graph.params < MODEL.graph.params
    assert (found.labels, found.spec_text) == (MODEL.labels, "spec")
    assert (found.ranges, found.plan, found.pruned) == (MODEL.ranges, MODEL.plan, True)
    assert [node.name for node in found.graph.nodes] == [node.name for node in MODEL.graph.nodes]
    # Exactly the name that was asked for, and nothing beside it.
    assert [path.name for path in output.parent.iterdir()] == ["pruned"]


def test_the_key_of_the_model_is_the_key_of_the_pruned_one(tmp_path: Path) -> None:
    source, output = tmp_path / "model.tlt", tmp_path / "pruned.tlt"
    save_model(source, MODEL, "secret")
    prune_model(source, output, OPTIONS, key="secret")
    assert open_model(output, "secret").pruned
    with pytest.raises(ModelError, match="encrypted"):
        open_model(output)


def test_status(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "pruned.tlt"
    result = prune_model(source, output, OPTIONS, results_dir=tmp_path / "results")
    lines = [json.loads(line) for line in (tmp_path / "results" / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", "SUCCESS"]
    assert lines[1]["kpi"] == {
        "pruning_ratio": result.params_ratio,
        "macs_ratio": result.macs_ratio,
        "size": output.stat().st_size / 2**20,
        "param_count": result.graph.params / 1e6,
    }


@pytest.mark.parametrize(
    "name, target, error, message",
    [
        ("folder", None, EnvironmentProblem, "folder: this is a folder"),
        ("pruned.tlt", 0.001, UsageError, "pruning stops at"),
    ],
)
def test_failures_are_in_the_status_and_write_nothing(
    source: Path, tmp_path: Path, name: str, target: float | None, error: type[QatkitError], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=message):
        prune_model(source, tmp_path / name, OPTIONS, target_ratio=target, results_dir=tmp_path / "results")
    last = json.loads((tmp_path / "results" / "status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE" and message in last["message"]
    assert not (tmp_path / "pruned.tlt").exists()


def test_target_ratio(source: Path, tmp_path: Path) -> None:
    result = prune_model(source, tmp_path / "pruned.tlt", OPTIONS, target_ratio=0.6)
    assert result.params_ratio <= 0.6
    assert open_model(tmp_path / "pruned.tlt").graph.params == result.graph.params


def test_a_model_that_stays_whole_is_warned_about(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune_model(source, tmp_path / "pruned.tlt", PruneOptions())
    assert "no filter was removed" in capsys.readouterr().err
