"""Input that cannot work: one line that says why, the exit code of its kind, and nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qatkit.model.file import save_model
from qatkit.model.open import open_model
from qatkit.training.locking import locked
from tests.support.commands import qatkit, replaced, succeed
from tests.support.workspace import KEY, Trained, Workspace

NOWHERE = Path("/dev/null/x")  # below a file, where not even root can write


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below `folder` but status.json and locks, with its size and time."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("status.json", ".lock")
    }


def assert_fails(code: int, message: str, *arguments: object) -> None:
    """The command ends with `code` and, besides warnings and progress, one line that holds `message`."""
    outcome = qatkit(*arguments)
    lines = [line for line in outcome.err.splitlines() if not re.match(r"warning: |[^:]+: \d+ of \d+$", line)]
    assert (outcome.code, len(lines)) == (code, 1), outcome.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]


@dataclass(frozen=True)
class Files:
    """What a bad command line is made of. `spec`: of a training from the float model `model`, which has a key."""

    folder: Path
    workspace: Workspace
    spec: Path
    model: Path

    def edited(self, *pairs: tuple[str, str], of: Path | None = None) -> Path:
        """A copy of the spec with parts of its text replaced."""
        path = self.folder / "edited.txt"
        path.write_text(replaced((of or self.spec).read_text(), *pairs))
        return path

    @property
    def images(self) -> Path:
        return self.workspace.data / "val" / "images"

    @property
    def results(self) -> Path:
        return self.folder / "results"


@pytest.fixture
def files(tmp_path: Path, workspace: Workspace, small: Path) -> Files:
    """`small`, with its model encrypted: it trains in no time if nothing stops it."""
    model = tmp_path / "model.tlt"
    save_model(model, open_model(workspace.root / "small.tlt"), KEY)
    spec = tmp_path / "spec.txt"
    spec.write_text(replaced(small.read_text(), (str(workspace.root / "small.tlt"), str(model))))
    return Files(tmp_path, workspace, spec, model)


def train(files: Files, spec: Path, *flags: object) -> tuple[object, ...]:
    return ("train", "-e", spec, "-r", files.results, "-k", KEY, *flags)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


# What is wrong with the spec: exit code, message, and the parts of its text to replace.
SPECS: dict[str, tuple[int, str, list[tuple[str, str]]]] = {
    "misspelt field": (2, 'did you mean "num_epochs"?', [("num_epochs: 5", "num_epoch: 5")]),
    "value that makes no sense": (2, "num_epochs must be > 0", [("num_epochs: 5", "num_epochs: 0")]),
    "no start model": (4, "gone.tlt", [("model.tlt", "gone.tlt")]),
    "start model of another size": (
        2,
        "model.tlt takes 128x96x3 images, the spec has 64x96x3",
        [("width: 128", "width: 64")],
    ),
    "start model of other classes": (
        2,
        "model.tlt knows person, bag; the spec has human, bag",
        [('"person"', '"human"'), ('key: "human" value: "human"', 'key: "person" value: "human"')],
    ),
    "a class maps to one that is not trained": (3, "'bag' to 'suitcase'", [('value: "bag"', 'value: "suitcase"')]),
    "no object of any class": (
        3,
        "no object of any class",
        [('"bag" value: "bag"', '"car" value: "bag"'), ('"person" value: "person"', '"van" value: "person"')],
    ),
    "no record files": (3, "no record files match", [("tfrecords/train", "tfrecords/none")]),
    "no validation record files": (3, "no record files match", [("tfrecords/val", "tfrecords/none")]),
    "no image folder": (3, "no such folder", [('data/train"', 'data/none"')]),
    "another image extension": (3, "16 of 16 are missing", [('image_extension: "jpg"', 'image_extension: "png"')]),
}
FLAGS: dict[str, tuple[int, str, tuple[object, ...]]] = {
    "another key": (4, "the key does not fit", ("-k", "other")),
    "no key": (4, "encrypted", ("-k", "")),
    "two GPUs": (5, "--gpus 2", ("--gpus", 2)),
    "no GPUs": (2, "--gpus", ("--gpus", 0)),
    "no such layer": (2, "no layer is called conv9", ("--skip_layers", "conv9")),
    "no such calibrator": (2, "'best' is not one of 'entropy', 'minmax'", ("--qat_calibrator", "best")),
    "mixed precision with QAT": (2, "--use_amp", ("--use_amp",)),
    "results below a file": (5, f"{NOWHERE}", ("-r", NOWHERE)),
    "no such teacher": (4, "gone.tlt", ("--teacher", "gone.tlt")),
    "no spec": (2, "none.txt", ("-e", "none.txt")),
    "a folder as spec": (2, "a folder, not a spec file", ("-e", "tests")),
}


@pytest.mark.parametrize("case", [*SPECS, *FLAGS])
def test_training(files: Files, case: str) -> None:
    code, message, edits = SPECS.get(case, (0, "", []))
    spec = files.edited(*edits)
    code, message, flags = FLAGS.get(case, (code, message, ()))
    before = tree(files.folder)
    assert_fails(code, message, *train(files, spec), *flags)
    assert tree(files.folder) == before
    status = files.results / "status.json"
    if status.exists():  # the run got as far as its results folder
        last = json.loads(status.read_text().splitlines()[-1])
        assert last["status"] == "FAILURE" and message in last["message"]


def test_a_teacher_with_another_grid(files: Files, trained: Trained) -> None:
    assert_fails(2, "its grid has (6, 8)", *train(files, files.spec), "--teacher", trained.model)


def test_a_spec_of_another_kind(files: Files) -> None:
    assert_fails(2, "inference spec", *train(files, files.workspace.spec("infer")))
    assert not files.results.exists()


def test_a_truncated_start_model(files: Files) -> None:
    cut(files.model)
    assert_fails(4, "model.tlt: the file is damaged or cut off", *train(files, files.spec))


@pytest.fixture
def broken_images(files: Files) -> Files:
    """A data set of which one training image and one validation image became text after the conversion."""
    data = files.folder / "data"
    shutil.copytree(files.workspace.data, data)
    for split in ("train", "val"):
        (data / split / "images" / "000002.jpg").write_text("not an image")
    return files


@pytest.mark.parametrize("split, qat", [("train", True), ("train", False), ("val", False)])
def test_an_image_that_is_none(broken_images: Files, split: str, qat: bool) -> None:
    files = broken_images
    original, copy = f'{files.workspace.data}/{split}"', f'{files.folder / "data"}/{split}"'
    spec = files.edited((original, copy), ("enable_qat: true", f"enable_qat: {str(qat).lower()}"))
    before = tree(files.folder)
    assert_fails(3, f"{split}/images/000002.jpg: ", *train(files, spec), "--strict")
    assert set(tree(files.folder)) - set(before) <= {"results/experiment_spec.txt"}


def test_one_image_that_is_none_is_left_out(broken_images: Files) -> None:
    files = broken_images
    splits = [(f'{files.workspace.data}/{split}"', f'{files.folder / "data"}/{split}"') for split in ("train", "val")]
    outcome = succeed(*train(files, files.edited(*splits)))
    for split in ("train", "val"):
        assert outcome.err.count(f"{split}/images/000002.jpg: not an image that can be read; left out") == 1
    assert "2 images could not be read and were left out" in outcome.err
    last = json.loads((files.results / "status.json").read_text().splitlines()[-1])
    assert (last["status"], last["kpi"]["images left out"]) == ("SUCCESS", 2)


def test_an_image_that_is_none_in_evaluation(broken_images: Files) -> None:
    files = broken_images
    spec = files.edited((f'{files.workspace.data}/val"', f'{files.folder / "data"}/val"'))
    report = files.folder / "result.json"
    flags = ("evaluate", "-e", spec, "-m", files.model, "-k", KEY, "--json", report)
    assert_fails(3, "val/images/000002.jpg: ", *flags)
    assert not report.exists()


def test_an_image_that_is_none_in_inference(broken_images: Files) -> None:
    images = broken_images.folder / "data" / "val" / "images"
    flags = ("-e", broken_images.workspace.spec("infer"), "-i", images, "-r", broken_images.results)
    assert_fails(3, "images/000002.jpg: ", "inference", *flags, "-m", broken_images.model, "-k", KEY)
    found = json.loads((broken_images.results / "detections.json").read_text())
    assert list(found["unread"]) == ["000002.jpg"]
    assert sorted(found["images"]) == sorted({path.name for path in images.iterdir()} - {"000002.jpg"})
    last = json.loads((broken_images.results / "status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE"
    assert not list(broken_images.results.rglob("*.tmp"))


def test_an_image_that_is_none_in_conversion(broken_images: Files) -> None:
    spec = broken_images.edited(
        (f"{broken_images.workspace.data}/train", str(broken_images.folder / "data" / "train")),
        of=broken_images.workspace.spec("convert_train"),
    )
    output = broken_images.folder / "records"
    assert_fails(3, "images/000002.jpg: ", "dataset_convert", "-d", spec, "-o", output / "part")
    assert not list(output.glob("*"))


def test_a_validation_set_without_frames(files: Files) -> None:
    empty = files.folder / "empty"
    empty.mkdir()
    (empty / "part-fold-000-of-002-shard-00000-of-00001").touch()
    spec = files.edited((str(files.workspace.root / "tfrecords" / "val"), str(empty)))
    assert_fails(3, "no validation frames", *train(files, spec))
    assert_fails(3, "no validation frames", "evaluate", "-e", spec, "-m", files.model, "-k", KEY)


def test_a_class_that_is_mapped_to_nothing_is_left_out_with_a_warning(trained: Trained, tmp_path: Path) -> None:
    spec = tmp_path / "spec.txt"
    spec.write_text(replaced(trained.spec.read_text(), ('  target_class_mapping { key: "bag" value: "bag" }\n', "")))
    outcome = succeed("evaluate", "-e", spec, "-m", trained.model, "-k", KEY)
    warnings = [line for line in outcome.err.splitlines() if "not in target_class_mapping, dropped: bag (" in line]
    assert len(warnings) == 1
    assert "n/a" in outcome.out  # a class without objects has no AP


# Commands that end with the path of the model.
READERS: dict[str, Callable[[Files], tuple[object, ...]]] = {
    "evaluate": lambda f: ("-e", f.spec, "-m"),
    "inference": lambda f: ("-e", f.workspace.spec("infer"), "-i", f.images, "-r", f.results, "-m"),
    "prune": lambda f: ("-o", f.folder / "pruned.tlt", "-m"),
    "export": lambda f: ("-o", f.folder / "model.onnx", "-m"),
    "compare": lambda f: ("-e", f.spec, "-o", f.results, "-m"),
}


@pytest.fixture(params=["missing", "truncated", "empty", "text", "another key", "no key", "folder"])
def bad_model(files: Files, request: pytest.FixtureRequest) -> Iterator[tuple[tuple[object, ...], str]]:
    """Path and key flags of a model that cannot be read, and what is said of it."""
    path, key = files.folder / "bad.tlt", ("-k", KEY)
    whole = files.model.read_bytes()
    contents = {
        "truncated": whole[:-1000],
        "empty": b"",
        "text": b"not a model",
        "another key": whole,
        "no key": whole,
    }
    if request.param in contents:
        path.write_bytes(contents[request.param])
    if request.param == "folder":
        path.mkdir()
    messages = {"truncated": "damaged or cut off", "another key": "the key does not fit", "no key": "is encrypted"}
    keys = {"another key": ("-k", "other"), "no key": ()}
    yield (path, *keys.get(request.param, key)), messages.get(request.param, "bad.tlt")


@pytest.mark.parametrize("command", READERS)
def test_models(files: Files, command: str, bad_model: tuple[tuple[object, ...], str]) -> None:
    flags, message = bad_model
    before = tree(files.folder)
    assert_fails(4, message, command, *READERS[command](files), *flags)
    assert tree(files.folder) == before


def test_an_unknown_kind_of_model(files: Files) -> None:
    model = files.model.rename(files.folder / "model.h6")
    message = "model.h6: unknown kind of model (one of .tlt, .onnx, .engine)"
    assert_fails(4, message, "evaluate", "-e", files.spec, "-m", model)


def test_a_text_that_is_called_onnx(files: Files) -> None:
    model = files.folder / "model.onnx"
    model.write_text("not ONNX")
    assert_fails(4, "model.onnx", "evaluate", "-e", files.spec, "-m", model)


# Whole command lines with a spec of training and one of inference.
WITH_SPECS: dict[str, Callable[[Files, Path, Path], tuple[object, ...]]] = {
    "train": lambda f, spec, infer: train(f, spec),
    "evaluate": lambda f, spec, infer: ("evaluate", "-e", spec, "-m", f.model, "-k", KEY, "-r", f.results),
    "compare": lambda f, spec, infer: ("compare", "-e", spec, "-m", f.model, "-k", KEY, "-o", f.results),
    "export": lambda f, spec, infer: (
        *("export", "-e", spec, "-m", f.model, "-k", KEY, "-o", f.folder / "model.onnx"),
        *("--data_type", "int8", "--results_dir", f.results),
    ),
    "calibration_tensorfile": lambda f, spec, infer: ("calibration_tensorfile", "-e", spec, "-o", f.folder / "cal"),
    "inference": lambda f, spec, infer: (
        *("inference", "-e", infer, "-i", f.images, "-r", f.results, "-m", f.model, "-k", KEY),
    ),
}
# What is wrong -> exit code, what is said, parts of the specs to replace, and the commands that see it.
MISTAKES: dict[str, tuple[int, str, list[tuple[str, str]], list[tuple[str, str]], tuple[str, ...]]] = {
    "model for images of another size": (
        *(2, "takes 128x96x3", [("output_image_width: 128", "output_image_width: 64")]),
        *([("image_width: 128", "image_width: 64")], ("train", "evaluate", "compare", "inference")),
    ),
    "model of other classes": (
        *(
            2,
            "knows person, bag",
            [('"person"', '"human"'), ('key: "human" value: "human"', 'key: "person" value: "human"')],
        ),
        *([('"person"', '"human"')], ("train", "evaluate", "compare", "inference")),
    ),
    "misspelt field": (
        *(2, "did you mean", [("num_epochs: 5", "num_epoch: 5")]),
        *([("image_width: 128", "image_widht: 128")], tuple(WITH_SPECS)),
    ),
    "no record files": (
        *(3, "no record files match", [("tfrecords/train", "tfrecords/none"), ("tfrecords/val", "tfrecords/none")]),
        *([], ("train", "evaluate", "compare", "export", "calibration_tensorfile")),
    ),
    "no image folder": (
        *(3, "no such folder", [('data/train"', 'data/none"'), ('data/val"', 'data/none"')]),
        *([], ("train", "evaluate", "compare", "export", "calibration_tensorfile")),
    ),
}


@pytest.mark.parametrize(
    "mistake, command", [(mistake, command) for mistake, (*_, commands) in MISTAKES.items() for command in commands]
)
def test_one_mistake_has_one_exit_code(files: Files, mistake: str, command: str) -> None:
    """And is the last event of status.json, where there is one."""
    code, message, edits, infer_edits, _ = MISTAKES[mistake]
    infer = files.folder / "infer.txt"
    infer.write_text(replaced(files.workspace.spec("infer").read_text(), *infer_edits))
    before = tree(files.folder)
    spec = files.edited(*edits)
    assert_fails(code, message, *WITH_SPECS[command](files, spec, infer))
    after = tree(files.folder)
    assert after.keys() - before.keys() <= {spec.name}
    status = files.results / "status.json"
    if status.exists():
        events = [json.loads(line) for line in status.read_text().splitlines()]
        assert [event["status"] for event in events] == ["STARTED", "FAILURE"]
        assert message in events[-1]["message"]


@pytest.mark.parametrize("command", [*WITH_SPECS, "prune"])
def test_a_missing_file(files: Files, command: str) -> None:
    none = files.folder / "none.txt"
    if command != "prune":
        assert_fails(2, "none.txt: no such file", *WITH_SPECS[command](files, none, none))
    if command not in ("train", "calibration_tensorfile"):
        model = dict.fromkeys(READERS[command](files), None)
        assert_fails(4, "none.tlt", command, *model, files.folder / "none.tlt")


@pytest.mark.parametrize(
    "command, flag", [("train", "--qat_calibrator"), ("compare", "--calibrator"), ("export", "--calibrator")]
)
def test_an_unknown_calibrator(files: Files, command: str, flag: str) -> None:
    flags = WITH_SPECS[command](files, files.spec, files.spec)
    assert_fails(2, "'kl' is not one of 'entropy', 'minmax', 'percentile', 'mse'", *flags, flag, "kl")


@pytest.mark.parametrize("command", ["evaluate", "inference"])
def test_a_missing_calibration_cache(files: Files, command: str) -> None:
    succeed("export", "-m", files.model, "-k", KEY, "-o", files.folder / "model.onnx")
    flags = (*READERS[command](files), files.folder / "model.onnx", "--cal_cache_file", files.folder / "none.bin")
    assert_fails(4, "none.bin: cannot read this calibration cache", command, *flags)


@pytest.mark.parametrize("command, flag", [("inference", "-i"), ("export", "--cal_image_dir")])
def test_a_missing_image_folder(files: Files, command: str, flag: str) -> None:
    flags = WITH_SPECS[command](files, files.spec, files.workspace.spec("infer"))
    assert_fails(3, "none: no such image or folder", *flags, flag, files.folder / "none")


@pytest.mark.parametrize(
    "command, flag", [("prune", "-o"), ("evaluate", "--json"), ("export", "-o"), ("dataset_convert", "-r")]
)
def test_a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder(files: Files, command: str, flag: str) -> None:
    folder = files.folder / "folder.onnx"
    folder.mkdir()
    place, message = (files.spec, "this is a file, not a folder") if flag == "-r" else (folder, "this is a folder")
    flags = (
        ("-d", files.workspace.spec("convert_val"), "-o", files.folder / "part")
        if command == "dataset_convert"
        else (*READERS[command](files), files.model, "-k", KEY)
    )
    before = tree(files.folder)
    assert_fails(5, message, command, *flags, flag, place)
    assert tree(files.folder) == before


def test_a_cache_for_a_model_that_is_not_onnx(files: Files) -> None:
    flags = ("-m", files.model, "-k", KEY, "--cal_cache_file", files.folder / "cal.bin")
    assert_fails(2, "--cal_cache_file goes with an .onnx model", "evaluate", "-e", files.spec, *flags)


WRITERS: dict[str, Callable[[Files], tuple[object, ...]]] = {
    "dataset_convert": lambda f: ("-d", f.workspace.spec("convert_val"), "-o", NOWHERE / "part"),
    "dataset_convert status": lambda f: ("-d", f.workspace.spec("convert_val"), "-o", f.folder / "p", "-r", NOWHERE),
    "prune": lambda f: ("-m", f.model, "-k", KEY, "-o", NOWHERE / "model.tlt"),
    "evaluate": lambda f: ("-e", f.spec, "-m", f.model, "-k", KEY, "-r", NOWHERE),
    "evaluate json": lambda f: ("-e", f.spec, "-m", f.model, "-k", KEY, "--json", NOWHERE / "x.json"),
    "export": lambda f: ("-m", f.model, "-k", KEY, "-o", NOWHERE / "model.onnx"),
    "inference": lambda f: (*READERS["inference"](f), f.model, "-k", KEY, "-r", NOWHERE),
    "compare": lambda f: ("-e", f.spec, "-m", f.model, "-k", KEY, "-o", NOWHERE),
}


@pytest.mark.parametrize("case", WRITERS)
def test_places_that_cannot_be_written(files: Files, case: str) -> None:
    before = tree(files.folder)
    assert_fails(5, str(NOWHERE), case.split()[0], *WRITERS[case](files))
    assert tree(files.folder) == before


def test_a_folder_that_another_run_is_using(files: Files) -> None:
    with locked(files.results):
        message = f"{files.results}: another run is writing here (process {os.getpid()} on {socket.gethostname()})"
        assert_fails(5, message, *train(files, files.spec))
    assert list(files.results.iterdir()) == [files.results / ".lock"]


@pytest.fixture(scope="module")
def begun(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a training of one epoch from `small`."""
    folder = tmp_path_factory.mktemp("begun")
    spec = folder / "spec.txt"
    spec.write_text(replaced(small.read_text(), ("num_epochs: 5", "num_epochs: 1")))
    succeed("train", "-e", spec, "-r", folder / "results")
    return folder


