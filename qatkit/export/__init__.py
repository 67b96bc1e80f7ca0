"""Deployment, ONNX, Q/DQ, calibration cache, DeepStream.

`qatkit.export` is this package or the function of that name, whichever was asked for first; both can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from qatkit.export.from_python import export

        return export(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
