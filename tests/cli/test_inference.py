"""`qatkit inference`: kinds of pictures and of folders, networks that do not describe themselves, as TAO clusters."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from qatkit.cli import main
from qatkit.dataset.kitti import read_labels
from qatkit.detectnet.labels import Labels
from qatkit.engine.base import ModelInfo
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import export
from qatkit.model.file import Model
from tests.support.commands import Outcome, qatkit, replaced, succeed
from tests.support.frames import noise, write_image
from tests.support.networks import Net
from tests.support.specs import INFERENCE


class ThreeCells:
    """Finds three boxes in every image, with coverages 0.3, 0.9 and 0.6."""

    name, precision = "three", "fp32"
    info = ModelInfo((48, 64, 3), Labels(("car",)))

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cov, bbox = np.zeros((len(images), 1, 3, 4), np.float32), np.zeros((len(images), 4, 3, 4), np.float32)
        cov[:, 0, 0, :3] = 0.3, 0.9, 0.6
        bbox[:, 2:, 0, 0] = 0.3  # 10 pixels to the right and down
        bbox[:, 2:, 0, 1] = 0.3
        bbox[:, 0, 0, 1] = -0.1
        bbox[:, 2:, 0, 2] = 0.3
        return cov, bbox


NMS = "clustering_algorithm: NMS nms_iou_threshold: 0.5 nms_confidence_threshold: 0.35 coverage_threshold: 0.1"


def confidences(tmp_path: Path, *flags: str) -> list[float]:
    spec = tmp_path / "spec.txt"
    spec.write_text(replaced(INFERENCE, ("dbscan_eps: 0.3", NMS)))
    write_image(tmp_path / "images" / "a.png", noise(64, 48))
    succeed("inference", "-e", spec, "-i", tmp_path / "images", "-r", tmp_path / "out", *flags)
    found: dict[str, list[dict[str, Any]]] = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    return [round(item["confidence"], 3) for item in found["a.png"]]


def test_confidences_of_nms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAO reads them where its NMS has moved those of other boxes to."""
    monkeypatch.setattr("qatkit.workflow.inference.open_engine", lambda *arguments, **options: ThreeCells())
    assert confidences(tmp_path) == [0.9, 0.6]
    assert confidences(tmp_path, "--tao_compat") == [0.6, 0.3]


