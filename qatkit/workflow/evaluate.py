"""`qatkit evaluate`: the average precision of any model file on the data of a training spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatkit import status
from qatkit.console import track
from qatkit.dataset.batches import EvaluationBatches
from qatkit.dataset.frames import FrameTable, load_frames
from qatkit.detectnet.clustering import Compat
from qatkit.detectnet.fit import check_fit
from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Engine
from qatkit.engine.open import int8_report, open_engine
from qatkit.errors import GateError
from qatkit.evaluation.evaluate import EvaluationSettings, Observe, Result, evaluate
from qatkit.files import check_file, write_json
from qatkit.spec import Experiment, class_names, load_experiment

if TYPE_CHECKING:
    from qatkit.engine.int8.report import Int8Report


@dataclass(frozen=True)
class Evaluation:
    """What a model file is worth. settings: by what. int8: what of it runs in INT8, None for a float network."""

    model: Path
    engine: str
    precision: str
    result: Result
    settings: EvaluationSettings
    int8: Int8Report | None

    def to_json(self) -> dict[str, Any]:
        """Everything but the settings as JSON values."""
        values = {"model": str(self.model), "engine": self.engine, "precision": self.precision}
        return values | self.result.to_json() | ({} if self.int8 is None else {"int8": asdict(self.int8)})

    def check_map(self, least: float) -> None:
        """Raise GateError where the mAP, percent, is below `least`."""
        if self.result.map < least:
            raise GateError(f"mAP is {self.result.map:.2f}, below --min_map {least:g}")


def evaluate_model(
    spec: Path,
    model: Path,
    *,
    key: str = "",
    cal_cache: Path | None = None,
    training_set: bool = False,
    batch_size: int | None = None,
    compat: Compat = "none",
    json_file: Path | None = None,
    results_dir: Path | None = None,
) -> Evaluation:
    """Evaluate a model file on the data of the spec file `spec`; write the result to `json_file` too.

    cal_cache: with a float ONNX, which then runs as INT8. batch_size: None = that of the spec. results_dir:
    where status.json goes.
    """
    if json_file is not None:
        check_file(json_file)
    with status.run("evaluate", results_dir) as log:
        experiment = load_experiment(spec)
        engine = open_engine(model, key, cal_cache=cal_cache, labels=Labels.from_spec(experiment))
        frames = load_split(experiment, training_set=training_set)
        result = evaluate_engine(engine, experiment, frames, batch_size=batch_size or 0, compat=compat)
        settings = settings_of(experiment, engine, compat=compat)
        found = Evaluation(model, engine.name, engine.precision, result, settings, int8_report(engine))
        if json_file is not None:
            write_json(json_file, found.to_json())
        kpi = {"mean average precision": round(result.map, 4)}
        log.succeed(kpi=kpi, categorical={"average_precision": result.ap})
    return found


def load_split(spec: Experiment, *, training_set: bool = False, apart: Sequence[str] = ()) -> FrameTable:
    """The validation frames of `spec`, or its training frames. apart: as of `load_frames`."""
    return load_frames(spec.dataset_config, class_names(spec), "training" if training_set else "validation", apart)


def evaluate_engine(
    engine: Engine,
    spec: Experiment,
    frames: FrameTable,
    *,
    batch_size: int = 0,
    compat: Compat = "none",
    observe: Observe | None = None,
) -> Result:
    """Evaluate `engine` on `frames`, each once. batch_size 0 = that of the spec. observe: as of `evaluate`.

    Raises UsageError when classes or image size of the network are not those of the spec.
    """
    check_fit(spec, engine.info.input_shape, engine.info.labels.classes)
    size = batch_size or spec.training_config.batch_size_per_gpu
    batches = EvaluationBatches(frames, spec.augmentation_config.preprocessing, size)
    shown = track(batches, "Evaluation", len(batches))
    return evaluate(engine.predict, shown, settings_of(spec, engine, compat=compat), observe)


def settings_of(spec: Experiment, engine: Engine, *, compat: Compat = "none") -> EvaluationSettings:
    """The settings of `spec` with the box encoding of the network."""
    settings = EvaluationSettings.from_spec(spec, compat=compat)
    return replace(settings, scale=engine.info.labels.box_scale, offset=engine.info.labels.box_offset)
