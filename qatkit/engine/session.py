"""ONNX Runtime's sessions, as the engines open them."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from qatkit.errors import ModelError

# Optimizations that would scale the products of codes before they are added up.
_INEXACT = ["ConvMulFusion", "ConvAddFusion"]


def open_session(model: onnx.ModelProto, threads: int = 0, *, optimized: Path | None = None) -> ort.InferenceSession:
    """A CPU session with deterministic results. threads: 0 = all cores. optimized: where to write what really runs.

    Raises ModelError when ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Its own Q/DQ rewriting would round biases and sums in ways TensorRT does not.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Threads that wait for more work would take the cores from the session that runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=_INEXACT
        )
    except Exception as error:  # ONNX Runtime has a class per status code and no common base.
        raise ModelError(f"ONNX Runtime refuses the network: {error}") from error
