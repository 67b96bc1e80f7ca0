from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.dataset.tensorfile import open_tensorfile
from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from tests.support.commands import qatkit, succeed
from tests.support.datasets import experiment, write_frames
from tests.support.networks import Net

CAR = ("car", (10.0, 10.0, 60.0, 60.0))


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Batches of two; five training images, two validation images; the network's input is 64x48."""
    write_frames(tmp_path, 0, {name: [CAR] for name in "vw"})
    write_frames(tmp_path, 1, {name: [CAR] for name in "abcde"})
    return experiment(tmp_path)


@pytest.mark.parametrize(
    "flags, sizes", [((), (2, 2)), (("-m", 1), (2,)), (("--max_batches", 1, "--use_validation_set", "-v"), (2,))]
)
def test_writes_a_tensor_file(spec: Path, tmp_path: Path, flags: tuple[object, ...], sizes: tuple[int, ...]) -> None:
    path = tmp_path / "out" / "cal.tensorfile"
    outcome = succeed("calibration_tensorfile", "-e", spec, "-o", path, *flags)
    assert outcome.out.startswith(f"written: {path} ({len(sizes)} batches of 2 images")
    file = open_tensorfile(path)
    assert (file.batch_sizes, file.image_shape) == (sizes, (48, 64, 3))


@pytest.mark.parametrize(
    "flags, message",
    [
        (("-m", 0), "a tensor file holds one batch at least"),
        (("-m", -2), "-2"),
        (("-m", 3), "there are 2 batches of 2 images"),
        (("-o", "spec.txt"), "exists already"),
    ],
)
def test_flags_that_make_no_sense(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = qatkit("calibration_tensorfile", "-e", spec, "-o", "cal", *flags)
    assert outcome.code == 2 and message in outcome.err
    assert not Path("cal").exists()


def test_export_calibrates_on_it_as_on_the_spec(spec: Path, tmp_path: Path) -> None:
    net = Net(48, 64)
    net.heads(net.conv_bn_relu("stem", net.input, 4, stride=16), 1)
    save_model(tmp_path / "model.tlt", Model(net.graph(), Labels(("car",))))
    succeed("calibration_tensorfile", "-e", spec, "-o", tmp_path / "cal.tensorfile")
    export = ("export", "-m", tmp_path / "model.tlt", "--data_type", "int8", "--batches", 2, "--batch_size", 2)
    caches = []
    for name, source in (("file", ("--cal_data_file", tmp_path / "cal.tensorfile")), ("spec", ("-e", spec))):
        cache = tmp_path / f"{name}.bin"
        outcome = succeed(*export, *source, "-o", tmp_path / f"{name}.onnx", "--cal_cache_file", cache)
        assert "Calibrating on 4 images of" in outcome.out
        caches.append(cache.read_bytes())
    assert caches[0] == caches[1] and caches[0].startswith(b"TRT-")
