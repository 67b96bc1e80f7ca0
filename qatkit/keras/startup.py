"""Importing TensorFlow: without what it prints while it is imported, and with a clear word where it is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile

from qatkit.errors import EnvironmentProblem

# What `qatkit[train]` installs: module -> how it is called.
_PARTS = {
    "tensorflow": "TensorFlow",
    "tf_keras": "tf-keras",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
}


def has_tensorflow() -> bool:
    """Whether all that `import_tensorflow` asks for is installed; nothing is imported."""
    return not _missing()


def import_tensorflow() -> None:
    """Import TensorFlow; its start-up lines, which no setting turns off, are shown only if the import fails.

    Raises EnvironmentProblem where it, or what belongs to it, is not installed.
    """
    if missing := _missing():
        raise EnvironmentProblem(
            f"not installed here: {', '.join(missing)}, which training and the running of a .tlt need",
            hint="pip install 'qatkit[train]'",
        )
    # Only errors that end the program; the Keras that TFMOT needs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
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


def _missing() -> list[str]:
    return [name for module, name in _PARTS.items() if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False
