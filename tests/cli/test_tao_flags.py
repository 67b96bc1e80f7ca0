"""Every flag of every subcommand of TAO 5: accepted long and short, with its default, or said to be replaced."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.commands import qatkit
from tests.support.specs import EXPERIMENT

REQUIRED = "required"

# TAO's flags, short and long ones, and its defaults (False: a switch that is off).
TAO: dict[str, dict[str, Any]] = {
    "train": {
        "-e --experiment_spec_file": REQUIRED,  # TAO: without it, a spec of its own, for three classes of KITTI
        "-r --results_dir": REQUIRED,  # TAO: without it, a folder in the home directory, named by the time
        "-n --model_name": "model",
        "-k --key": "",
        "-v --verbose": False,
        "--enable_determinism": False,
        "--gpus": 1,
        "--use_amp": False,
    },
    "dataset_convert": {
        "-d --dataset_export_spec": REQUIRED,
        "-o --output_filename": REQUIRED,
        "-f --validation_fold": None,
        "-r --results_dir": None,
        "-v --verbose": False,
    },
    "prune": {
        "-m --model": REQUIRED,
        "-o --output_file": REQUIRED,
        "--results_dir": None,
        "-k --key": "",
        "-n --normalizer": "max",
        "-eq --equalization_criterion": "union",
        "-pg --pruning_granularity": 8,
        "-pth --pruning_threshold": 0.1,
        "-nf --min_num_filters": 16,
        "-el --excluded_layers": None,
        "-v --verbose": False,
    },
    "evaluate": {
        "-e --experiment_spec": REQUIRED,
        "-m --model_path": REQUIRED,
        "-f --framework": None,  # TAO: tlt; the file's ending decides
        "--use_training_set": False,
        "-k --key": "",
        "-r --results_dir": None,
        "-i --image_dir": None,
        "-l --label_dir": None,
        "-b --batch_size": None,  # TAO ignores it; the spec's batch size, as there
        "-v --verbose": False,
    },
    "export": {
        "-m --model": REQUIRED,
        "-k --key": "",
        "-o --output_file": None,
        "-e --experiment_spec": None,
        "--data_type": "fp32",
        "--cal_cache_file": None,  # TAO: ./cal.bin; cal.bin beside the ONNX
        "--cal_json_file": None,
        "--cal_data_file": None,
        "--cal_image_dir": None,
        "--batches": 10,
        "--batch_size": 16,
        "--force_ptq": False,
        "-s --strict_type_constraints": False,
        "--engine_file": None,
        "--max_workspace_size": None,  # 2 GB in bytes, in both
        "--min_batch_size": 1,
        "--opt_batch_size": 1,
        "--max_batch_size": 1,
        "--static_batch_size": -1,
        "--target_opset": None,
        "--onnx_route": None,
        "--gen_ds_config": False,
        "--results_dir": None,
        "-v --verbose": False,
    },
    "calibration_tensorfile": {
        "-e --experiment_spec_file": REQUIRED,
        "-o --output_path": REQUIRED,
        "-m --max_batches": -1,
        "--use_validation_set": False,
        "-v --verbose": False,
    },
    "inference": {
        "-e --experiment_spec": REQUIRED,
        "-i --image_dir": REQUIRED,
        "-r --results_dir": REQUIRED,
        "-m --model_path": None,
        "-b --batch_size": None,
        "-k --key": "",
        "-v --verbosity": False,
    },
}
COMMON = {
    "--gpus": (None, 1),
    "--gpu_index": (None,),
    "-np --num_processes": (None,),
    "--use_amp": (False,),
    "--log_file": (None,),
    "--multi-node": (False,),
    "--mpirun-arg": (None,),
    "--launch_cuda_blocking": (False,),
}


def options(command: str) -> dict[str, click.Parameter]:
    """Every spelling of a flag of a subcommand."""
    found = getattr(importlib.import_module(f"qatkit.cli.{command}"), command)
    return {name: option for option in found.params for name in (*option.opts, *option.secondary_opts)}


def default(command: str, option: click.Parameter) -> Any:
    """What a command gets without the flag; nothing at all is None."""
    if option.required:
        return REQUIRED
    found = getattr(importlib.import_module(f"qatkit.cli.{command}"), command)
    value = option.get_default(click.Context(found))
    return None if value == () or type(value).__name__ == "Sentinel" else value


@pytest.mark.parametrize(
    "command, flags, expected",
    [(command, flags, value) for command, table in TAO.items() for flags, value in table.items()],
    ids=lambda value: str(value),
)
def test_flag(command: str, flags: str, expected: Any) -> None:
    known = options(command)
    found = {id(known[name]) for name in flags.split()}
    assert len(found) == 1, "the short and the long one are the same"
    if flags == "-pth --pruning_threshold":
        from qatkit.pruning.prune import PruneOptions

        assert PruneOptions.threshold == expected  # so that --target_ratio knows whether the threshold is given
    else:
        assert default(command, known[flags.split()[0]]) == expected


@pytest.mark.parametrize("command", TAO)
def test_the_flags_of_the_launcher_go_with_every_subcommand(command: str) -> None:
    known = options(command)
    for flags, expected in COMMON.items():
        assert len({id(known[name]) for name in flags.split()}) == 1
        assert default(command, known[flags.split()[0]]) in expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("model", "detectnet_v2", "train"), "tao model detectnet_v2 X becomes qatkit X"),
        (("detectnet_v2", "train", "-e", "x"), "tao detectnet_v2 X becomes qatkit X"),
        (("gen_trt_engine", "-m", "model.onnx"), "qatkit converter MODEL.onnx -e ENGINE builds engines"),
        (("prune", "-m", "x", "-o", "y", "--gpus", 2), "--gpus above 1 and --use_amp go with train"),
        (("train", "-e", "x", "-r", "y", "--multi-node"), "--multi-node: there is no MPI here (TF_CONFIG"),
        (("train", "-e", "x", "-r", "y", "--mpirun-arg=-x"), "--mpirun-arg: there is no MPI here (TF_CONFIG"),
    ],
)
def test_what_is_replaced(arguments: tuple[object, ...], message: str) -> None:
    outcome = qatkit(*arguments)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert message in outcome.err


@pytest.mark.parametrize(
    "flags, told",
    [
        (("-np", 2), ["--num_processes 2 has no effect: one process works with all GPUs"]),
        (("-f", "tensorrt"), ["--framework tensorrt has no effect: the ending of m.tlt decides"]),
        (("-f", "tlt", "-np", -1), []),
        (
            ("-i", "images", "-l", "labels"),
            [
                "--image_dir has no effect: the spec names images and labels, as in TAO",
                "--label_dir has no effect: the spec names images and labels, as in TAO",
            ],
        ),
    ],
)
def test_evaluate_tells_of_flags_without_effect(tmp_path: Path, flags: tuple[object, ...], told: list[str]) -> None:
    (tmp_path / "spec.txt").write_text(EXPERIMENT)
    outcome = qatkit("evaluate", "-e", tmp_path / "spec.txt", "-m", tmp_path / "m.tlt", *flags)
    *lines, last = outcome.err.splitlines()
    assert [line.removeprefix("warning: ") for line in lines if "no effect" in line] == told
    assert (outcome.code, "no such model file" in last) == (4, True)


@pytest.mark.parametrize("flag", ["--target_opset=12", "--onnx_route=tf2onnx"])
def test_export_tells_of_flags_without_effect(tmp_path: Path, flag: str) -> None:
    outcome = qatkit("export", "-m", tmp_path / "m.tlt", flag)
    assert outcome.code == 4
    assert outcome.err.startswith(f"warning: {flag.partition('=')[0]} has no effect: ")


def test_flags_as_argparse_takes_them(tmp_path: Path) -> None:
    """Cut short where that is clear, and short ones with an equals sign."""
    outcome = qatkit("train", "--experiment_spec", tmp_path / "none.txt", "--results", tmp_path, "-k=key", "-n=m")
    assert (outcome.code, "none.txt: no such file" in outcome.err) == (2, True)
    outcome = qatkit("evaluate", "--exp", tmp_path / "none.txt", f"--model={tmp_path}/m.tlt")
    assert (outcome.code, "none.txt: no such file" in outcome.err) == (2, True)
    outcome = qatkit("export", "--m", "x")
    assert (outcome.code, "No such option '--m'" in outcome.err) == (2, True)


def test_launches_of_kernels_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "0")
    qatkit("train", "-e", tmp_path / "none.txt", "-r", tmp_path, "--launch_cuda_blocking")
    assert os.environ["CUDA_LAUNCH_BLOCKING"] == "1"


@pytest.mark.parametrize(
    "name, engine",
    [
        ("model.engine", True),
        ("model.plan", True),
        ("resnet18_detector.trt.int8", True),  # of NVIDIA's notebooks
        ("model.trt.FP16", True),
        ("model.trt", True),
        ("model.int8", False),
        ("model.trt.onnx", False),
        ("model.engine.tlt", False),
        ("model", False),
    ],
)
def test_engines_are_known_by_their_names(name: str, engine: bool) -> None:
    from qatkit.engine.open import is_tensorrt

    assert is_tensorrt(Path(name)) is engine
