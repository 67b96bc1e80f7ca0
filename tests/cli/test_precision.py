"""`train --precision` on machines that are described here; the one the tests run on decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qatkit.processor import Processor
from qatkit.training.precision import Machine
from tests.support.commands import Outcome, qatkit, replaced

SLOW = Machine(Processor("AVX2", frozenset({"sse2", "avx2"})))
QUICK = Machine(Processor("AMX", frozenset({"sse2", "amx_bf16"})))

Train = Callable[..., Outcome]  # machine, spec, flags


@pytest.fixture
def spec(small: Path, tmp_path: Path) -> Path:
    """A float training of two epochs."""
    path = tmp_path / "float.txt"
    path.write_text(replaced(small.read_text(), ("enable_qat: true", "enable_qat: false"), ("s: 5\n", "s: 2\n")))
    return path


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train in the same folder on a machine."""

    def run(machine: Machine, spec: Path, *flags: object) -> Outcome:
        monkeypatch.setattr("qatkit.training.precision.this_machine", lambda gpus: machine)
        return qatkit("train", "-e", spec, "-r", tmp_path / "results", *flags)

    return run


def lines(outcome: Outcome, start: str) -> list[str]:
    """What it says of the precision, on either stream."""
    return [line for line in (outcome.out + outcome.err).splitlines() if line.startswith(start)]


def test_a_run_goes_on_as_it_began(train: Train, spec: Path) -> None:
    began = train(QUICK, spec, "--precision", "auto")
    assert began.code == 0 and "Epoch 2/2" in began.out
    assert lines(began, "Training in") == [
        "Training in mixed precision (bfloat16): AMX has instructions for bfloat16."
    ]
    moved = train(SLOW, spec, "--precision", "auto")
    assert moved.code == 0 and "Epoch" not in moved.out  # all epochs were done
    (line,) = lines(moved, "Training in")
    assert line.startswith(
        "Training in mixed precision (bfloat16), as the checkpoint that is continued, though float32"
    )
    by_hand = train(SLOW, spec, "--use_amp")
    (line,) = lines(by_hand, "warning: --use_amp")
    assert by_hand.code == 0 and "AVX2 has no instructions for bfloat16" in line
    refused = train(QUICK, spec, "--precision", "float32")
    assert refused.code == 2 and "another spec, data, model to start from or flags" in refused.err
    anew = train(SLOW, spec, "--precision", "auto", "--restart")
    assert anew.code == 0 and "Epoch 2/2" in anew.out
    assert lines(anew, "Training in")[0].startswith("Training in float32: AVX2 has no instructions")
    assert "as the checkpoint" in train(QUICK, spec, "--precision", "auto").out
    assert train(QUICK, spec).code == 0  # float32 by the spec


def test_half_precision_in_the_spec(train: Train, spec: Path) -> None:
    half = ("model_config {\n", "model_config {\n  training_precision { backend_floatx: FLOAT16 }\n")
    spec.write_text(replaced(spec.read_text(), half))
    outcome = train(SLOW, spec)
    assert outcome.code == 0
    assert len(lines(outcome, "warning: training_precision FLOAT16 in the spec: mixed precision")) == 1
    flag = train(SLOW, spec, "--precision", "float32", "--restart")  # a flag wins over the spec
    assert flag.code == 0 and not lines(flag, "warning: training_precision")


@pytest.mark.parametrize("machine", [SLOW, QUICK])
def test_quantization_aware_training_is_float32(train: Train, small: Path, machine: Machine) -> None:
    outcome = train(machine, small, "--precision", "auto")
    assert outcome.code == 0 and not lines(outcome, "Training in")


@pytest.mark.parametrize("other", ["auto", "float32"])
def test_two_flags_that_differ(train: Train, spec: Path, other: str) -> None:
    outcome = train(SLOW, spec, "--use_amp", "--precision", other)
    assert outcome.code == 2 and f"--use_amp and --precision {other} say different things" in outcome.err
