"""What a training starts from, and what of it is frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import Labels
from qatkit.errors import SpecError
from qatkit.graph.build import BBOX, build
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import BatchNorm, Node
from qatkit.keras.cost import CostConfig
from qatkit.keras.fake_quant import to_fake_quantized
from qatkit.keras.rasterizer import Rasterizer
from qatkit.keras.step import Stepper
from qatkit.model.file import Model, read_tlt, save_model
from qatkit.pruning.prune import PruneOptions, prune
from qatkit.quantization.placement import Placement, place
from qatkit.spec import Experiment, ModelConfig
from qatkit.spec.defaults import resolve_experiment
from qatkit.training.network import trained_model
from qatkit.training.options import TrainOptions
from qatkit.training.start import Identity, frozen_layers, starting_model, with_frozen_statistics
from tests.support.networks import tiny_network
from tests.support.specs import EXPERIMENT, edited

SHAPE = (48, 64, 3)
STATISTICS = {"mean", "variance"}


def network(arch: str, depth: int = 0, *, batch_norm: bool = True, pruned: bool = False) -> Graph:
    config = ModelConfig(arch=arch, num_layers=depth, use_batch_norm=batch_norm)
    graph = build(config, SHAPE, 1, seed=0)
    return prune(graph, PruneOptions(min_num_filters=8), target_ratio=0.5).graph if pruned else graph


def spec_for(model: Path, *edits: str) -> Experiment:
    loads = ("model_config.load_graph = true", f'model_config.pretrained_model_file = "{model}"')
    return edited(Experiment, EXPERIMENT, *loads, *edits)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A pruned ResNet10 that was trained before."""
    path = tmp_path / "pruned.tlt"
    save_model(path, Model(network("resnet", 10, pruned=True), Labels(("car",)), pruned=True))
    return path


@pytest.mark.parametrize(
    "arch, depth, block, layers",
    [
        ("resnet", 10, 0, {"conv1"}),
        ("resnet", 10, 4, {"block_4a_conv_1", "block_4a_conv_2", "block_4a_conv_shortcut"}),
        ("vgg", 16, 1, {"block_1a_conv_1", "block_1b_conv_1"}),
        ("darknet", 19, 1, {"b1_conv1"}),
        ("mobilenet_v2", 0, 2, {"block_1_expand", "block_1_depthwise", "block_1_project"}),
        ("squeezenet", 0, 0, {"conv1"}),
    ],
)
def test_the_loaded_network_tells_its_blocks(arch: str, depth: int, block: int, layers: set[str]) -> None:
    """Whatever the spec's arch says, and after pruning."""
    spec = spec_for(Path("model.tlt"), f"model_config.freeze_blocks = {block}", 'model_config.arch = "googlenet"')
    for pruned in (False, True):
        assert frozen_layers(spec, network(arch, depth, pruned=pruned)) == layers


@pytest.mark.parametrize("load_graph", [False, True])
def test_nothing_is_frozen_unless_the_spec_says_so(load_graph: bool) -> None:
    spec = edited(Experiment, EXPERIMENT, f"model_config.load_graph = {str(load_graph).lower()}")
    assert frozen_layers(spec, network("resnet", 10)) == set()


@pytest.mark.parametrize("freeze", [False, True])
def test_freeze_bn_holds_for_a_loaded_network(saved: Path, freeze: bool) -> None:
    graph = starting_model(spec_for(saved, f"model_config.freeze_bn = {str(freeze).lower()}"), "").graph
    norms = [node for node in graph.nodes if isinstance(node, BatchNorm)]
    assert norms and all(norm.frozen == freeze for norm in norms)


