"""Which channels stay together."""

from __future__ import annotations

import pytest

from qatkit.graph.build import build
from qatkit.pruning.channels import Segment, group_channels
from qatkit.spec import ModelConfig
from tests.support.networks import tiny_network


def members(layer: str, excluded: tuple[str, ...] = ()) -> list[str]:
    """The layers that must keep the same channels as `layer`."""
    groups = group_channels(tiny_network(), excluded)
    (segment,) = groups.rows[layer]
    return [member.layer for member in groups.members[segment.group]]


@pytest.mark.parametrize(
    "layer, together",
    [("conv1", ["conv1"]), ("a", ["a"]), ("b", ["b", "shortcut"]), ("activation_3", ["b", "shortcut"])],
)
def test_members(layer: str, together: list[str]) -> None:
    assert members(layer) == together


def test_layers_without_weights_hand_channels_on() -> None:
    groups = group_channels(tiny_network())
    assert groups.rows["conv1"] == groups.rows["bn_conv1"] == groups.rows["activation_1"]
    assert [segment.size for segment in groups.rows["a"]] == [16]


def test_fixed_channels_and_why() -> None:
    groups = group_channels(tiny_network(), ("shortcut",))

    def reason(node: str) -> str | None:
        (segment,) = groups.rows[node]
        return groups.fixed.get(segment.group)

    assert reason("input_1") == "the image's channels"
    assert reason("output_cov") == "output output_cov/Sigmoid"
    assert reason("b") == reason("shortcut") == "excluded shortcut"
    assert reason("a") is None


@pytest.mark.parametrize(
    "all_projections, together",
    [
        (False, {"block_1a_conv_2", "block_1a_conv_shortcut", "block_1b_conv_2", "block_1c_conv_2"}),
        (True, {"block_1a_conv_2", "block_1a_conv_shortcut"}),
    ],
)
def test_a_stage_of_a_resnet(all_projections: bool, together: set[str]) -> None:
    """Identity shortcuts add all blocks of a stage up; projections give every block channels of its own."""
    config = ModelConfig(arch="resnet", num_layers=34, use_batch_norm=True, all_projections=all_projections)
    groups = group_channels(build(config, (64, 64, 3), 1, seed=0))
    (segment,) = groups.rows["block_1a_relu"]
    assert segment == Segment(segment.group, 64)
    assert {member.layer for member in groups.members[segment.group]} == together
