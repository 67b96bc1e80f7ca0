"""`qatkit train`: spec and data in, a model file out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.console import info, warn
from qatkit.dataset.frames import load_frames
from qatkit.detectnet.grid import Grid
from qatkit.errors import ModelError, UsageError
from qatkit.files import make_directory, remove_leftovers, sha256, write_text
from qatkit.graph.build import block_of, build
from qatkit.graph.nodes import CONVOLUTIONS, Graph, Shape
from qatkit.keras.batches import data_errors, training_batches
from qatkit.keras.cost import CostConfig
from qatkit.keras.fake_quant import QuantizedKerasGraph, to_fake_quantized
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.qat import start_qat
from qatkit.keras.rasterizer import Rasterizer
from qatkit.keras.step import Stepper, Teacher
from qatkit.model.file import Model, save_model
from qatkit.model.pretrained import load_backbone, read_model
from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.folding import snap_biases_to_grid
from qatkit.quantization.placement import Placement, QuantizationPlan, place
from qatkit.spec import DatasetConfig, Experiment, ModelConfig, class_names, to_text
from qatkit.status import StatusLog
from qatkit.training import checkpoint
from qatkit.training.devices import check_same_step, is_chief, sum_of
from qatkit.training.devices import strategy as make_strategy
from qatkit.training.locking import locked
from qatkit.training.loop import Plan, Trainer, Validation
from qatkit.training.precision import Precision, Quickest, Wanted, choose, quickest, this_machine
from qatkit.training.schedule import from_spec
from qatkit.training.validation import Validator

# Training images that the ranges of a QAT run start from.
_CALIBRATION_BATCHES = 8


@dataclass(frozen=True)
class TrainOptions:
    """The flags of `qatkit train`.

    precision: None is what the spec says (training_precision), "auto" what is quicker on this machine.
    calibrator, ema_decay, frozen_from, placement and skip_layers matter for quantization-aware training only: what
    the ranges start from, how fast they follow the largest values of the batches, and the fraction of the training
    after which ranges and batch-norm statistics are frozen.
    teacher: a model whose outputs are learned beside the labels, with the share teacher_weight (0..1) of the cost.
    """

    results: Path
    key: str = ""
    name: str = "model"
    gpus: int = 1
    precision: Wanted | None = None
    deterministic: bool = False
    restart: bool = False
    calibrator: str = "entropy"
    ema_decay: float = 0.999
    frozen_from: float = 0.7
    placement: Placement = "tensorrt"
    skip_layers: tuple[str, ...] = ()
    teacher: Path | None = None
    teacher_weight: float = 0.5

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown calibrator."""
        find_calibrator(self.calibrator)


def train(spec: Experiment, options: TrainOptions) -> Path:
    """Run the training that the spec describes, or continue it; return the path of the final model."""
    chief = is_chief()
    with locked(options.results) if chief else nullcontext(make_directory(options.results)) as results:
        status = StatusLog(results if chief else None)
        status.write("STARTED", "Training started.")
        if chief:
            for folder in (results, results / "weights"):
                remove_leftovers(folder)
        if options.deterministic:
            tf.config.experimental.enable_op_determinism()
        with status.failures(), data_errors():
            return _Run(options, spec, status, chief).run()


