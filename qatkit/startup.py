"""Importing TensorFlow without what it prints while it is imported."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

from qatkit.processor import Processor, this_processor


def import_tensorflow() -> None:
    """Import TensorFlow; its start-up lines, which no setting turns off, are shown only if the import fails."""
    set_environment()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        try:
            os.dup2(captured.fileno(), 2)
            importlib.import_module("tensorflow")
            importlib.import_module("tf_keras")
        except BaseException:
            captured.seek(0)
            os.write(kept, captured.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def set_environment() -> None:
    """Set TensorFlow's environment variables where the user has not; it reads them when it is imported."""
    for name, value in settings(this_processor()).items():
        os.environ.setdefault(name, value)


def settings(processor: Processor) -> dict[str, str]:
    """TensorFlow's environment variables on a processor."""
    # Only errors that end the program; the Keras that TFMOT needs.
    values = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    # By itself TensorFlow takes oneDNN on processors with VNNI or AMX only. With AVX2 alone a training step is as
    # quick with it (ResNet10) or quicker (pruned 0.9, QAT 0.7 of the time). Elsewhere (ARM, older ones) its own
    # choice stays.
    if processor.features is not None and "avx2" in processor.features:
        values["TF_ENABLE_ONEDNN_OPTS"] = "1"
    return values
