"""What a training starts from, what it learns from beside the labels, and by what it is known again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from qatkit.console import info, warn
from qatkit.detectnet.fit import input_shape
from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.files import expand, sha256
from qatkit.graph.build import blocks_by_arch, blocks_of, build
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import BatchNorm
from qatkit.model.file import Model
from qatkit.model.open import open_for_spec
from qatkit.model.pretrained import load_backbone
from qatkit.spec import Experiment, to_text
from qatkit.spec.backbones import ARCHITECTURES
from qatkit.spec.defaults import resolve_experiment
from qatkit.training import checkpoint
from qatkit.training.options import TrainOptions
from qatkit.training.precision import Precision


def starting_model(spec: Experiment, key: str) -> Model:
    """The model to train: the one in pretrained_model_file, or a new one with its backbone's weights.

    Warns where it is another network than the spec says, or lacks what the spec freezes. Raises ModelError for a
    file that cannot be read, UsageError for a model that does not fit the spec.
    """
    config, labels = spec.model_config, Labels.from_spec(spec)
    if config.load_graph:
        model = open_for_spec(_pretrained(spec), key, spec)
        if config.freeze_bn:
            model = replace(model, graph=with_frozen_statistics(model.graph))
        elif any(isinstance(node, BatchNorm) and node.frozen for node in model.graph.nodes):
            info("Batch norms keep their statistics: the model was trained with freeze_bn.")
    else:
        graph = build(config, input_shape(spec), len(labels.classes), spec.random_seed)
        if config.pretrained_model_file:
            graph, report = load_backbone(graph, _pretrained(spec), key)
            info(report.summary())
        model = Model(graph, labels)
    for line in (*_other_backbone(spec, model.graph), *_not_frozen(spec, model.graph)):
        warn(line)
    return model


def _pretrained(spec: Experiment) -> Path:
    """Raises SpecError for a variable in its name that is not set."""
    return Path(expand(spec.model_config.pretrained_model_file))


def load_teacher(spec: Experiment, path: Path, key: str, student: Graph) -> Model:
    """The model in a file. Raises UsageError when its outputs mean something else than those of `student`."""
    teacher = open_for_spec(path, key, spec)
    grids = [graph.shape(graph.outputs[0])[:2] for graph in (teacher.graph, student)]
    if grids[0] != grids[1]:
        raise UsageError(f"{path}: its grid has {grids[0]} rows and columns, that of the network {grids[1]}")
    if teacher.labels != Labels.from_spec(spec):
        raise UsageError(f"{path}: its boxes have another scale or offset", hint="model_config.objective_set.bbox")
    return teacher


def frozen_layers(spec: Experiment, graph: Graph) -> set[str]:
    """Names of the convolutions in the blocks that the spec freezes (`freeze_blocks`).

    Their kernels and biases stay as they are, in quantization-aware training too. As in TAO their batch norms go on
    learning (`freeze_bn` holds the statistics of all of them), and ranges follow what the blocks put out. In a
    loaded network too, which TAO does not freeze.
    """
    wanted = {int(block) for block in spec.model_config.freeze_blocks}
    return {name for name, block in blocks_of(graph).items() if block in wanted}


def with_frozen_statistics(graph: Graph) -> Graph:
    """`graph` with batch norms that keep their mean and variance; gamma and beta learn (TAO's `freeze_bn`)."""
    nodes = (replace(node, frozen=True) if isinstance(node, BatchNorm) else node for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def _other_backbone(spec: Experiment, graph: Graph) -> Iterator[str]:
    """TAO demands `arch` beside load_graph too, and does not look at it."""
    config, fitting = spec.model_config, list(blocks_by_arch(graph))
    if config.load_graph and config.arch and fitting and config.arch not in fitting:
        file = config.pretrained_model_file
        yield f"model_config.arch is {config.arch}, but {file} holds a {fitting[0]}; with load_graph the file decides"


def _not_frozen(spec: Experiment, graph: Graph) -> Iterator[str]:
    """What the spec freezes and `graph` does not have, but for what the spec itself shows (`spec.effects` tells)."""
    config, known = spec.model_config, set(blocks_of(graph).values())
    missing = {int(block) for block in config.freeze_blocks} - known
    if config.load_graph:
        if config.freeze_bn and not any(isinstance(node, BatchNorm) for node in graph.nodes):
            yield f"model_config.freeze_bn: {config.pretrained_model_file} has no batch norm"
    else:
        missing &= set(ARCHITECTURES[config.arch].blocks)
    if missing:
        blocks = f"its blocks are {_listed(known)}" if known else "its layers are those of no backbone with blocks"
        yield f"model_config.freeze_blocks: {graph.name} has no {_listed(missing)}; {blocks}"


def _listed(blocks: set[int]) -> str:
    return ", ".join(map(str, sorted(blocks)))


@dataclass(frozen=True)
class Identity:
    """By what a training is known again. images: of training. replicas: devices that train, of all machines."""

    spec: Experiment
    options: TrainOptions
    images: int
    replicas: int

    def fingerprint(self, precision: Precision) -> str:
        """A checkpoint is continued only by a run that would have written it."""
        return self._fingerprint(self._decisive(), precision)

    def of_any_length(self, precision: Precision) -> str:
        """The same for every number of epochs: what --extend goes by."""
        spec = self._decisive()
        spec.training_config.ClearField("num_epochs")
        return self._fingerprint(spec, precision)

    def _decisive(self) -> Experiment:
        """The spec without what no weight depends on: who watches may change from one run to the next."""
        spec = Experiment()
        spec.CopyFrom(self.spec)
        spec.training_config.ClearField("visualizer")
        resolve_experiment(spec)
        return spec

    def _fingerprint(self, spec: Experiment, precision: Precision) -> str:
        options, start = self.options, spec.model_config.pretrained_model_file
        facts: list[object] = [to_text(spec), self.images, self.replicas, precision == "mixed"]
        if self.spec.training_config.enable_qat:
            facts += [options.calibrator, options.ema_decay, options.frozen_from]
            facts += [options.placement, options.skip_layers]
        if options.teacher is not None:
            facts += [sha256(options.teacher), options.teacher_weight]
        return checkpoint.fingerprint(*facts, sha256(_pretrained(self.spec)) if start else "")

    def kept_precision(self) -> Precision | None:
        """That of the checkpoint which is continued; None without one."""
        found = None if self.options.restart else checkpoint.newest_progress(self.options.results)
        if found is None:
            return None
        kinds: tuple[Precision, ...] = ("float32", "mixed")
        same = (found.run == self.fingerprint(kind) or found.training == self.of_any_length(kind) for kind in kinds)
        return next((kind for kind, kept in zip(kinds, same) if kept), None)
