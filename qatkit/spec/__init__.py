"""Spec files: protobuf text in, checked messages with their effective defaults out."""

from qatkit.spec import messages
from qatkit.spec.contradictions import class_names
from qatkit.spec.load import (
    Review,
    load_dataset_export,
    load_experiment,
    load_inference,
    review_dataset_export,
    review_experiment,
    review_inference,
)
from qatkit.spec.messages import *  # noqa: F403
from qatkit.spec.parse import to_json, to_text

__all__ = [
    "Review",
    "class_names",
    "load_dataset_export",
    "load_experiment",
    "load_inference",
    "review_dataset_export",
    "review_experiment",
    "review_inference",
    "to_json",
    "to_text",
    *messages.__all__,
]