@pytest.mark.parametrize(
    "pairs, flags",
    [
        ([("num_epochs: 1", "num_epochs: 2")], ()),
        ([("random_seed: 42", "random_seed: 43")], ()),
        ([], ("--qdq_placement", "tao")),
        ([], ("--skip_layers", "stem")),
        ([], ("--qat_ema_decay", "0.9")),
        ([], ("--qat_calibrator", "mse")),
    ],
)
def test_a_checkpoint_of_another_training(begun: Path, pairs: list[tuple[str, str]], flags: tuple[str, ...]) -> None:
    spec = begun / "edited.txt"
    spec.write_text(replaced((begun / "spec.txt").read_text(), *pairs))
    before = tree(begun)
    other = "this results folder holds a training with another spec"
    longer = "this training was planned for 1 epochs, the spec now has 2 (--extend goes on to 2, --restart"
    message = f"model.epoch-1.ckpt: {longer if ('num_epochs: 1', 'num_epochs: 2') in pairs else other}"
    assert_fails(2, message, "train", "-e", spec, "-r", begun / "results", *flags)
    assert tree(begun) == before


def test_a_start_model_that_changed(begun: Path, small: Path) -> None:
    """The same spec, but the model of that name is another one by now."""
    start = small.parents[1] / "small.tlt"
    original = start.read_bytes()
    model = open_model(start)
    weights = {name: 2 * array for name, array in model.graph.weights.items()}
    try:
        save_model(start, type(model)(model.graph.with_weights(weights), model.labels))
        assert_fails(2, "model to start from", "train", "-e", begun / "spec.txt", "-r", begun / "results")
    finally:
        start.write_bytes(original)


