"""Spec files: protobuf text in, checked messages with their effective defaults out."""

from qatkit.spec import messages
from qatkit.spec.messages import *  # noqa: F403

__all__ = [*messages.__all__]
