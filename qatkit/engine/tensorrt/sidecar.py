"""What a TensorRT engine does not say of itself: `<engine>.json` beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qatkit.errors import ModelError
from qatkit.export.metadata import Metadata
from qatkit.files import write_json


@dataclass(frozen=True)
class EngineSidecar:
    """precision: fp32, fp16, int8-ptq or int8-qat. outputs: names of the coverage and the bbox tensor.

    onnx: name of the file that the engine was built from. tensorrt: version that built it. dla_core: see
    `EngineOptions`. metadata: of the ONNX, None when qatkit did not write it. sha256: of the engine file, so that the
    sidecar of an engine that is gone does not describe its successor.
    """

    precision: str
    outputs: tuple[str, str]
    onnx: str
    tensorrt: str
    dla_core: int | None
    metadata: Metadata | None
    sha256: str

    def write(self, engine: Path) -> Path:
        """Write the sidecar of the file `engine`; return its path."""
        path = sidecar_path(engine)
        write_json(path, {**asdict(self), "metadata": self.metadata and self.metadata.to_json()})
        return path

    @classmethod
    def read(cls, engine: Path, content: bytes) -> EngineSidecar | None:
        """The sidecar of the file `engine`, which holds `content`; None when it has none.

        Raises ModelError for a sidecar that is damaged or of another engine.
        """
        path = sidecar_path(engine)
        if not path.is_file():
            return None
        try:
            sidecar = cls._from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{path}: damaged: {error}", hint="build the engine again") from error
        if sidecar.sha256 != fingerprint(content):
            raise ModelError(f"{path}: belongs to another {engine.name}", hint="build the engine again, or delete it")
        return sidecar

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> EngineSidecar:
        metadata = values.pop("metadata")
        if metadata is not None:
            metadata = Metadata.from_json(metadata)
        cov, bbox = values.pop("outputs")
        return cls(outputs=(cov, bbox), metadata=metadata, **values)


def sidecar_path(engine: Path) -> Path:
    """`model.engine` -> `model.engine.json`."""
    return engine.with_name(f"{engine.name}.json")


def fingerprint(content: bytes) -> str:
    """SHA-256 of `content`, hexadecimal."""
    return hashlib.sha256(content).hexdigest()
