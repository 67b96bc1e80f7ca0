"""What a file is that is not one of qatkit's models, and what its owner can do with it."""

from __future__ import annotations

from pathlib import Path

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ENCRYPTED_ENDINGS = (".tlt", ".etlt")


def describe_foreign(data: bytes, path: Path) -> str:
    """One sentence about the file with the content `data`, for an error message."""
    if not data:
        return "the file is empty"
    if data.startswith(HDF5_SIGNATURE):
        return "this is a Keras HDF5 file, not a qatkit model"
    if data.startswith(b"PK\x03\x04"):
        return "this is a zip archive (a TAO checkpoint?), not a qatkit model"
    if data[:4] in (b"ftrt", b"ptrt"):
        return "this is a TensorRT engine, not a qatkit model"
    if path.suffix.lower() == ".onnx":
        return "this is an ONNX file, not a qatkit model"
    if path.suffix.lower() in _ENCRYPTED_ENDINGS:
        return (
            f"this is not a qatkit model; if it is NVIDIA's encrypted {path.suffix}, it cannot be read: how its key"
            " is derived is not public (save the model as .hdf5 with TAO 5 and use that)"
        )
    return "this is not a qatkit model"
