"""Which precision a float training computes in: mixed (bfloat16) where that is quicker, float32 elsewhere.

Decided by what the machine says of itself, not by a measurement: a run that is killed and goes on must come to the
same choice whatever else the machine does. The table of reasons:

- a GPU computes bfloat16 in tensor cores from compute capability 8.0 (Ampere) on; older ones convert.
- an x86 CPU is quick with AMX or AVX512_BF16 (1.8 times float32, measured on one), through oneDNN. Without, or with
  oneDNN off, TensorFlow has scalar kernels: a twelfth of float32's speed, measured with AVX2.
- of others (ARM, or where nothing tells) nothing is known: float32, which is quick everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from qatkit.choices import WantedPrecision
from qatkit.console import info, warn
from qatkit.errors import UsageError
from qatkit.processor import Processor, this_processor
from qatkit.spec import Experiment, ModelConfig
from qatkit.training.devices import sum_of

Precision = Literal["float32", "mixed"]

_WORDS = {"float32": "float32", "mixed": "mixed precision (bfloat16)"}
_FIRST_GPU = (8, 0)
_FEATURES = ("amx_bf16", "avx512_bf16")
_X86 = "sse2"


@dataclass(frozen=True)
class Machine:
    """What decides. gpus: compute capability of each that is trained on, None where it does not tell."""

    processor: Processor
    gpus: tuple[tuple[int, int] | None, ...] = ()
    onednn: bool = True


@dataclass(frozen=True)
class Quickest:
    """The precision to take, and why."""

    precision: Precision
    reason: str


def this_machine(gpus: int) -> Machine:
    """This machine, as a training on `gpus` GPUs sees it (1 is the CPU where there is none)."""
    found = tf.config.list_physical_devices("GPU")[:gpus]
    capabilities = tuple(
        tf.config.experimental.get_device_details(device).get("compute_capability") for device in found
    )
    off = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("0", "false")
    return Machine(this_processor(), capabilities, not off)


def quickest(machine: Machine) -> Quickest:
    """The precision that is quicker on `machine`."""
    return _on_gpus(machine.gpus) if machine.gpus else _on_processor(machine.processor, machine.onednn)


def _on_gpus(gpus: tuple[tuple[int, int] | None, ...]) -> Quickest:
    known = [capability for capability in gpus if capability is not None]
    if len(known) < len(gpus):
        return Quickest("float32", "the GPU does not tell its compute capability")
    oldest = ".".join(map(str, min(known)))
    if min(known) >= _FIRST_GPU:
        return Quickest("mixed", f"the GPU, of compute capability {oldest}, is quick in bfloat16")
    return Quickest("float32", f"the GPU, of compute capability {oldest}, has no bfloat16 (8.0 has)")


def _on_processor(processor: Processor, onednn: bool) -> Quickest:
    name, features = processor.name, processor.features
    if features is None:
        return Quickest("float32", f"nothing tells whether {name} is quick in bfloat16")
    if _X86 not in features:
        return Quickest("float32", f"TensorFlow's bfloat16 has not been measured on {name}")
    if not features.intersection(_FEATURES):
        return Quickest("float32", f"{name} has no instructions for bfloat16 (AMX, AVX512_BF16)")
    if not onednn:
        return Quickest("float32", "bfloat16 is quick with oneDNN only, which TF_ENABLE_ONEDNN_OPTS turns off")
    return Quickest("mixed", f"{name} has instructions for bfloat16")


def choose(
    wanted: WantedPrecision, best: Quickest, kept: Precision | None = None, asked_by: str = "--use_amp"
) -> Precision:
    """What to train in, with a line that says so and why; a warning where mixed precision was asked for in vain.

    kept: the precision of the checkpoint that is continued; "auto" stays with it. asked_by: who wants it mixed.
    """
    if wanted != "auto":
        if wanted == "mixed" != best.precision:
            warn(f"{asked_by}: mixed precision can be many times slower here than float32: {best.reason}")
        return wanted
    if kept is None:
        info(f"Training in {_WORDS[best.precision]}: {best.reason}.")
        return best.precision
    other = "" if kept == best.precision else f", though {_WORDS[best.precision]} is quicker here ({best.reason})"
    info(f"Training in {_WORDS[kept]}, as the checkpoint that is continued{other}.")
    return kept


def of_training(
    spec: Experiment,
    asked: WantedPrecision | None,
    gpus: int,
    strategy: tf.distribute.Strategy,
    kept: Callable[[], Precision | None],
) -> Precision:
    """What to train the network of `spec` in. asked: by a flag. kept: as in `choose`, looked up where it matters.

    bfloat16 has float32's range, so that nothing has to be scaled (`cost_scaling`) as with float16. Raises UsageError
    for quantization-aware training, whose codes float32 alone computes, where anything asks for mixed precision.
    """
    half = spec.model_config.training_precision.backend_floatx == ModelConfig.TrainingPrecision.FLOAT16
    wanted = asked or ("mixed" if half else "float32")
    if spec.training_config.enable_qat:
        if wanted == "mixed":
            raise UsageError(
                "quantization-aware training runs in float32", hint="leave out --use_amp, and FLOAT16 in the spec"
            )
        return "float32"
    if wanted == "float32":
        return wanted
    asked_by = "--use_amp" if asked else "training_precision FLOAT16 in the spec"
    return choose(wanted, _quickest_of_all(gpus, strategy), kept(), asked_by)


def _quickest_of_all(gpus: int, strategy: tf.distribute.Strategy) -> Quickest:
    """What is quicker on every machine of the training."""
    best = quickest(this_machine(gpus))
    machines = sum_of(strategy, best.precision == "mixed")
    if best.precision == "mixed" and machines < strategy.num_replicas_in_sync:
        return Quickest("float32", "not all machines of this training are quick in bfloat16")
    return best
