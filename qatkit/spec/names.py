"""What class names become on their way from labels to records."""

from __future__ import annotations


def stored_name(name: str) -> str:
    """The name that `dataset_convert` writes for `name` in the labels: in lower case, without spaces, as TAO's."""
    return name.replace(" ", "").lower()
