"""Spec files: protobuf text in, checked messages with their effective defaults out."""

from qatkit.spec import messages
from qatkit.spec.load import class_names, load_dataset_export, load_experiment, load_inference
from qatkit.spec.messages import *  # noqa: F403
from qatkit.spec.parse import to_text

__all__ = [
    "class_names",
    "load_dataset_export",
    "load_experiment",
    "load_inference",
    "to_text",
    *messages.__all__,
]
