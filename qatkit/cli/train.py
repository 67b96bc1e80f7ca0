"""`qatkit train`."""

from __future__ import annotations

from pathlib import Path

import click

from qatkit.choices import EMA_DECAY, FROZEN_FROM, TEACHER_WEIGHT, CalibratorName, Placement, WantedPrecision
from qatkit.cli import options
from qatkit.cli.tao import TaoCommand

_FRACTION = click.FloatRange(0, 1)


@click.command(cls=TaoCommand)
@options.experiment_spec("--experiment_spec_file", help="")
@options.file("-r", "--results_dir", required=True, help="Folder for all results.")
@options.key
@click.option("-n", "--model_name", default="model", show_default=True, help="Result: RESULTS/weights/NAME.tlt")
@click.option("--gpus", type=int, default=1, show_default=True, help="GPUs to train on; without any, the CPU.")
@click.option("--use_amp", is_flag=True, help="The same as --precision mixed.")
@options.choice(
    "--precision",
    values=WantedPrecision,
    help="Float trainings: mixed computes in bfloat16, auto where that is quicker. Default: the spec's.",
)
@click.option("--enable_determinism", is_flag=True, help="Only operations that give the same bits every time.")
@click.option("--restart", is_flag=True, help="Forget checkpoints in RESULTS instead of continuing from them.")
@options.calibrator("--qat_calibrator", help="QAT: what the ranges start from.")
@click.option(
    "--qat_ema_decay",
    type=click.FloatRange(0, 1, max_open=True),
    default=EMA_DECAY,
    show_default=True,
    help="QAT: decay of the moving average of the ranges, which follow the largest values of each batch.",
)
@click.option(
    "--qat_freeze_from",
    type=_FRACTION,
    default=FROZEN_FROM,
    show_default=True,
    help="QAT: fraction of the training after which ranges and batch-norm statistics are frozen.",
)
@options.placement("QAT: which tensors are quantized; tao: with TAO's arithmetic too.")
@options.skip_layers("QAT")
@options.file(
    "--teacher",
    help="Model whose outputs are learned beside the labels (distillation), such as the float one of a QAT run.",
)
@click.option(
    "--teacher_weight",
    type=_FRACTION,
    default=TEACHER_WEIGHT,
    show_default=True,
    help="Share of the teacher in the cost; the labels have the rest.",
)
@options.verbose("Tell what was decided: effective spec values, objects per class, which tensors are quantized.")
def train(
    experiment_spec_file: Path,
    results_dir: Path,
    key: str,
    model_name: str,
    gpus: int,
    use_amp: bool,
    precision: WantedPrecision | None,
    enable_determinism: bool,
    restart: bool,
    qat_calibrator: CalibratorName,
    qat_ema_decay: float,
    qat_freeze_from: float,
    qdq_placement: Placement,
    skip_layers: tuple[str, ...],
    teacher: Path | None,
    teacher_weight: float,
    verbose: bool,
) -> None:
    """Train the network that a spec describes.

    With `load_graph: true` the network of pretrained_model_file is trained on, with `enable_qat: true` for INT8.
    A run that was interrupted continues from its last checkpoint.
    """
    from qatkit.console import info
    from qatkit.errors import UsageError
    from qatkit.keras.startup import import_tensorflow
    from qatkit.spec import load_experiment

    if use_amp and precision not in (None, "mixed"):
        raise UsageError(f"--use_amp and --precision {precision} say different things", hint="give one of them")
    spec = load_experiment(experiment_spec_file)  # before TensorFlow: a spec error need not wait for it
    import_tensorflow()
    from qatkit.training.options import TrainOptions
    from qatkit.workflow.train import train

    path = train(
        spec,
        TrainOptions(
            results=results_dir,
            key=key,
            name=model_name,
            gpus=gpus,
            precision="mixed" if use_amp else precision,
            deterministic=enable_determinism,
            restart=restart,
            calibrator=qat_calibrator,
            ema_decay=qat_ema_decay,
            frozen_from=qat_freeze_from,
            placement=qdq_placement,
            skip_layers=skip_layers,
            teacher=teacher,
            teacher_weight=teacher_weight,
            verbose=verbose,
        ),
    )
    info(f"Model written to {path}")
