"""An INT8 scheme -> a network of integer operations that ONNX Runtime's CPU kernels compute exactly and fast.

ONNX Runtime runs TensorRT-style Q/DQ as float convolutions or with S8S8 kernels, both slower than the float network.
Its fast kernels multiply uint8 activations (NHWC) with int8 weights. So codes are held as

- uint8 0..127 with zero point 0 where nothing is negative (after a ReLU, the image): these are the int8 codes, and no
  pair of products 2 * 127 * 127 overflows the int16 sums of CPUs without VNNI; what exceeds 127 is clamped;
- uint8 1..255 with zero point 128 elsewhere; CPUs without VNNI get positive and negative part side by side.

A kernel Conv (+ ReLU) becomes QLinearConv, its bias made of integers (`int8_bias`). A kernel with a sum or another
activation has to be rounded once, after those: MatMulIntegerToFloat adds up its products over the unrolled windows;
bias, sum, activation and rounding follow in float. Both are TensorRT's arithmetic: an integer sum, scaled, a bias in
float, one rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from qatkit.engine.int8.bias import UINT8_MAX, IntegerSums, integer_sums
from qatkit.engine.int8.conv import Im2colConv, Operands, has_im2col, qlinear_conv, signed_parts, space_to_depth
from qatkit.engine.int8.emit import MICROSOFT, SIGNED_ZERO_POINT, Band, Codes, IntegerWriter
from qatkit.engine.int8.fusion import ConvBlock
from qatkit.engine.int8.graph import Op, clip_bounds, non_negative, sizes
from qatkit.engine.int8.scheme import Int8Scheme, Kernel
from qatkit.quantization.folding import CODE_MAX


def lower(scheme: Int8Scheme, *, wide_codes: bool) -> onnx.ModelProto:
    """The integer network; its input is the image [B, H, W, C] float32, its outputs are those of the scheme's graph.

    wide_codes: whether this CPU multiplies codes up to 255 exactly.
    """
    return _Lowering(scheme, wide_codes).model()


def codes_of(tensor: str) -> str:
    """The tensor of the integer network that holds `tensor` of the float network, uint8 [B, h, w, c]."""
    return f"{tensor}/codes"


class _Lowering:
    def __init__(self, scheme: Int8Scheme, wide_codes: bool) -> None:
        self.writer = IntegerWriter()
        self.scheme = scheme
        self.graph = scheme.graph
        self.wide_codes = wide_codes
        self.sizes = sizes(scheme.graph)
        self.codes: dict[str, Codes] = {}
        self.floats: dict[str, str] = {}

    def model(self) -> onnx.ModelProto:
        ends = {block.end: block for block in self.scheme.blocks.values()}
        inside = {op.output for block in ends.values() for op in block.ops}
        self._image()
        for op in self.graph.ops:
            if op.output in ends:
                self._block(ends[op.output])
            elif op.output not in inside:
                self._operation(op)
        for name in self.graph.outputs:
            if (found := self._values(name)) != name:
                self.writer.op("Identity", [found], name)
        return self._wrapped()

    def _wrapped(self) -> onnx.ModelProto:
        channels, height, width = self.graph.image
        shape = ["N", height or "H", width or "W", channels or "C"]
        image = helper.make_tensor_value_info(self.graph.input, TensorProto.FLOAT, shape)
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.graph.outputs]
        body = helper.make_graph(self.writer.nodes, "int8", [image], outputs, list(self.writer.constants.values()))
        opsets = [helper.make_opsetid("", self.graph.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(body, opset_imports=opsets, ir_version=8)

    # The two forms of a tensor: codes [B, h, w, c], floats [B, c, h, w].

    def _image(self) -> None:
        name = self.graph.input
        if name in self.scheme.scales:
            self._round(name, name)
        else:
            self.floats[name] = self.writer.to_nchw(name)

    def _round(self, values: str, name: str) -> None:
        """Hold tensor `name`, found as float [B, h, w, c] in `values`, as codes."""
        self.codes[name] = self.writer.quantize(values, self.scheme.scales[name], self._zero(name), codes_of(name))

    def _zero(self, name: str) -> int:
        return 0 if non_negative(self.graph, name) else SIGNED_ZERO_POINT

    def _values(self, name: str) -> str:
        """Tensor `name` as float [B, c, h, w]; a quantized one as what its codes stand for."""
        if name in self.graph.constants:
            return self._constant(name)
        if name not in self.floats:
            codes = self.codes[name]
            turned = Codes(self.writer.to_nchw(codes.tensor), codes.scale, codes.zero)
            self.floats[name] = self.writer.dequantize(turned)
        return self.floats[name]

    def _constant(self, name: str) -> str:
        """A constant of the float network under its own name."""
        if name and name not in self.writer.constants:
            self.writer.constant(self.graph.constants[name], name)
        return name

    # Operations outside the fused kernels.

    def _operation(self, op: Op) -> None:
        scales = self.scheme.scales
        quantized = op.output in scales
        if op.kind == "MaxPool" and quantized and scales.get(op.inputs[0]) == scales[op.output]:
            source = self.codes[op.inputs[0]]
            pooled = self.writer.op("NhwcMaxPool", [source.tensor], domain=MICROSOFT, **op.attributes)
            self.codes[op.output] = Codes(pooled, source.scale, source.zero)
        elif op.kind == "Concat" and quantized and op.get("axis", 1) == 1:
            parts = [self._in_codes_of(op.output, name) for name in op.inputs]
            joined = self.writer.op("Concat", parts, axis=3)
            self.codes[op.output] = Codes(joined, scales[op.output], self._zero(op.output))
        else:
            self._float_operation(op)

    def _in_codes_of(self, target: str, name: str) -> str:
        """Tensor `name` in the codes of tensor `target`: as it is, or rounded again."""
        scale, zero = self.scheme.scales[target], self._zero(target)
        codes = self.codes.get(name)
        if codes is not None and (codes.scale, codes.zero) == (scale, zero):
            return codes.tensor
        values = self.writer.dequantize(codes) if codes else self.writer.to_nhwc(self._values(name))
        return self.writer.quantize(values, scale, zero).tensor

    def _float_operation(self, op: Op) -> None:
        inputs = [self._values(name) if name else "" for name in op.inputs]
        if kernel := self.scheme.kernels.get(op.output):
            inputs[1] = self.writer.constant(kernel.values)
        self.writer.nodes.append(
            helper.make_node(op.kind, inputs, op.outputs, name=op.output, domain=op.domain, **op.attributes)
        )
        self.floats |= {name: name for name in op.outputs}
        if op.output in self.scheme.scales:
            self._round(self.writer.to_nhwc(self.floats.pop(op.output)), op.output)

    # Fused kernels.

    def _block(self, block: ConvBlock) -> None:
        limit = self._saturation(block)
        sums = None if limit is None else self._integer_sums(block, limit)
        if limit is None or sums is None:
            self._rounded_block(block)
        else:
            self._saturated_block(block, sums, limit)

    def _integer_sums(self, block: ConvBlock, limit: int) -> IntegerSums | None:
        """Convolution and bias of a block in integers; None where they are better added in float."""
        kernel, conv = self.scheme.kernels[block.conv.output], block.conv
        source, end = (np.float64(np.float32(self.scheme.scales[name])) for name in (conv.inputs[0], block.end))
        bias = _bias(self.graph.constants, conv, len(kernel.scale)).astype(np.float64)
        if self._zero(block.end) != 0:
            limit = UINT8_MAX  # signed codes fill it, and leave no room for a shift
        return integer_sums(kernel.codes, kernel.scale * (source / end), bias / end, limit)

    def _saturated_block(self, block: ConvBlock, sums: IntegerSums, limit: int) -> None:
        """A block that is a convolution, rounding, and saturation at `limit`."""
        writer, zero = self.writer, self._zero(block.end)
        source, kernel = self._unsigned(block.conv, sums.codes)
        conv, source, kernel = space_to_depth(writer, block.conv, source, kernel, self.sizes)
        codes = qlinear_conv(writer, conv, source, kernel, sums, zero)
        if sums.shift.any():
            codes = writer.subtract(codes, sums.shift, self.sizes.get(block.conv.output, (1, 1))[1])
        codes = writer.clamp(codes, zero, limit, codes_of(block.end))
        self.codes[block.end] = Codes(codes, self.scheme.scales[block.end], zero)

    def _unsigned(self, conv: Op, kernel: NDArray[np.int8]) -> tuple[Codes, NDArray[np.int8]]:
        """The image of `conv` and its kernel in a form that this CPU multiplies exactly."""
        source = self.codes[conv.inputs[0]]
        if source.zero == 0 or self.wide_codes:
            return source, kernel
        return signed_parts(self.writer, source, kernel)

    def _saturation(self, block: ConvBlock) -> int | None:
        """The largest code of a block whose activation is saturation at 0 and at that code; else None."""
        if block.addend is not None or not self._multiplies_codes(block.conv):
            return None
        kinds = [op.kind for op in block.activation]
        if kinds in ([], ["Relu"]):
            return CODE_MAX
        if kinds == ["Clip"]:
            low, high = clip_bounds(self.graph, block.activation[0])
            if low == 0 and high is not None:
                return min(CODE_MAX, int(np.rint(np.float32(high) / np.float32(self.scheme.scales[block.end]))))
        return None

    def _multiplies_codes(self, conv: Op) -> bool:
        """Whether the integer kernels can read the image of `conv`: signed parts do not go together with groups."""
        return self.codes[conv.inputs[0]].zero == 0 or self.wide_codes or conv.get("group", 1) == 1

    def _operands(self, conv: Op) -> Operands:
        scale = self.scheme.kernels[conv.output].scale
        source, codes = self._unsigned(conv, self.scheme.kernels[conv.output].codes)
        return Operands(source, Kernel(codes, scale), _bias(self.graph.constants, conv, len(scale)))

    def _rounded_block(self, block: ConvBlock) -> None:
        """A block whose result is rounded once, after sum and activation in float."""
        if not has_im2col(block.conv, self.sizes):
            self._round(self._finished(block, self._float_products(block.conv)), block.end)
            return
        unrolled = Im2colConv(self.writer, block.conv, self._operands(block.conv), self.sizes)
        bands = unrolled.bands()
        if len(bands) == 1:
            self._round(self._finished(block, unrolled.products(bands[0])), block.end)
            return
        scale, zero = self.scheme.scales[block.end], self._zero(block.end)
        results = (self._finished(block, unrolled.products(band), band) for band in bands)
        parts = [self.writer.quantize(result, scale, zero).tensor for result in results]
        self.codes[block.end] = Codes(self.writer.op("Concat", parts, codes_of(block.end), axis=1), scale, zero)

    def _finished(self, block: ConvBlock, products: str, band: Band | None = None) -> str:
        """Sum and activation of a block, or of a band of its rows; float [B, h, w, c], before its only rounding."""
        result = products
        if block.addend is not None:
            addend = self.codes[block.addend]
            if band is not None:
                addend = self.writer.rows(addend, band)
            result = self.writer.op("Add", [result, self.writer.dequantize(addend)])
        before = result
        for op in block.activation:
            # The product of a swish reads the gate and what the gate reads.
            inputs = [before, result] if op.kind == "Mul" else [result, *map(self._constant, op.inputs[1:])]
            result = self.writer.op(op.kind, inputs, **op.attributes)
        return result

    def _float_products(self, conv: Op) -> str:
        """A depthwise kernel, or an image of unknown size: float32 adds integers exactly up to 2^24. [B, h, w, c]."""
        codes, kernel = self.codes[conv.inputs[0]], self.scheme.kernels[conv.output]
        turned = Codes(self.writer.to_nchw(codes.tensor), 1.0, codes.zero)
        inputs = [self.writer.dequantize(turned), self.writer.constant(kernel.codes.astype(np.float32))]
        sums = self.writer.to_nhwc(self.writer.op("Conv", inputs, **conv.attributes))
        unit = self.writer.constant(np.float32(codes.scale) * kernel.scale)
        bias = self.writer.constant(_bias(self.graph.constants, conv, len(kernel.scale)))
        return self.writer.op("Add", [self.writer.op("Mul", [sums, unit]), bias])


def _bias(constants: Mapping[str, NDArray[np.float32]], conv: Op, channels: int) -> NDArray[np.float32]:
    has_bias = len(conv.inputs) > 2 and conv.inputs[2]
    return constants[conv.inputs[2]] if has_bias else np.zeros(channels, np.float32)
