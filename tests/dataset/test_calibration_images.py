from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from qatkit.dataset.calibration_images import CalibrationImages, calibration_images, images_from_spec, make_tensorfile
from qatkit.dataset.images import load_image
from qatkit.dataset.tensorfile import open_tensorfile, write_tensorfile
from qatkit.detectnet.labels import Labels
from qatkit.errors import DataError, UsageError
from qatkit.model.file import Model
from qatkit.spec import Experiment, load_experiment
from tests.support.datasets import experiment, write_frames
from tests.support.frames import noise, write_image
from tests.support.networks import Net

CAR = ("car", (10.0, 10.0, 60.0, 60.0))
WIDTH, HEIGHT = 64, 48


@pytest.fixture
def model() -> Model:
    net = Net(HEIGHT, WIDTH)
    net.heads(net.conv_bn_relu("stem", net.input, 4, stride=16), 1)
    return Model(net.graph(), Labels(("car",)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images."""
    for number in range(5):
        write_image(tmp_path / "folder" / f"{number}.png", noise(80, 60, seed=number))
    return tmp_path / "folder"


@pytest.fixture
def spec(tmp_path: Path) -> Experiment:
    """Batches of two; five training images, one validation image."""
    write_frames(tmp_path, 0, {"v": [CAR]})
    write_frames(tmp_path, 1, {name: [CAR] for name in "abcde"})
    return load_experiment(experiment(tmp_path))


def stacked(images: CalibrationImages | None) -> np.ndarray:
    assert images is not None
    first, *others = images
    assert len(first) == min(images.batch_size, len(images))
    assert {image.shape[0] for image in others} <= {1}
    every = np.concatenate([first, *others])
    assert len(every) == len(images)
    return every


def test_no_source(model: Model) -> None:
    assert calibration_images(model, None) is None


def test_a_folder(model: Model, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = calibration_images(model, None, image_dir=folder, batches=2, batch_size=2)
    assert capsys.readouterr().out == f"Calibrating on 4 images of {folder}.\n"
    assert images is not None and images.batch_size == 2
    assert stacked(images).shape == (4, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(images.first(2), stacked(images)[:2])
    assert len(images.first(9)) == 4


def test_images_are_drawn_by_the_seed(model: Model, folder: Path) -> None:
    every = {path.name: load_image(path, WIDTH, HEIGHT, 3, auto_resize=True) for path in folder.iterdir()}
    images = stacked(calibration_images(model, None, image_dir=folder, batches=1, batch_size=3))
    names = [name for image in images for name, other in every.items() if np.array_equal(image, other)]
    order = np.random.default_rng(42).permutation(5)[:3]
    assert names == [f"{number}.png" for number in order]


def test_the_training_data_of_a_spec(model: Model, spec: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    images = calibration_images(model, spec)
    assert "Calibrating on 5 images of the spec's training data." in capsys.readouterr().out
    assert images is not None and images.batch_size == 16
    assert stacked(images).shape == (5, HEIGHT, WIDTH, 3)


def test_the_folder_comes_before_the_spec(model: Model, spec: Experiment, folder: Path) -> None:
    images = calibration_images(model, spec, image_dir=folder)
    assert {Path(path).parent for path in images.paths} == {folder}


def test_a_tensor_file(model: Model, spec: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = np.random.default_rng(0).random((2, HEIGHT, WIDTH, 3), np.float32)
    write_tensorfile(tmp_path / "cal", [batch, batch + 1, batch + 2])
    images = calibration_images(model, spec, data_file=tmp_path / "cal", batches=3, batch_size=1)
    assert capsys.readouterr().out == f"Calibrating on 3 images of {tmp_path}/cal.\n"
    assert images is not None and images.batch_size == 1
    np.testing.assert_array_equal(stacked(images), np.concatenate([batch, batch[:1] + 1]))
    np.testing.assert_array_equal(images.first(1), batch[:1])
    np.testing.assert_array_equal(images.first(9), stacked(images))
    every = calibration_images(model, None, data_file=tmp_path / "cal")
    assert every is not None and every.batch_size == 2  # the file's are no larger
    assert len(stacked(every)) == 6


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_record_of_a_folder(model: Model, folder: Path) -> None:
    images = calibration_images(model, None, image_dir=folder, batches=1, batch_size=2)
    assert images is not None
    drawn = [folder / f"{number}.png" for number in np.random.default_rng(42).permutation(5)[:2]]
    size = {"width": WIDTH, "height": HEIGHT, "channels": 3}
    assert images.record() == {
        "source": str(folder),
        "seed": 42,
        "images": 2,
        "batch_size": 2,
        "layout": {**size, "auto_resize": True, "scale": (1.0, 1.0), "crop": (0, 0)},
        "files": [{"path": str(path), "sha256": sha256(path)} for path in drawn],
    }


def test_the_record_of_a_spec(model: Model, spec: Experiment, tmp_path: Path) -> None:
    spec.random_seed = 7
    images = calibration_images(model, spec, batches=1, batch_size=3)
    assert images is not None
    record = images.record()
    assert (record["source"], record["seed"], record["images"]) == ("the spec's training data", 7, 3)
    assert {Path(item["path"]).parent for item in record["files"]} == {tmp_path / "images"}


def test_the_record_of_a_tensor_file(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensorfile(tmp_path / "cal", [np.zeros((2, HEIGHT, WIDTH, 3), np.float32)])
    monkeypatch.chdir(tmp_path)
    images = calibration_images(model, None, data_file=Path("cal"), batches=1, batch_size=1)
    assert images is not None
    assert images.record() == {
        "source": "cal",
        "seed": None,
        "images": 1,
        "batch_size": 1,
        "layout": None,
        "files": [{"path": str(tmp_path / "cal"), "sha256": sha256(tmp_path / "cal")}],
    }


def test_a_tensor_file_of_another_size(model: Model, tmp_path: Path) -> None:
    write_tensorfile(tmp_path / "cal", [np.zeros((1, WIDTH, HEIGHT, 3), np.float32)])
    with pytest.raises(UsageError, match="cal: its images are 48x64x3, the model takes 64x48x3"):
        calibration_images(model, None, data_file=tmp_path / "cal")


def test_a_tensor_file_that_is_not_there(model: Model, spec: Experiment, tmp_path: Path) -> None:
    """Not the spec's images instead: nobody would notice."""
    with pytest.raises(DataError, match="cal: no such tensor file"):
        calibration_images(model, spec, data_file=tmp_path / "cal")


def test_a_tensor_file_is_made_of_a_folder(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "cal"
    images = calibration_images(model, None, image_dir=folder, data_file=path, batches=3, batch_size=2)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"written: {path} (2 batches of 2 images, ")
    assert second == f"Calibrating on 4 images of {path}."
    assert open_tensorfile(path).batch_sizes == (2, 2)
    direct = stacked(calibration_images(model, None, image_dir=folder, batches=3, batch_size=2))
    np.testing.assert_array_equal(stacked(images), direct[:4])


def test_fewer_images_than_a_batch(model: Model, folder: Path, tmp_path: Path) -> None:
    images = calibration_images(model, None, image_dir=folder, data_file=tmp_path / "cal")
    assert open_tensorfile(tmp_path / "cal").batch_sizes == (5,)
    assert len(images) == 5


def test_a_tensor_file_that_exists_comes_before_a_folder(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tensorfile(tmp_path / "cal", [np.zeros((1, HEIGHT, WIDTH, 3), np.float32)])
    images = calibration_images(model, None, image_dir=folder, data_file=tmp_path / "cal")
    assert len(images) == 1
    assert f"{tmp_path / 'cal'} exists and is used; --cal_image_dir {folder} is not read" in capsys.readouterr().err


@pytest.mark.parametrize("max_batches, sizes", [(-1, (2, 2)), (1, (2,)), (2, (2, 2))])
def test_training_images_of_a_spec(
    spec: Experiment, tmp_path: Path, max_batches: int, sizes: tuple[int, ...]
) -> None:
    make_tensorfile(spec, tmp_path / "cal", max_batches)
    file = open_tensorfile(tmp_path / "cal")
    assert file.batch_sizes == sizes
    np.testing.assert_array_equal(np.concatenate(list(file)), stacked(images_from_spec(spec, sum(sizes))))


def test_validation_images_of_a_spec(spec: Experiment, tmp_path: Path) -> None:
    spec.training_config.batch_size_per_gpu = 1
    make_tensorfile(spec, tmp_path / "cal", validation=True)
    expected = load_image(tmp_path / "images" / "v.png", WIDTH, HEIGHT, 3, auto_resize=True)
    np.testing.assert_array_equal(np.concatenate(list(open_tensorfile(tmp_path / "cal"))), expected[None])


def test_what_cannot_be_made(spec: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max_batches 3: there are 2 batches of 2 images"):
        make_tensorfile(spec, tmp_path / "cal", 3)
    with pytest.raises(DataError, match=r"1 images do not fill one batch of 2 \(batch_size_per_gpu\)"):
        make_tensorfile(spec, tmp_path / "cal", validation=True)
    (tmp_path / "cal").write_text("of an earlier run")
    with pytest.raises(UsageError, match=r"cal: exists already \(remove it first\)"):
        make_tensorfile(spec, tmp_path / "cal")
    assert (tmp_path / "cal").read_text() == "of an earlier run"