@pytest.mark.parametrize("load_graph", [True, False])
def test_variables_in_the_name_of_the_model(saved: Path, load_graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_for(Path("$MODELS/pruned.tlt"), f"model_config.load_graph = {str(load_graph).lower()}")
    if not load_graph:
        saved = saved.with_name("whole.tlt")
        save_model(saved, Model(network("resnet", 10), Labels(("car",))))
        spec.model_config.pretrained_model_file = "${MODELS}/whole.tlt"
        spec.model_config.num_layers, spec.model_config.use_batch_norm = 10, True
    monkeypatch.delenv("MODELS", raising=False)
    with pytest.raises(SpecError, match=r"\$MODELS is not set"):
        starting_model(spec, "")
    monkeypatch.setenv("MODELS", str(saved.parent))
    graph = starting_model(spec, "").graph
    assert np.array_equal(graph.weight("conv1", "kernel"), read_tlt(saved).graph.weight("conv1", "kernel"))
    identity = Identity(spec, TrainOptions(saved.parent), 1, 1)
    assert identity.fingerprint("float32") != identity.fingerprint("mixed")


@pytest.mark.parametrize(
    "edits, expected",
    [
        ((), ""),
        (("model_config.freeze_blocks = 0", "model_config.freeze_bn = true"), ""),
        (
            ("model_config.freeze_blocks = 7",),
            "model_config.freeze_blocks: resnet10_nopool_bn_detectnet_v2 has no 7; its blocks are 0, 1, 2, 3, 4",
        ),
    ],
)
def test_blocks_that_a_loaded_network_lacks(
    saved: Path, edits: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    starting_model(spec_for(saved, *edits), "")
    assert expected in " ".join(capsys.readouterr().err.split())
    starting_model(spec_for(saved), "")
    assert capsys.readouterr().err == ""


def test_a_network_stays_frozen_and_says_so(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = read_tlt(saved)
    save_model(saved, replace(model, graph=with_frozen_statistics(model.graph)))
    graph = starting_model(spec_for(saved), "").graph
    assert all(node.frozen for node in graph.nodes if isinstance(node, BatchNorm))
    assert "Batch norms keep their statistics" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arch, expected",
    [("resnet", ""), ("vgg", "model_config.arch is vgg, but"), ("", ""), ("mobilenet_v2", "a resnet;")],
)
def test_arch_is_compared_with_the_loaded_network(
    saved: Path, arch: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    starting_model(spec_for(saved, f'model_config.arch = "{arch}"'), "")
    told = " ".join(capsys.readouterr().err.split())
    assert expected in told and bool(expected) == bool(told)


def test_a_network_without_blocks_or_batch_norm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.tlt"
    tiny = tiny_network(classes=1)
    bare = Graph(tiny.name, tuple(_without_norms(tiny)), tiny.weights, tiny.outputs)
    save_model(path, Model(bare, Labels(("car",))))
    size = ("augmentation_config.preprocessing.output_image_width = 24",)
    size += ("augmentation_config.preprocessing.output_image_height = 16",)
    frozen = ("model_config.freeze_blocks = 1", "model_config.freeze_bn = true")
    starting_model(spec_for(path, *size, *frozen), "")
    told = " ".join(capsys.readouterr().err.split())
    assert "tiny_detectnet_v2 has no 1; its layers are those of no backbone with blocks" in told
    assert "tiny.tlt has no batch norm" in told


def _without_norms(graph: Graph) -> list[Node]:
    skipped = {node.name: node.inputs[0] for node in graph.nodes if isinstance(node, BatchNorm)}
    return [
        replace(node, inputs=tuple(skipped.get(name, name) for name in node.inputs))
        for node in graph.nodes
        if node.name not in skipped
    ]


@pytest.mark.parametrize("placement", ["tensorrt", "tao"])
@pytest.mark.parametrize("batch_norm", [True, False])  # without, no batch norm takes the shift of a bias
def test_quantization_aware_training_moves_nothing_that_is_frozen(
    placement: Placement, batch_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in its steps nor when biases are rounded at the end."""
    monkeypatch.setattr("qatkit.keras.step.tf.function", lambda function, **_: function)  # tracing takes longer
    spec = spec_for(Path("model.tlt"), "training_config.enable_qat = true")
    spec.model_config.freeze_blocks.extend([0, 1])
    graph = with_frozen_statistics(network("resnet", 10, batch_norm=batch_norm, pruned=True))
    biases = {name: array + 0.123 for name, array in graph.weights.items() if name.endswith("/bias")}
    graph = graph.with_weights({**graph.weights, **biases})
    plan = place(graph, placement)
    net = to_fake_quantized(graph, plan, dict.fromkeys(plan.activations, 1.0))
    height, width, _ = graph.shape(BBOX)
    step = Stepper(
        net,
        Rasterizer.from_spec(spec, Grid.from_spec(spec, width, height)),
        CostConfig.from_spec(spec.cost_function_config),
        spec.training_config,
        tf.distribute.get_strategy(),
        frozen_layers(spec, graph),
    )
    for seed in range(2):
        step(batch(seed), 1e-3)
    trained = trained_model(net, Model(graph, Labels(("car",))), spec)
    same = {name for name, array in graph.weights.items() if np.array_equal(array, trained.graph.weights[name])}
    blocks = {name for name in graph.weights if name.startswith(("conv1/", "block_1a_conv"))}
    statistics = {name for name in graph.weights if name.rpartition("/")[2] in STATISTICS}
    assert same == blocks | statistics
    assert all(amax != 1 for amax in trained.ranges.values())  # ranges follow, those of frozen layers too


def batch(seed: int) -> dict[str, tf.Tensor]:
    """An image with one object."""
    image = np.random.default_rng(seed).random((1, *SHAPE))
    return {
        "image": tf.constant(image, tf.float32),
        "boxes": tf.constant([[[8, 8, 40, 40]]], tf.float32),
        "class_ids": tf.constant([[0]], tf.int32),
        "weight": tf.constant([1.0]),
    }


def test_a_training_is_the_same_whoever_watches_it(tmp_path: Path) -> None:
    def identities(*edits: str) -> list[str]:
        spec = edited(Experiment, EXPERIMENT, *edits)
        resolve_experiment(spec)
        identity = Identity(spec, TrainOptions(tmp_path), 8, 1)
        return [identity.fingerprint("float32"), identity.of_any_length("float32")]

    path = "training_config.visualizer"
    watched = f"{path} = {{enabled: true num_images: 3 scalar_logging_frequency: 5 wandb_config {{}}}}"
    assert identities(watched) == identities(f"{path} = {{}}") == identities()
    assert identities("training_config.batch_size_per_gpu = 3") != identities()
    masked = "loss_mask_label_filter = {objective_label_filter_configs {label_filter {bbox_crop_label_filter {}}}}"
    assert identities(masked) != identities()
