"""The checked-in modules are what protos/generate.py makes of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from qatkit.spec import messages

ROOT = Path(__file__).parents[2]
GENERATED = Path("qatkit/spec/generated")


def test_generated_modules_are_fresh(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools regenerates the modules")
    subprocess.run([sys.executable, ROOT / "protos" / "generate.py", tmp_path], check=True)
    fresh, checked_in = tmp_path / GENERATED, ROOT / GENERATED
    modules = {path.name: path.read_text("utf-8") for path in fresh.glob("*_pb2.py")}
    assert len(modules) == len(list((ROOT / "protos").glob("*.proto"))) > 0
    assert {path.name: path.read_text("utf-8") for path in checked_in.glob("*_pb2.py")} == modules
    # What stubs look like depends on protoc's version.
    assert {path.name for path in checked_in.glob("*.pyi")} == {path.name for path in fresh.glob("*.pyi")}


# TAO's numbers, on which binary compatibility rests; a sample from each end of the schema.
@pytest.mark.parametrize(
    "message, field, number",
    [
        ("Experiment", "cost_function_config", 8),
        ("Experiment", "dataset_export_config", 12),
        ("AugmentationConfig.Preprocessing", "enable_auto_resize", 16),
        ("AugmentationConfig.ColorAugmentation", "contrast_center", 8),
        ("ModelConfig", "all_projections", 15),
        ("LabelFilter.SourceClassLabelFilter", "source_class_names", 4),
        ("DatasetExportConfig", "sample_modifier_config", 5),
        ("ClasswiseBboxHandlerConfig", "bbox_color", 7),
        ("ClasswiseBboxHandlerConfig.BboxColor", "R", 1),
        ("InferencerConfig", "stride", 11),
        ("TrainingConfig", "enable_qat", 8),
        ("WandBConfig", "mode", 10),
    ],
)
def test_field_numbers(message: str, field: str, number: int) -> None:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"qatkit.{message}")
    assert descriptor.fields_by_name[field].number == number


def test_every_message_is_exported() -> None:
    pool = descriptor_pool.Default()
    files = [
        pool.FindFileByName(f"{GENERATED.as_posix()}/{path.stem}.proto") for path in (ROOT / "protos").glob("*.proto")
    ]
    assert sorted(name for file in files for name in file.message_types_by_name) == sorted(messages.__all__)
