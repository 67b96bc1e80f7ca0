"""qatkit: the TAO DetectNet_v2 workflow as an open toolkit, on the command line and from Python.

From Python: the functions of `qatkit.api`, as `qatkit.open_model` and so on. They and what they need are imported
when one of them is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["evaluate", "export", "load_spec", "open_engine", "open_model", "prune", "save_model"]

if TYPE_CHECKING:
    from qatkit.api import evaluate, export, load_spec, open_engine, open_model, prune, save_model
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from qatkit import api

        # All at once: importing the package `qatkit.export` gives its name to it, which here is that of the function.
        globals().update({known: getattr(api, known) for known in __all__})
        return globals()[name]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
