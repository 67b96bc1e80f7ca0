"""`qatkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qatkit.choices import (
    EMA_DECAY,
    FROZEN_FROM,
    IMAGE_CACHE,
    KEEP,
    TEACHER_WEIGHT,
    UNREADABLE,
    ImageCache,
    WantedPrecision,
)
from qatkit.cli import options
from qatkit.cli.tao import TaoCommand
from qatkit.errors import UsageError

_FRACTION = click.FloatRange(0, 1)


@click.command(cls=TaoCommand)
@options.experiment_spec("--experiment_spec_file", help="")
@options.file("-r", "--results_dir", "results", required=True, help="Folder for all results.")
@options.key
@options.value("-n", "--model_name", "name", default="model", help="Result: RESULTS/weights/NAME.tlt")
@options.value("--gpus", type=int, default=1, help="GPUs to train on; without any, the CPU.")
@options.flag("--use_amp", help="The same as --precision mixed.")
@options.choice(
    "--precision",
    values=WantedPrecision,
    help="Float trainings: mixed computes in bfloat16, auto where that is quicker. Default: the spec's.",
)
@options.flag("--enable_determinism", "deterministic", help="Only operations that give the same bits every time.")
@options.flag("--restart", help="Forget checkpoints in RESULTS instead of continuing from them.")
@options.flag(
    "--extend",
    help="Go on from the checkpoint in RESULTS also if num_epochs is another now; rates are those of the new one.",
)
@options.value(
    "--keep",
    type=click.IntRange(min=1),
    default=KEEP,
    help="How many checkpoints stay in RESULTS; the best model stays as RESULTS/weights/NAME.best.tlt.",
)
@options.calibrator("--qat_calibrator", help="QAT: what the ranges start from.")
@options.value(
    "--qat_ema_decay",
    "ema_decay",
    type=click.FloatRange(0, 1, max_open=True),
    default=EMA_DECAY,
    help="QAT: decay of the moving average of the ranges, which follow the largest values of each batch.",
)
@options.value(
    "--qat_freeze_from",
    "frozen_from",
    type=_FRACTION,
    default=FROZEN_FROM,
    help="QAT: fraction of the training after which ranges and batch-norm statistics are frozen.",
)
@options.placement("QAT: which tensors are quantized; tao: with TAO's arithmetic too.")
@options.skip_layers("QAT")
@options.file(
    "--teacher",
    help="Model whose outputs are learned beside the labels (distillation), such as the float one of a QAT run.",
)
@options.value(
    "--teacher_weight",
    type=_FRACTION,
    default=TEACHER_WEIGHT,
    help="Share of the teacher in the cost; the labels have the rest.",
)
@options.flag(
    "--strict",
    help=f"End at an image that cannot be read. Without, up to {UNREADABLE:.0%} of them, or one, are left out.",
)
@options.choice(
    "--cache",
    values=ImageCache,
    default=IMAGE_CACHE,
    help="Where decoded images are kept: ram, disk (RESULTS/decoded, removed at the end), none, auto by their size.",
)
@options.max_megapixels
@options.verbose("Tell what was decided: effective spec values, objects per class, which tensors are quantized.")
def train(spec: Path, precision: WantedPrecision | None, use_amp: bool, strict: bool, **flags: Any) -> None:
    """Train the network that a spec describes.

    With `load_graph: true` the network of pretrained_model_file is trained on, with `enable_qat: true` for INT8.
    A run that was interrupted continues from its last checkpoint; SIGTERM and SIGINT (Ctrl-C) write one first.
    """
    from qatkit.console import info
    from qatkit.keras.startup import import_tensorflow
    from qatkit.spec import load_experiment

    if use_amp and precision not in (None, "mixed"):
        raise UsageError(f"--use_amp and --precision {precision} say different things", hint="give one of them")
    if flags["extend"] and flags["restart"]:
        raise UsageError(
            "--extend goes on from the checkpoints in -r, --restart forgets them", hint="give one of them"
        )
    experiment = load_experiment(spec)  # before TensorFlow: a spec error need not wait for it
    import_tensorflow()
    from qatkit.training.options import TrainOptions
    from qatkit.workflow.train import train

    unreadable = 0.0 if strict else UNREADABLE
    chosen = options.build(TrainOptions, flags, precision="mixed" if use_amp else precision, unreadable=unreadable)
    info(f"Model written to {train(experiment, chosen)}")
