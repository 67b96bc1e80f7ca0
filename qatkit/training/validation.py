"""Validation during training: the same evaluation as `qatkit evaluate`, plus the cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from qatkit.dataset.batches import Batch, EvaluationBatches, LeftOut
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.pixel_cache import Cache
from qatkit.detectnet.told_apart import ToldApart
from qatkit.engine.keras import predictor
from qatkit.evaluation.evaluate import EvaluationSettings, evaluate
from qatkit.keras.step import Stepper
from qatkit.spec import Experiment
from qatkit.training.loop import Validation

Array = NDArray[np.float32]


class Validator:
    """Call it to validate the network that `stepper` trains, on all of `frames`, once each.

    frames: with label ids (`ToldApart`), as `stepper` wants them. left_out: where images that cannot be read go.
    cache: where decoded ones are kept. check: called between batches, may raise what ends it early.
    """

    def __init__(
        self,
        spec: Experiment,
        stepper: Stepper,
        frames: FrameTable,
        left_out: LeftOut,
        cache: Cache,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._stepper = stepper
        self._check = check
        self._class_of = ToldApart.from_spec(spec).table
        self._settings = EvaluationSettings.from_spec(spec)
        size, preprocessing = spec.training_config.batch_size_per_gpu, spec.augmentation_config.preprocessing
        self._batches = EvaluationBatches(frames, preprocessing, size, cache=cache, left_out=left_out)
        self._predict_batch = predictor(stepper.network.model)
        self._outputs: tuple[Array, Array] | None = None
        self._costs: list[tuple[float, int]] = []

    def __call__(self) -> Validation:
        self._costs = []
        result = evaluate(self._predict, self._labelled(), self._settings)
        costs, counts = zip(*self._costs)
        return Validation(result.map, result.ap, float(np.average(costs, weights=counts)))

    def _predict(self, images: Array) -> tuple[Array, Array]:
        self._outputs = self._predict_batch(images)
        return self._outputs

    def _labelled(self) -> Iterator[Batch]:
        """The batches; when the evaluation is done with one and asks for the next, its cost is noted."""
        for batch in self._batches:
            self._check()
            yield {**batch, "class_ids": self._class_of[batch["class_ids"]]}
            assert self._outputs is not None  # the evaluation predicts every batch
            cov, bbox = (np.transpose(output, (0, 2, 3, 1)) for output in self._outputs)
            self._costs.append((self._stepper.cost(batch, cov, bbox), len(cov)))
