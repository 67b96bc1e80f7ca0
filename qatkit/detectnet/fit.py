"""Whether a network is the one that a training spec describes: the same images, the same classes."""

from __future__ import annotations

from collections.abc import Sequence

from qatkit.errors import UsageError
from qatkit.graph.nodes import Shape
from qatkit.spec import Experiment, class_names


def input_shape(spec: Experiment) -> Shape:
    """(height, width, channels) of the network that `spec` describes."""
    image = spec.augmentation_config.preprocessing
    return image.output_image_height, image.output_image_width, image.output_image_channel


def check_fit(spec: Experiment, shape: Shape, classes: Sequence[str], name: str = "the model") -> None:
    """Raise UsageError when a network called `name` is not for the images and the classes of `spec`.

    The file is in order, and so is the spec: they do not belong together.
    """
    if shape != input_shape(spec):
        raise UsageError(
            f"{name} takes {size(shape)} images, the spec has {size(input_shape(spec))}",
            hint="augmentation_config.preprocessing.output_image_*",
        )
    if tuple(classes) != tuple(class_names(spec)):
        raise UsageError(
            f"{name} knows {', '.join(classes)}; the spec has {', '.join(class_names(spec))}",
            hint="cost_function_config.target_classes, in the same order",
        )


def size(shape: Shape) -> str:
    """(height, width, channels) -> `960x544x3`."""
    return f"{shape[1]}x{shape[0]}x{shape[2]}"