def test_restart_forgets_the_former_training(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun / "results", tmp_path / "results")
    flags = ("-r", tmp_path / "results", "--restart", "--skip_layers", "stem")
    outcome = succeed("train", "-e", begun / "spec.txt", *flags)
    assert "Epoch 1/1" in outcome.out and "Resuming" not in outcome.out
    plan = open_model(tmp_path / "results" / "weights" / "model.tlt").plan
    assert plan is not None and plan.skip == ("stem",)
    best = open_model(tmp_path / "results" / "weights" / "model.best.tlt")
    assert (
        best.plan == plan and best.ranges.keys() == open_model(tmp_path / "results/weights/model.tlt").ranges.keys()
    )


def test_a_damaged_checkpoint(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun / "results", tmp_path / "results")
    path = tmp_path / "results" / "model.epoch-1.ckpt"
    cut(path)
    assert_fails(4, f"{path}: damaged checkpoint", "train", "-e", begun / "spec.txt", "-r", tmp_path / "results")
    assert path.exists()


def test_a_training_that_diverges(files: Files) -> None:
    """What overflows first, a cost or a variance, is a matter of the processor; it is named."""
    spec = files.edited(("max_learning_rate: 0.0002", "max_learning_rate: 1e+30"))
    outcome = qatkit(*train(files, spec))
    assert outcome.code == 6
    loss = r"the loss of step \d+ \(epoch 1\) is (nan|inf): the (cov|bbox) cost of (person|bag) is (nan|inf)"
    network = r"after step \d+ \(epoch 1\), whose loss was \S+, \w+/\w+ is not finite"
    assert re.match(rf"error: training diverged: ({loss}|{network})", outcome.err.splitlines()[-1])
    assert not (files.results / "weights").exists()


def test_a_file_in_place_of_a_folder(files: Files) -> None:
    assert_fails(5, f"{files.spec}: this is a file, not a folder", *train(files, files.spec), "-r", files.spec)
