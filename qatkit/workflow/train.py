"""`qatkit train`: spec and data in, a model file out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit import status
from qatkit.console import info, track, warn
from qatkit.dataset.batches import LeftOut
from qatkit.dataset.frames import FrameTable
from qatkit.detectnet.fit import size
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import Labels
from qatkit.detectnet.told_apart import ToldApart
from qatkit.files import make_directory, remove_leftovers, write_text
from qatkit.keras.batches import Stream, data_errors, on_device, raw_batches
from qatkit.keras.cost import CostConfig
from qatkit.keras.loss_mask import LossMask
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.preparation import Preparation
from qatkit.keras.rasterizer import Rasterizer
from qatkit.keras.step import Stepper, Teacher
from qatkit.model.file import Model, save_model
from qatkit.spec import DatasetConfig, Experiment, to_text
from qatkit.training import caching, checkpoint, precision
from qatkit.training.best import BestModel
from qatkit.training.devices import check_same_step, is_chief, only_deterministic
from qatkit.training.devices import strategy as make_strategy
from qatkit.training.locking import locked
from qatkit.training.loop import Plan, Trainer, Validation
from qatkit.training.memory import memory_errors
from qatkit.training.network import build_network, trained_model
from qatkit.training.options import TrainOptions
from qatkit.training.overflow import FiniteNetwork
from qatkit.training.schedule import from_spec
from qatkit.training.start import Identity, frozen_layers, load_teacher, starting_model
from qatkit.training.stopping import Stop
from qatkit.training.validation import Validator
from qatkit.workflow.evaluate import load_split
from qatkit.workflow.watching import NO_SECRETS, Secrets, make_watch, without_secrets

# Training images that the ranges of a QAT run start from.
_CALIBRATION_BATCHES = 8


def train(spec: Experiment, options: TrainOptions) -> Path:
    """Run the training that the spec describes, or continue it; return the path of the final model."""
    chief = is_chief()
    with (
        locked(options.results) if chief else nullcontext(make_directory(options.results)) as results,
        status.run("train", results if chief else None) as log,
        memory_errors(spec),
        data_errors(),
    ):
        if chief:
            for folder in (results, results / "weights"):
                remove_leftovers(folder)
        if options.deterministic:
            only_deterministic()
        public, secrets = without_secrets(spec)
        return _Run(options, public, log, chief, secrets).run()


class _Run:
    """One run: what it trains on, and what it starts from.

    Where several machines train together, all do the same, validation included (reading a variable may need all of
    them), in a results folder that they share; the chief alone writes there.
    """

    def __init__(
        self,
        options: TrainOptions,
        spec: Experiment,
        log: status.StatusLog,
        chief: bool,
        secrets: Secrets = NO_SECRETS,
    ) -> None:
        self.options = options
        self.secrets = secrets
        self.spec = spec
        self.log = log
        self.chief = chief
        apart = ToldApart.from_spec(spec).sources
        self.frames = load_split(spec, training_set=True, apart=apart)
        self.validation_frames = load_split(spec, apart=apart)
        self.left_out = LeftOut(len(self.frames), options.unreadable)
        self.left_out_of_validation = LeftOut(len(self.validation_frames), options.unreadable)
        self.cache, self.validation_cache = caching.caches(
            spec, options.cache, options.results, self.frames, self.validation_frames
        )
        self.strategy = make_strategy(options.gpus)
        self.start = starting_model(spec, options.key)
        self.teacher: Model | None = None
        if options.teacher is not None:
            self.teacher = load_teacher(spec, options.teacher, options.key, self.start.graph)
            info(f"Learning from {options.teacher} too: {options.teacher_weight:.0%} of the cost.")
        self.identity = Identity(spec, options, len(self.frames), self.strategy.num_replicas_in_sync)
        self.stop = Stop()

    @property
    def batch_size(self) -> int:
        """Images per step, over all devices."""
        return self.spec.training_config.batch_size_per_gpu * self.identity.replicas

    def run(self) -> Path:
        self._describe()
        options, spec = self.options, self.spec
        kind = precision.of_training(
            spec, options.precision, options.gpus, self.strategy, self.identity.kept_precision
        )
        with self.strategy.scope():
            network = build_network(self.start, spec, options, kind, self._calibration_images())
            plan = self._plan(kind)
            best = self._best(network, plan)
            trainer = self._trainer(network, plan, best)
        first_step = 0 if options.restart else trainer.resume(extend=options.extend)
        check_same_step(self.strategy, first_step)
        if options.restart:
            best.forget()
        if self.chief:
            if options.restart:
                checkpoint.remove_checkpoints(options.results)
            write_text(options.results / "experiment_spec.txt", to_text(spec))
        dataset = on_device(self.strategy, self._dataset(first_step))
        frames = self._learned(self.validation_frames)
        watching = make_watch(spec, options.results, trainer.stepper, frames, self.secrets, chief=self.chief)
        # Of several machines, one that ends after its step would leave the others waiting in theirs.
        listening = nullcontext() if os.environ.get("TF_CONFIG") else self.stop.listening()
        with watching as watch, listening:
            result = trainer.fit(iter(dataset), watch)
        model = trained_model(network, self.start, spec)
        path = options.results / "weights" / f"{options.name}.tlt"
        if self.chief:
            self._save(path, model, result, best)
        return path

    def _save(self, path: Path, model: Model, result: Validation | None, best: BestModel) -> None:
        save_model(path, model, self.options.key or None)
        caching.remove(self.options.results)
        kpi = {"size": path.stat().st_size / 2**20, "param_count": model.graph.params / 1e6}
        if result is not None:
            kpi["mean average precision"] = round(result.map, 4)
        if best.best is not None:
            info(f"{best.best} ({best.path})")
            kpi |= {"best epoch": best.best.epoch, "best mean average precision": round(best.best.map, 4)}
        if paths := [*self.left_out.paths, *self.left_out_of_validation.paths]:
            warn(f"{len(paths)} images could not be read and were left out, such as {paths[0]}")
            kpi["images left out"] = len(paths)
        self.log.succeed(kpi=kpi)

    def _describe(self) -> None:
        graph = self.start.graph
        quantized = " with quantization-aware training" if self.spec.training_config.enable_qat else ""
        info(
            f"Training {graph.name} ({graph.params / 1e6:.2f} million parameters, {graph.macs / 1e9:.2f} billion "
            f"multiply-adds) on {len(self.frames)} images of {size(graph.input.shape)}{quantized}; "
            f"validating on {len(self.validation_frames)}."
        )
        if self.options.verbose:
            for split, frames in (("training", self.frames), ("validation", self.validation_frames)):
                found = self._learned(frames).class_counts()
                counts = ", ".join(f"{name} {count}" for name, count in found.items())
                info(f"Objects in the {split} data: {counts}")
            info(f"Effective values (what is not listed is 0, false or empty):\n{to_text(self.spec)}")

    def _learned(self, frames: FrameTable) -> FrameTable:
        """`frames` with class ids in place of label ids."""
        return replace(frames, class_ids=ToldApart.from_spec(self.spec).table[frames.class_ids])

    def _calibration_images(self) -> Iterator[NDArray[np.float32]]:
        """Batches of training images; nothing is done, and said, before the first is asked for."""
        info(f"Calibrating the ranges on {_CALIBRATION_BATCHES * self.batch_size} training images.")
        batches = self._dataset(0).map(Preparation(self.spec.augmentation_config)).take(_CALIBRATION_BATCHES)
        for batch in track(batches, "Calibrating", _CALIBRATION_BATCHES):
            yield batch["image"].numpy()

    def _dataset(self, first_step: int) -> Stream:
        uniform = self.spec.dataset_config.sampling_mode == DatasetConfig.UNIFORM
        return raw_batches(
            self.frames,
            self.spec.augmentation_config,
            self.batch_size,
            self.spec.random_seed,
            first_step,
            sampling="uniform" if uniform else "proportional",
            cache=self.cache,
            left_out=self.left_out,
        )

    def _best(self, network: KerasGraph, plan: Plan) -> BestModel:
        options = self.options
        return BestModel(
            options.results / "weights",
            options.name,
            plan.training,
            lambda: trained_model(network, self.start, self.spec),
            options.key,
            saves=self.chief,
        )

    def _trainer(self, network: KerasGraph, plan: Plan, best: BestModel) -> Trainer:
        config, graph = self.spec.training_config, network.graph
        height, width, _ = graph.shape(graph.outputs[0])
        grid = Grid.from_spec(self.spec, width, height)
        rasterizer = Rasterizer.from_spec(self.spec, grid)
        cost = CostConfig.from_spec(self.spec.cost_function_config)
        frozen = frozen_layers(self.spec, graph)
        teacher = None
        if self.teacher is not None:
            teacher = Teacher(to_keras(self.teacher.graph), self.options.teacher_weight)
        mask, prepare = LossMask.from_spec(self.spec, grid), Preparation(self.spec.augmentation_config)
        stepper = Stepper(network, rasterizer, cost, config, self.strategy, frozen, teacher, mask, prepare)
        validator = Validator(
            self.spec,
            stepper,
            self.validation_frames,
            self.left_out_of_validation,
            self.validation_cache,
            self.stop.check,
        )
        schedule = from_spec(config.learning_rate, plan.epochs, plan.steps_per_epoch)
        return Trainer(
            plan,
            stepper,
            schedule,
            self.options.results,
            self.log,
            validator,
            saves=self.chief,
            finite=FiniteNetwork(network, self.strategy),
            stop=self.stop,
            best=best,
        )

    def _plan(self, kind: precision.Precision) -> Plan:
        config, evaluation = self.spec.training_config, self.spec.evaluation_config
        return Plan(
            run=self.identity.fingerprint(kind),
            training=self.identity.of_any_length(kind),
            epochs=config.num_epochs,
            steps_per_epoch=math.ceil(len(self.frames) / self.batch_size),
            images_per_step=self.batch_size,
            checkpoint_interval=config.checkpoint_interval,
            first_validation=evaluation.first_validation_epoch,
            validation_period=evaluation.validation_period_during_training,
            frozen_from=self.options.frozen_from if config.enable_qat else 1.0,
            keep=self.options.keep,
            classes=Labels.from_spec(self.spec).classes,
        )
