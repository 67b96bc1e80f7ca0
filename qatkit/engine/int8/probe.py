"""What this CPU multiplies exactly."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import TensorProto, helper

from qatkit.engine.int8.bias import UINT8_MAX, integer_sums
from qatkit.engine.int8.conv import Im2colConv, Operands, qlinear_conv
from qatkit.engine.int8.emit import MICROSOFT, SIGNED_ZERO_POINT, Band, Codes, IntegerWriter
from qatkit.engine.int8.graph import Op
from qatkit.engine.int8.scheme import Kernel
from qatkit.engine.session import open_session
from qatkit.export.onnx_model import OPSET


@cache
def wide_codes_are_exact() -> bool:
    """Whether this CPU multiplies uint8 codes up to 255 with int8 weights exactly, by trying.

    Kernels for AVX2 and AVX-512 without VNNI add pairs of products in int16, where 2 * 255 * 127 overflows.
    """
    channels, filters = 64, 32
    writer = IntegerWriter()
    source = Codes("x", 1.0, SIGNED_ZERO_POINT)
    kernel = Kernel(np.full((filters, channels, 3, 3), 127, np.int8), np.ones(filters, np.float32))
    operands = Operands(source, kernel, np.zeros(filters, np.float32))
    first, second = (Op("Conv", ("x", "w"), (name,), {"kernel_shape": [3, 3]}) for name in "yz")
    full = float(127 * 127 * channels * 9)
    unrolled = Im2colConv(writer, first, operands, {"x": (8, 8), "y": (6, 6)})
    writer.op("Identity", [unrolled.products(Band(0, 6))], "sums")
    # The sum is 100 codes above the zero point.
    sums = integer_sums(kernel.codes, np.full(filters, 100 / full), np.zeros(filters), UINT8_MAX)
    assert sums is not None  # there is no bias
    writer.op("Identity", [qlinear_conv(writer, second, source, kernel.codes, sums, SIGNED_ZERO_POINT)], "codes")
    image = helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 8, 8, channels])
    outputs = [
        helper.make_tensor_value_info("sums", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("codes", TensorProto.UINT8, None),
    ]
    body = helper.make_graph(writer.nodes, "probe", [image], outputs, list(writer.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    session = open_session(helper.make_model(body, opset_imports=opsets, ir_version=8), threads=1)
    products, codes = session.run(None, {"x": np.full((1, 8, 8, channels), 255, np.uint8)})
    return bool((products == full).all() and (codes == SIGNED_ZERO_POINT + 100).all())
