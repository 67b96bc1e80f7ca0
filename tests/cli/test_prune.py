"""The flags of `qatkit prune`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qatkit.cli import main
from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.pruning.prune import PruneOptions, prune
from tests.support.networks import Net, tiny_network


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Names of a model and of the pruned model to make."""
    source = tmp_path / "model.tlt"
    save_model(source, Model(tiny_network(), Labels(("person", "bag"))))
    return str(source), str(tmp_path / "pruned.tlt")


def run(files: tuple[str, str], *flags: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["prune", "-m", files[0], "-o", files[1], *flags])
    assert isinstance(left.value.code, int)
    return left.value.code


SMALL = ("-pg", "1", "-nf", "2")


def filters(files: tuple[str, str], layer: str) -> int:
    return open_model(Path(files[1])).graph.shape(layer)[2]


def test_report(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, *SMALL, "-pth", "0.9", "-v") == 0
    out = capsys.readouterr().out
    graph, before = open_model(Path(files[1])).graph, tiny_network()
    assert f"Pruning ratio (pruned model / original model): {graph.params / before.params}" in out
    assert f"Multiply-adds (pruned model / original model): {graph.macs / before.macs}" in out
    assert f"16 -> {graph.shape('a')[2]}" in out
    assert "output_bbox keeps 0 1 2 3 4 5 6 7" in out


@pytest.mark.parametrize(
    "flags",
    [
        ("-n", "L2", "-eq", "intersection", "-pth", "1.1"),
        ("--normalizer", "L2", "--equalization_criterion=intersection", "--pruning_threshold", "1.1"),
        ("-nL2", "-eq=intersection", "-pth=1.1"),
    ],
)
def test_spellings_of_flags(files: tuple[str, str], flags: tuple[str, ...]) -> None:
    assert run(files, *SMALL, *flags) == 0
    options = PruneOptions("L2", "intersection", granularity=1, min_num_filters=2, threshold=1.1)
    assert open_model(Path(files[1])).graph.nodes == prune(tiny_network(), options).graph.nodes


@pytest.mark.parametrize(
    "flags",
    [
        ("-el", "a", "conv1"),
        ("-el", "a", "-el", "conv1"),
        ("--excluded_layers", "conv1", "a", "-n", "max"),
        ("-el", "conv1", "--excluded_layers", "a"),
    ],
)
def test_excluded_layers_come_after_one_flag_or_several(files: tuple[str, str], flags: tuple[str, ...]) -> None:
    assert run(files, *SMALL, "-pth", "0.99", *flags) == 0
    assert (filters(files, "conv1"), filters(files, "a")) == (8, 16)
    assert filters(files, "b") < 8


def test_no_excluded_layer_after_the_flag(files: tuple[str, str]) -> None:
    assert run(files, "-el", *SMALL, "-pth", "0.99") == 0
    assert filters(files, "a") < 16


def test_target_ratio(files: tuple[str, str]) -> None:
    assert run(files, *SMALL, "--target_ratio", "0.5") == 0
    assert open_model(Path(files[1])).graph.params <= tiny_network().params / 2


UNEVEN = "Channels that are no multiple of 32"


@pytest.mark.parametrize(
    "flags, counts",
    [
        pytest.param(("-pth", "0"), "", id="nothing pruned"),
        pytest.param(("-nf", "8"), "64 filters, in 2 of 2 pruned layers", id="56 and 8"),
        pytest.param(("-nf", "32"), "56 filters, in 1 of 2 pruned layers", id="56 and 32"),
        pytest.param(
            ("-nf", "8", "-el", "a"), "8 filters, in 1 of 1 pruned layers", id="8, and 120 that had to stay"
        ),
        pytest.param(("-pg", "32", "-nf", "8"), "", id="64 and 32"),
    ],
)
def test_channels_that_are_no_multiple_of_32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], counts: str
) -> None:
    """Of 120 filters of `a` 50 are strong, of 96 of `b` 2."""
    net = Net()
    net.heads(net.conv("b", net.relu("a_relu", net.conv("a", net.input, 120)), 96), classes=1)
    graph = net.graph()
    for name, strong in (("a", 50), ("b", 2)):
        graph.weights[f"{name}/kernel"][..., strong:] *= np.float32(1e-3)
    save_model(tmp_path / "model.tlt", Model(graph, Labels(("person",))))
    assert run((str(tmp_path / "model.tlt"), str(tmp_path / "pruned.tlt")), *flags) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if UNEVEN in line]
    assert lines == ([f"{UNEVEN}: {counts}; for INT8 on a GPU: -pg 32"] if counts else [])


@pytest.mark.parametrize(
    "flags, code, message",
    [
        (("-el", "conv2"), 2, "do you mean conv1?"),
        (("-pth", "0.2", "--target_ratio", "0.5"), 2, "exclude each other"),
        (("-pg", "0"), 2, "not in the range"),
        (("-n", "L1"), 2, "'L1' is not one of"),
        (("-pth", "high"), 2, "is not a valid float"),
    ],
)
def test_wrong_flags(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], code: int, message: str
) -> None:
    assert run(files, *flags) == code
    assert message in capsys.readouterr().err
    assert not Path(files[1]).exists()


def test_missing_model(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run((files[0] + "x", files[1])) == 4
    assert "there is no such model file" in capsys.readouterr().err