class _Run:
    """One run: what it trains on, and what it starts from.

    Where several machines train together, all do the same, validation included (reading a variable may need all of
    them), in a results folder that they share; the chief alone writes there.
    """

    def __init__(self, options: TrainOptions, spec: Experiment, status: StatusLog, chief: bool) -> None:
        self.options = options
        self.spec = spec
        self.status = status
        self.chief = chief
        self.classes = tuple(class_names(spec))
        self.frames = load_frames(spec.dataset_config, self.classes, "training")
        self.validation_frames = load_frames(spec.dataset_config, self.classes, "validation")
        self.strategy = make_strategy(options.gpus)
        self.start = self._starting_model()
        self.teacher = None if options.teacher is None else self._teacher(options.teacher)
        self.precision: Precision = "float32"  # until `run` has chosen

    @property
    def batch_size(self) -> int:
        """Images per step, over all devices."""
        return self.spec.training_config.batch_size_per_gpu * self.strategy.num_replicas_in_sync

    @property
    def input_shape(self) -> Shape:
        image = self.spec.augmentation_config.preprocessing
        return image.output_image_height, image.output_image_width, image.output_image_channel

    def run(self) -> Path:
        self._describe()
        self.precision = self._chosen_precision()
        with self.strategy.scope():
            network = self._network()
            trainer = self._trainer(network)
        first_step = 0 if self.options.restart else trainer.resume()
        check_same_step(self.strategy, first_step)
        if self.chief:
            if self.options.restart:
                checkpoint.remove_checkpoints(self.options.results)
            write_text(self.options.results / "experiment_spec.txt", to_text(self.spec))
        result = trainer.fit(self._batches(first_step))
        model = self._model(network)
        path = self.options.results / "weights" / f"{self.options.name}.tlt"
        if self.chief:
            self._save(path, model, result)
        return path

    def _save(self, path: Path, model: Model, result: Validation | None) -> None:
        save_model(path, model, self.options.key or None)
        kpi: dict[str, Any] = {"size": path.stat().st_size / 2**20, "param_count": model.graph.params / 1e6}
        if result is not None:
            kpi["mean average precision"] = round(result.map, 4)
        self.status.write("SUCCESS", "Training finished.", kpi=kpi)

    def _describe(self) -> None:
        graph, (height, width, channels) = self.start.graph, self.input_shape
        quantized = " with quantization-aware training" if self.spec.training_config.enable_qat else ""
        info(
            f"Training {graph.name} ({graph.params / 1e6:.2f} million parameters, {graph.macs / 1e9:.2f} billion "
            f"multiply-adds) on {len(self.frames)} images of {width}x{height}x{channels}{quantized}; "
            f"validating on {len(self.validation_frames)}."
        )

    def _starting_model(self) -> Model:
        """The model to train: the one in pretrained_model_file, or a new one with its backbone's weights."""
        config = self.spec.model_config
        if config.load_graph:
            return self._checked(Path(config.pretrained_model_file))
        graph = build(config, self.input_shape, len(self.classes), self.spec.random_seed)
        if config.pretrained_model_file:
            graph = self._with_pretrained_backbone(graph)
        bbox = config.objective_set.bbox
        return Model(graph, self.classes, bbox.scale, bbox.offset)

    def _with_pretrained_backbone(self, graph: Graph) -> Graph:
        graph, report = load_backbone(graph, Path(self.spec.model_config.pretrained_model_file), self.options.key)
        info(report.summary())
        return graph

    def _checked(self, path: Path) -> Model:
        """The model in a file. Raises ModelError when it does not fit the spec."""
        model = read_model(path, self.options.key or None, self.classes)
        if model.graph.input.shape != self.input_shape:
            raise ModelError(
                f"{path}: made for {_size(model.graph.input.shape)} images, the spec has {_size(self.input_shape)}",
                hint="augmentation_config.preprocessing.output_image_*",
            )
        if model.classes != self.classes:
            raise ModelError(
                f"{path}: its classes are {', '.join(model.classes)}; the spec has {', '.join(self.classes)}",
                hint="cost_function_config.target_classes, in the same order",
            )
        return model

    def _teacher(self, path: Path) -> Model:
        """The model in a file. Raises ModelError when its outputs mean something else than those of the network."""
        teacher, student, bbox = self._checked(path), self.start.graph, self.spec.model_config.objective_set.bbox
        grids = [graph.shape(graph.outputs[0])[:2] for graph in (teacher.graph, student)]
        if grids[0] != grids[1]:
            raise ModelError(f"{path}: its grid has {grids[0]} rows and columns, that of the network {grids[1]}")
        if (teacher.box_scale, teacher.box_offset) != (bbox.scale, bbox.offset):
            raise ModelError(
                f"{path}: its boxes have another scale or offset", hint="model_config.objective_set.bbox"
            )
        info(f"Learning from {path} too: {self.options.teacher_weight:.0%} of the cost.")
        return teacher

    def _chosen_precision(self) -> Precision:
        """bfloat16 has float32's range, so that nothing has to be scaled (`cost_scaling`) as with float16."""
        half = self.spec.model_config.training_precision.backend_floatx == ModelConfig.TrainingPrecision.FLOAT16
        wanted = self.options.precision or ("mixed" if half else "float32")
        if self.spec.training_config.enable_qat:
            if wanted == "mixed":
                raise UsageError(
                    "quantization-aware training runs in float32", hint="leave out --use_amp, and FLOAT16 in the spec"
                )
            return "float32"
        if wanted == "float32":
            return wanted
        asked_by = "--use_amp" if self.options.precision else "training_precision FLOAT16 in the spec"
        return choose(wanted, self._quickest(), self._kept_precision(), asked_by)

    def _quickest(self) -> Quickest:
        best = quickest(this_machine(self.options.gpus))
        machines = sum_of(self.strategy, best.precision == "mixed")
        if best.precision == "mixed" and machines < self.strategy.num_replicas_in_sync:
            return Quickest("float32", "not all machines of this training are quick in bfloat16")
        return best

    def _kept_precision(self) -> Precision | None:
        """That of the checkpoint which is continued."""
        run = None if self.options.restart else checkpoint.run_of(self.options.results)
        kinds: tuple[Precision, ...] = ("float32", "mixed")
        return next((kind for kind in kinds if run == self._fingerprint(kind)), None)

    def _network(self) -> KerasGraph:
        graph = self.start.graph
        if not self.spec.training_config.enable_qat:
            if self.start.is_qat:
                warn(f"{self.spec.model_config.pretrained_model_file} was trained with QAT, but enable_qat is off")
            return to_keras(graph, policy="mixed_bfloat16" if self.precision == "mixed" else "float32")
        if self.start.plan is not None:
            info("The model has been trained with QAT before: its placement and ranges are kept.")
            plan = QuantizationPlan.from_json(self.start.plan)
            return to_fake_quantized(graph, plan, self.start.ranges, self.options.ema_decay)
        plan = place(graph, self.options.placement, self.options.skip_layers)
        options = self.options
        return start_qat(graph, plan, self._calibration_images(), options.ema_decay, options.calibrator)

    def _calibration_images(self) -> Iterator[NDArray[np.float32]]:
        return (batch["image"].numpy() for batch in islice(self._dataset(0), _CALIBRATION_BATCHES))

    def _dataset(self, first_step: int) -> tf.data.Dataset:
        uniform = self.spec.dataset_config.sampling_mode == DatasetConfig.UNIFORM
        return training_batches(
            self.frames,
            self.spec.augmentation_config,
            self.batch_size,
            self.spec.random_seed,
            first_step,
            sampling="uniform" if uniform else "proportional",
        )

    def _batches(self, first_step: int) -> Iterator[dict[str, tf.Tensor]]:
        return iter(self.strategy.experimental_distribute_dataset(self._dataset(first_step)))

    def _trainer(self, network: KerasGraph) -> Trainer:
        config = self.spec.training_config
        height, width, _ = network.graph.shape(network.graph.outputs[0])
        grid = Grid.from_spec(self.spec, width, height)
        rasterizer = Rasterizer.from_spec(self.spec, grid)
        cost = CostConfig.from_spec(self.spec.cost_function_config)
        frozen = self._frozen(network.graph)
        teacher = None
        if self.teacher is not None:
            teacher = Teacher(to_keras(self.teacher.graph), self.options.teacher_weight)
        stepper = Stepper(network, rasterizer, cost, config, self.strategy, frozen, teacher)
        plan = self._plan()
        validator = Validator(self.spec, stepper, self.validation_frames)
        schedule = from_spec(config.learning_rate, plan.steps_per_epoch)
        return Trainer(plan, stepper, schedule, self.options.results, self.status, validator, saves=self.chief)

    def _plan(self) -> Plan:
        config, evaluation = self.spec.training_config, self.spec.evaluation_config
        return Plan(
            run=self._fingerprint(self.precision),
            epochs=config.num_epochs,
            steps_per_epoch=math.ceil(len(self.frames) / self.batch_size),
            images_per_step=self.batch_size,
            checkpoint_interval=config.checkpoint_interval,
            first_validation=evaluation.first_validation_epoch,
            validation_period=evaluation.validation_period_during_training,
            frozen_from=self.options.frozen_from if config.enable_qat else 1.0,
        )

    def _fingerprint(self, precision: Precision) -> str:
        """A checkpoint is continued only by a run that would have written it."""
        config, options = self.spec.model_config, self.options
        start = Path(config.pretrained_model_file) if config.pretrained_model_file else None
        facts = [to_text(self.spec), len(self.frames), self.strategy.num_replicas_in_sync, precision == "mixed"]
        if self.spec.training_config.enable_qat:
            facts += [
                options.calibrator,
                options.ema_decay,
                options.frozen_from,
                options.placement,
                options.skip_layers,
            ]
        if options.teacher is not None:
            facts += [sha256(options.teacher), options.teacher_weight]
        return checkpoint.fingerprint(*facts, sha256(start) if start else "")

    def _frozen(self, graph: Graph) -> set[str]:
        """Names of the convolutions in the blocks that the spec freezes."""
        config = self.spec.model_config
        blocks = {int(block) for block in config.freeze_blocks}
        if not blocks or config.load_graph:
            return set()
        return {
            node.name
            for node in graph.nodes
            if isinstance(node, CONVOLUTIONS) and block_of(node.name, config.arch) in blocks
        }

    def _model(self, network: KerasGraph) -> Model:
        bbox = self.spec.model_config.objective_set.bbox
        model = Model(
            graph=network.read(),
            classes=self.classes,
            box_scale=bbox.scale,
            box_offset=bbox.offset,
            pruned=self.start.pruned,
            spec_text=to_text(self.spec),
        )
        if not isinstance(network, QuantizedKerasGraph):
            return model
        plan, ranges = network.plan, network.ranges()
        # TAO's placement is there to compute what TAO computes, whose biases are not rounded.
        graph = snap_biases_to_grid(model.graph, plan, ranges) if plan.placement == "tensorrt" else model.graph
        return replace(model, graph=graph, ranges=ranges, plan=plan.to_json())


def _size(shape: Shape) -> str:
    return f"{shape[1]}x{shape[0]}x{shape[2]}"