def test_an_onnx_of_tao_has_the_classes_of_the_spec(tmp_path: Path) -> None:
    net = Net(48, 64)
    net.heads(net.conv_bn_relu("stem", net.input, 8, stride=16), classes=1)
    path = tmp_path / "model.onnx"
    export(Model(net.graph(), Labels(("anything",))), path, ExportOptions())
    bare = onnx.load(path)
    del bare.metadata_props[:]
    onnx.save(bare, path)
    write_image(tmp_path / "images" / "a.png", noise(64, 48))
    spec = tmp_path / "spec.txt"
    spec.write_text(INFERENCE)
    arguments = ("inference", "-e", spec, "-i", tmp_path / "images", "-r", tmp_path / "out", "-m", path)
    succeed(*arguments)
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["classes"] == ["car"]
    spec.write_text(replaced(INFERENCE, ('target_classes: "car"', "")))
    outcome = qatkit(*arguments)
    assert (outcome.code, "does not say what its classes are" in outcome.err) == (2, True)
    two = (('target_classes: "car"', 'target_classes: "car" target_classes: "van"'), ('key: "car"', 'key: "default"'))
    spec.write_text(replaced(INFERENCE, *two))
    outcome = qatkit(*arguments)
    assert (outcome.code, "the network has 1 classes, the spec 2" in outcome.err) == (2, True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for images, beside a spec that asks for overlays and KITTI files."""
    monkeypatch.setattr("qatkit.workflow.inference.open_engine", lambda *arguments, **options: ThreeCells())
    dump = ("\nbbox_handler_config {", "\nbbox_handler_config {\n  kitti_dump: true")
    spec = replaced(INFERENCE, ("dbscan_eps: 0.3", NMS), dump)
    (tmp_path / "spec.txt").write_text(spec)
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def infer(images: Path, *flags: object) -> Outcome:
    root = next(place for place in images.parents if (place / "spec.txt").exists())
    return qatkit("inference", "-e", root / "spec.txt", "-i", images, "-r", root / "out", *flags)


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder.parent / "out" / "detections.json").read_text())
    return found


def overlay(folder: Path, name: str) -> Image.Image:
    with Image.open(folder.parent / "out" / "images_annotated" / name) as image:
        image.load()
        return image


# Where no box of ThreeCells is drawn, in images of 64 x 48.
FREE = np.s_[24:, :]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_an_overlay_of_16_bits_shows_what_the_network_sees(folder: Path, name: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 48).round().astype(np.uint16).reshape(48, 64)
    Image.fromarray(ramp).save(folder / name)
    outcome = infer(folder)
    assert outcome.code == 0, outcome.err
    shown = np.asarray(overlay(folder, name))
    assert shown.shape == (48, 64, 3)
    np.testing.assert_array_equal(shown[FREE], (ramp >> 8)[FREE][..., None].repeat(3, axis=2))
    assert shown[47, 63].tolist() == [255, 255, 255]


KINDS = {
    "a.jpg": ("RGB", "JPEG"),
    "b.JPG": ("L", "JPEG"),
    "c.jpeg": ("CMYK", "JPEG"),
    "d.png": ("RGBA", "PNG"),
    "e.png": ("P", "PNG"),
    "f.png": ("1", "PNG"),
    "g.bmp": ("RGB", "BMP"),
    "h.ppm": ("RGB", "PPM"),
    "i.pgm": ("L", "PPM"),
    "j.webp": ("RGB", "WEBP"),
    "k.tif": ("RGB", "TIFF"),
    "l.tiff": ("L", "TIFF"),
}


def test_every_kind_of_picture(folder: Path) -> None:
    picture = Image.fromarray(noise(64, 48))
    for name, (mode, _) in KINDS.items():
        picture.convert(mode).save(folder / name)
    picture.save(folder / "m.jpg", format="MPO", save_all=True, append_images=[picture])  # as some cameras write it
    outcome = infer(folder)
    assert outcome.code == 0, outcome.err
    names = [*KINDS, "m.jpg"]
    assert list(written(folder)["images"]) == names
    assert all(len(found) == 2 for found in written(folder)["images"].values())
    formats = {name: overlay(folder, name).format for name in names}
    assert formats == {**{name: kind for name, (_, kind) in KINDS.items()}, "m.jpg": "JPEG"}
    assert {overlay(folder, name).size for name in names} == {(64, 48)}
    assert "passed over" not in outcome.out


def test_one_picture_of_another_ending(folder: Path) -> None:
    Image.fromarray(noise(64, 48)).save(folder / "a.gif")
    outcome = infer(folder / "a.gif")
    assert outcome.code == 0, outcome.err
    assert overlay(folder, "a.gif.png").format == "PNG"


@pytest.mark.parametrize("exif, size", [("ignore", (96, 128)), ("apply", (128, 96))])
def test_pictures_that_lie_on_their_side(folder: Path, exif: str, size: tuple[int, int]) -> None:
    """Boxes, overlay and KITTI file are in the pixels that were chosen, and the overlay is not turned again."""
    for name in ("a.jpg", "b.png", "c.webp"):
        tags = Image.Exif()
        tags[0x0112] = 6
        Image.fromarray(noise(96, 128)).save(folder / name, exif=tags)
    outcome = infer(folder, "--exif", exif)
    assert outcome.code == 0, outcome.err
    x, y = size[0] / 64, size[1] / 48
    for name in ("a.jpg", "b.png", "c.webp"):
        best = written(folder)["images"][name][0]["box"]
        assert best == pytest.approx([20 * x, 0.5 * y, 27 * x, 11 * y], abs=1)
        assert read_labels(folder.parent / "out" / "labels" / f"{name[0]}.txt")[0].box == pytest.approx(
            best, abs=1e-3
        )
        assert overlay(folder, name).size == size
        assert overlay(folder, name).getexif().get(0x0112, 1) == 1


def test_pictures_that_differ_in_their_endings_only(folder: Path) -> None:
    names = ["A.jpg", "a.jpg", "same.bmp", "same.png", "same.png.jpg", "z.png"]
    for name in names:
        write_image(folder / name, noise(64, 48))
    outcome = infer(folder)
    assert outcome.code == 0, outcome.err
    labels = sorted(path.name for path in (folder.parent / "out" / "labels").iterdir())
    assert labels == ["A.txt", "a.txt", "same.bmp.txt", "same.png.jpg.txt", "same.png.txt", "z.txt"]
    said = [line for line in outcome.out.splitlines() if "same" in line]
    assert len(said) == 1 and "same.bmp.txt, same.png.txt, same.png.jpg.txt" in said[0]
    assert list(written(folder)["images"]) == names


def test_what_else_is_in_the_folder_is_counted(folder: Path) -> None:
    write_image(folder / "a.png", noise(64, 48))
    for name in ("a.txt", "b.txt", "c.heic", "README", ".hidden", "._a.jpg"):
        (folder / name).write_text("something")
    (folder / "more").mkdir()
    outcome = infer(folder)
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if "passed over" in line]
    assert line.startswith("passed over, not images: 7 (")
    assert all(part in line for part in (".txt 2", ".heic 1", "hidden", "folder", "ending"))


def test_many_endings_are_cut_short(folder: Path) -> None:
    write_image(folder / "a.png", noise(64, 48))
    for number in range(100):
        (folder / f"frame.{number:03d}").touch()
    (line,) = [line for line in infer(folder).out.splitlines() if "passed over" in line]
    assert line.startswith("passed over, not images: 100 (") and line.endswith("*.005 1, 94 more kinds)")


def test_damaged_pictures_do_not_end_a_run(folder: Path) -> None:
    for number in range(7):
        write_image(folder / f"{number}.png", noise(64, 48, seed=number))
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").write_text("no picture")
    (folder / "5.png").write_bytes(b"")
    outcome = infer(folder)
    assert outcome.code == 3
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("error: 3 of 7 images cannot be read (")
    assert f"), such as {folder}/1.png: " in outcome.err
    found = written(folder)
    assert list(found["images"]) == ["0.png", "2.png", "3.png", "6.png"]
    assert {name: str(folder / name) in reason for name, reason in found["unread"].items()} == {
        name: True for name in ("1.png", "4.png", "5.png")
    }
    for kind in ("images_annotated", "labels"):
        assert sorted(path.stem for path in (folder.parent / "out" / kind).iterdir()) == ["0", "2", "3", "6"]
    status = [json.loads(line) for line in (folder.parent / "out" / "status.json").read_text().splitlines()]
    assert [line["status"] for line in status] == ["STARTED", "FAILURE"]


def test_no_picture_can_be_read(folder: Path) -> None:
    (folder / "1.png").write_text("no picture")
    outcome = infer(folder / "1.png")
    assert (outcome.code, outcome.err) == (3, f"error: {folder}/1.png: not an image that can be read\n")
    assert written(folder)["images"] == {}


def test_label_files_can_be_read_whatever_the_class_is_called(folder: Path) -> None:
    write_image(folder / "a.png", noise(64, 48))
    spec = folder.parent / "spec.txt"
    shown = 'key: "car" value { output_map: "Class 1"'
    spec.write_text(replaced(spec.read_text(), ('key: "car" value {', shown)))
    outcome = infer(folder)
    assert outcome.code == 0, outcome.err
    labels = read_labels(folder.parent / "out" / "labels" / "a.txt")
    assert [item.class_name for item in labels] == ["Class1"] * 2
    assert [item["name"] for item in written(folder)["images"]["a.png"]] == ["Class 1"] * 2


def test_a_file_name_in_another_encoding(folder: Path) -> None:
    name = os.fsdecode(b"\xe9.png")  # Latin-1, as in old archives
    write_image(folder / "a.png", noise(64, 48)).rename(folder / name)
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as left:
        main(["inference", "-e", f"{folder}/../spec.txt", "-i", f"{folder}", "-r", f"{folder}/../out", "-v"])
    shown.seek(0)
    assert left.value.code == 0
    assert "\\udce9.png: car 0.900" in shown.read()
    assert list(written(folder)["images"]) == [name]
