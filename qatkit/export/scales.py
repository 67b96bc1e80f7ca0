"""What a calibration cache gives the tensors of one network.

TensorRT writes lines that give nothing: 0 or infinite, for a tensor whose calibration saw nothing. With infinite
scales it quantizes nothing, and from 8.5 on it stops at a 0 that it needs (its GitHub issues 672, 2984 and 4446).
Here such a tensor stays float. Of a tensor that always was 0 it may also write float32's epsilon as the range.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from qatkit import console
from qatkit.errors import ModelError
from qatkit.export.cache import CalibrationCache, is_usable, read_cache
from qatkit.quantization.folding import CODE_MAX

# Images reach 1, and what layers make of them lies between these by far. TensorRT writes a range of 1e-7 to 6e-7 for
# what was 0 all the time.
_SMALLEST_RANGE, _LARGEST_RANGE = 1e-6, 1e9
# What is odd with a scale that is used all the same -> where it comes from, and what it does.
_USED = {
    "vanishingly small": "as of a tensor that was 0 in all the calibration; it is used, and cuts off larger values",
    "absurdly large": "as of a calibration that diverged; it is used, and rounds smaller values to 0",
}
_CALIBRATE = "a scale is the largest magnitude / 127, 3c010204 for an image in 0..1; calibrate again, with images"


def scales_for(tensors: Collection[str], path: Path) -> dict[str, float]:
    """The usable scales in the calibration cache `path`, for an ONNX with `tensors`; names of others are among them.

    Warns of odd scales, and of names that the ONNX lacks, for TensorRT does not. Raises ModelError for a damaged file
    and for one that gives the ONNX nothing: says whether its scales or its names are at fault.
    """
    cache = read_cache(path)
    known = [name for name in cache.scales if name in tensors]
    _check_any_sound(cache, cache.scales, path)
    if not known:
        first = next(iter(cache.scales))
        raise ModelError(
            f"{path}: names no tensor of this ONNX; the first is {first} in line {cache.lines[first]}",
            hint="it was written for another file or naming",
        )
    _check_any_sound(cache, known, path)
    _warn_of_odd(cache, known, path)
    if strangers := [name for name in cache.scales if name not in tensors]:
        console.warn(
            f"{path}: {len(strangers)} of {len(cache.scales)} names are no tensors of the network, such as "
            f"{strangers[0]}; TensorRT ignores them and runs what they were for in float"
        )
    return dict(cache.usable.scales)


def _fault(scale: float) -> str:
    """What is odd with a scale; "" for a sound one."""
    if is_usable(scale):
        amax = scale * CODE_MAX
        return "vanishingly small" if amax < _SMALLEST_RANGE else "absurdly large" if amax > _LARGEST_RANGE else ""
    if scale == 0:
        return "0"
    return "infinite" if math.isinf(scale) else "denormal" if scale < 1 else "too large"


def _check_any_sound(cache: CalibrationCache, names: Collection[str], path: Path) -> None:
    """Raise ModelError when none of `names` has a scale that quantization is worth anything with."""
    if not names:
        raise ModelError(f"{path}: holds no scale: an empty calibration", hint=_CALIBRATE)
    faults = Counter(_fault(cache.scales[name]) for name in names)
    if "" in faults:
        return
    whose = "" if len(cache.scales) == len(names) else " for tensors of this ONNX"
    kinds = ", ".join(f"{count} {fault}" for fault, count in faults.items())
    if len(faults) > 1:
        found = f"all {len(names)} scales{whose} are of no use: {kinds}"
    elif len(names) > 1:
        found = f"all {len(names)} scales{whose} are {next(iter(faults))}"
    else:
        found = f"the only scale{whose} is {next(iter(faults))}"
    reason = ": an empty calibration" if faults.keys() == {"0"} else ""
    raise ModelError(f"{path}: {found}{reason}; {_first(cache, names)}", hint=_CALIBRATE)


def _warn_of_odd(cache: CalibrationCache, names: Iterable[str], path: Path) -> None:
    """Count the odd ones among the scales of `names`, tensors of the ONNX."""
    faults = {name: _fault(cache.scales[name]) for name in names}
    unusable = [name for name, fault in faults.items() if fault and fault not in _USED]
    if unusable:
        kinds = " or ".join(dict.fromkeys(faults[name] for name in unusable))
        _warn(cache, unusable, path, kinds, "a tensor with such a line counts as one without a scale and stays float")
    for kind, effect in _USED.items():
        if odd := [name for name, fault in faults.items() if fault == kind]:
            _warn(cache, odd, path, kind, effect)


def _warn(cache: CalibrationCache, names: Collection[str], path: Path, fault: str, effect: str) -> None:
    counted = f"{len(names)} of {len(cache.scales)} scales {'is' if len(names) == 1 else 'are'} {fault}"
    console.warn(f"{path}: {counted}; {_first(cache, names)}; {effect}")


def _first(cache: CalibrationCache, names: Iterable[str]) -> str:
    name = next(iter(names))
    return f"line {cache.lines[name]}: scale {cache.scales[name]:.3g} of {name}"
