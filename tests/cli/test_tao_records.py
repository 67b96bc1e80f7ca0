"""Record files that the original wrote are trained on, whatever else lies in their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.spec import load_dataset_export
from tests.support import golden_data
from tests.support.commands import replaced, succeed
from tests.support.networks import Net
from tests.support.specs import EXPERIMENT

TOPIC = "11_tfrecord"


def spec_of(case: dict[str, Any], folder: Path) -> Path:
    """One epoch on all files of a case, all classes as one, the same files to validate on; from a tiny network."""
    root = golden_data.ROOT / TOPIC
    kitti = load_dataset_export(root / case["id"] / "spec.txt").kitti_config
    decoded = json.loads((root / case["id"] / "decoded.json").read_text())
    names = {name for records in decoded.values() for one in records for name in one["target/object_class"]["value"]}
    source = f'tfrecords_path: "{root / case["id"] / "out"}/*"'
    source += f' image_directory_path: "{root / kitti.root_directory_path}"'
    mapping = "".join(f'target_class_mapping {{ key: "{name}" value: "car" }}\n' for name in names - {"dontcare"})
    net = Net(48, 64)
    net.heads(net.conv_bn_relu("stem", net.input, 8, stride=16), classes=1)
    save_model(folder / "start.tlt", Model(net.graph(), Labels(("car",))))
    text = replaced(
        EXPERIMENT,
        ('tfrecords_path: "records/*" image_directory_path: "images"', source),
        ('target_class_mapping { key: "car" value: "car" }', mapping),
        ("validation_fold: 0", f"validation_data_source {{ {source} }}"),
        ('image_extension: "png"', f'image_extension: "{kitti.image_extension.lstrip(".")}"'),
        ("output_image_channel: 3", "output_image_channel: 3 enable_auto_resize: true"),
        ('arch: "resnet"', f'pretrained_model_file: "{folder / "start.tlt"}" load_graph: true'),
        ("num_epochs: 4", "num_epochs: 1"),
    )
    path = folder / "spec.txt"
    path.write_text(text)
    return path


@golden_data.parametrize(TOPIC)
def test_files_of_the_original_are_trained_on(case: dict[str, Any], tmp_path: Path) -> None:
    decoded = json.loads((golden_data.ROOT / TOPIC / case["id"] / "decoded.json").read_text())
    spec = spec_of(case, tmp_path)
    images = sum(map(len, decoded.values()))
    assert json.loads(succeed("check", "-e", spec, "--json").out)["data"]["splits"]["training"]["images"] == images
    succeed("train", "-e", spec, "-r", tmp_path / "results")
    before, after = open_model(tmp_path / "start.tlt"), open_model(tmp_path / "results" / "weights" / "model.tlt")
    assert (after.graph.weight("output_cov", "kernel") != before.graph.weight("output_cov", "kernel")).any()
