"""Situations of commands that need a model, and of specs (see `situations`)."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from qatkit.detectnet.labels import Labels
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import export
from qatkit.model.file import Model, save_model
from tests.support.commands import replaced, succeed
from tests.support.networks import Net
from tests.support.situations import (
    KITTI,
    SIZE,
    Make,
    converted,
    experiment,
    halve,
    kitti,
    large,
    picture,
    situation,
    write,
)
from tests.support.specs import INFERENCE

START = 'model_config { pretrained_model_file: "start.tlt" load_graph: true'
ONE_EPOCH = (("model_config {", START), ("num_epochs: 4", "num_epochs: 1"))


def network() -> Model:
    """A few layers that find cars."""
    net = Net(SIZE[1], SIZE[0])
    net.heads(net.conv_bn_relu("stem", net.input, 4, stride=16), classes=1)
    return Model(net.graph(), Labels(("car",)))


def deployed() -> None:
    """The network as ONNX, and the spec infer.txt, which asks for overlays and label files."""
    export(network(), Path("model.onnx"), ExportOptions())
    dump = ("\nbbox_handler_config {", "\nbbox_handler_config { kitti_dump: true")
    write("infer.txt", replaced(INFERENCE, ("model.tlt", "model.onnx"), dump))


def trainable(*names: str) -> None:
    """Images, converted, a model to start from, and the spec train.txt of one epoch."""
    kitti([f"{name}.jpg" for name in names or "abcdefgh"])
    succeed("dataset_convert", "-d", "kitti.txt", "-o", "records/")
    save_model(Path("start.tlt"), network())
    experiment("records", *ONE_EPOCH)


def infer_of(*pictures: str) -> None:
    """The network and images."""
    deployed()
    for name in pictures:
        picture(f"images/{name}")


# ---- Inference and evaluation


@situation("inference of same.jpg and same.png")
def _same() -> None:
    infer_of("same.jpg", "same.png")


@situation("inference of a folder with other files")
def _others() -> None:
    infer_of("a.JPG", "b.webp", "c.tif")
    write("images/notes.txt", "")
    write("images/phone.heic", "")
    os.mkfifo("images/pipe.jpg")


@situation("inference of a folder without pictures")
def _none() -> None:
    infer_of()
    write("images/phone.heic", "")


@situation("inference of a folder with half a JPEG")
def _half() -> None:
    infer_of("a.jpg", "b.jpg")
    halve("images/b.jpg")


@situation("inference of 16-bit greyscale")
def _thermal() -> None:
    infer_of()
    ramp = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[::-1]).astype(np.uint16)
    Path("images").mkdir()
    Image.fromarray(ramp).save("images/thermal.png")


@situation("inference of 192 megapixels")
def _large() -> None:
    infer_of("a.jpg")
    large("images/b.png", 16000, 12000)


@situation("evaluation of a picture that was cut off")
def _evaluated() -> None:
    converted()
    deployed()
    for name in "abcd":
        halve(f"images/{name}.jpg")


@situation("a picture was resized after conversion, evaluated")
def _resized() -> None:
    converted()
    deployed()
    for name in "abcd":
        picture(f"images/{name}.jpg", (32, 24))


# ---- Training


@situation("training with a picture that was cut off", "training with a picture that was cut off, --strict")
def _train_cut_off() -> None:
    trainable()
    split = [Path(f"images/{name}.jpg") for name in "abcdefgh"]
    records = b"".join(path.read_bytes() for path in Path("records").glob("-fold-001-*"))
    halve(str(next(path for path in split if f"images/{path.stem}".encode() in records)))


@cache
def finished() -> TemporaryDirectory[str]:
    """A folder with a training of one epoch, which takes seconds."""
    folder, here = TemporaryDirectory(), Path.cwd()
    os.chdir(folder.name)
    try:
        trainable()
        succeed("train", "-e", "train.txt", "-r", "results")
    finally:
        os.chdir(here)
    return folder


@situation("training for more epochs in the same folder", "training for more epochs in the same folder, --extend")
def _longer() -> None:
    shutil.copytree(finished().name, ".", dirs_exist_ok=True)
    path = Path("train.txt")
    path.write_text(replaced(path.read_text(), ("num_epochs: 1", "num_epochs: 2")))


# ---- Specs


def with_spec(*edits: tuple[str, str]) -> Make:
    """A spec for data of another machine."""
    elsewhere = ('image_directory_path: "."', 'image_directory_path: "/data"')
    return lambda: experiment("/data/records/*", elsewhere, *edits)


situation("a variable that is not set")(
    with_spec(("model_config {", 'model_config { pretrained_model_file: "$NO_SUCH_FOLDER/start.tlt"'))
)
situation("freeze_blocks of a block that is not there")(
    with_spec(("model_config {", 'model_config { pretrained_model_file: "start.tlt" freeze_blocks: 9'))
)
situation("a field that has no effect")(with_spec(("model_config {", "model_config { dropout_rate: 0.5")))


@situation("sample_modifier_config in capitals")
def _capitals() -> None:
    kitti()
    mapping = 'source_to_target_class_mapping { key: "CAR" value: "CAR" }'
    modifier = f'sample_modifier_config {{ {mapping} dominant_target_classes: "CAR" num_duplicates: 1'
    write("kitti.txt", f'{KITTI}{modifier} minimum_target_class_imbalance {{ key: "CAR" value: 0.5 }} }}')


@situation("output_map with a blank")
def _output_map() -> None:
    infer_of("a.jpg")
    path = Path("infer.txt")
    path.write_text(replaced(path.read_text(), ('key: "car" value {', 'key: "car" value { output_map: "my car"')))


# ---- Calibration caches and a fixed batch


def cached(bits: str) -> Make:
    """A model with a calibration cache in which every scale is this one."""

    def make() -> None:
        converted()
        deployed()
        names = ("input_1:0", "stem/BiasAdd:0")
        lines = "".join(f"{name}: {bits}\n" for name in names)
        write("cal.bin", f"TRT-8503-EntropyCalibration2\n{lines}")

    return make


situation("a cache of scales 0")(cached("0"))
situation("a cache of infinite scales")(cached("7f800000"))
situation("a cache of vanishing scales")(cached("31a60d5b"))


@situation("export with a fixed batch")
def _fixed() -> None:
    save_model(Path("start.tlt"), network())
