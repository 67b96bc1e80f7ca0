"""From the model that a training starts from to the network that is trained, and back to a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qatkit.console import info, table, warn
from qatkit.detectnet.labels import Labels
from qatkit.keras.fake_quant import QuantizedKerasGraph, to_fake_quantized
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.qat import initial_ranges
from qatkit.model.file import Model
from qatkit.quantization.folding import snap_biases_to_grid
from qatkit.quantization.placement import explain, place
from qatkit.spec import Experiment, to_text
from qatkit.training.options import TrainOptions
from qatkit.training.precision import Precision
from qatkit.training.start import frozen_layers


def build_network(
    start: Model,
    spec: Experiment,
    options: TrainOptions,
    precision: Precision,
    images: Iterable[NDArray[np.float32]],
) -> KerasGraph:
    """The network to train, with fake quantization where the spec enables it.

    images: batches [B, H, W, C] in 0..1, on which the ranges of a first quantization-aware training are calibrated.
    """
    if not spec.training_config.enable_qat:
        if start.is_qat:
            warn(f"{spec.model_config.pretrained_model_file} was trained with QAT, but enable_qat is off")
        return to_keras(start.graph, policy="mixed_bfloat16" if precision == "mixed" else "float32")
    if start.plan is not None:
        info("The model has been trained with QAT before: its placement and ranges are kept.")
        plan, ranges = start.plan, start.ranges
    else:
        plan = place(start.graph, options.placement, options.skip_layers)
        ranges = initial_ranges(start.graph, plan, images, options.calibrator)
    network = to_fake_quantized(start.graph, plan, ranges, options.ema_decay)
    if options.verbose:
        table(["layer", "operations", "kernel", "output"], explain(start.graph, plan), title=plan.summary())
    return network


def trained_model(network: KerasGraph, start: Model, spec: Experiment) -> Model:
    """What the trained network is worth keeping of: weights, ranges, plan, and the spec."""
    model = Model(network.read(), Labels.from_spec(spec), pruned=start.pruned, spec_text=to_text(spec))
    if not isinstance(network, QuantizedKerasGraph):
        return model
    plan, ranges = network.plan, network.ranges()
    # TAO's placement is there to compute what TAO computes, whose biases are not rounded.
    graph = model.graph
    if plan.placement == "tensorrt":
        graph = snap_biases_to_grid(graph, plan, ranges, frozen_layers(spec, graph))
    return replace(model, graph=graph, ranges=ranges, plan=plan)
