#!/usr/bin/env python3
"""Shape rules of com.microsoft beside onnxruntime: microsoft_shapes.py BIN

Each case runs under onnxruntime, once as it stands and once with every size of the inputs taken for unknown and named; the
types that shape-infer writes for the outputs must be those of what onnxruntime computes. A size may stay open only where a
case says so.
"""
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from sizes import size_of

F, U8, I32, I64 = np.float32, np.uint8, np.int32, np.int64


def t(dtype, *shape, fill=None):
    """A tensor of 0, 1, 2, ... or of one number."""
    n = int(np.prod(shape))
    values = np.arange(n) % 7 if fill is None else np.full(n, fill)
    return values.astype(dtype).reshape(shape)


def q(*shape):
    """A quantized tensor with its scale and zero point."""
    return [t(U8, *shape), t(F, fill=0.5), t(U8, fill=3)]


S, Z = t(F, fill=0.25), t(U8, fill=2)
HEADS = dict(num_heads=2)
GROUPS = dict(num_heads=4, kv_num_heads=2)
CACHE = [t(F, 2, 2, 6, 8), t(F, 2, 2, 6, 8), t(I32, 2, fill=6), t(I32, fill=7)]
# operator, inputs (None: absent), attributes, number of outputs, sizes of outputs that stay open: {output: [axes]}
CASES = [
    ('MatMulNBits', [t(F, 2, 3, 32), t(U8, 8, 2, 8), t(F, 16)], dict(K=32, N=8, bits=4, block_size=16), 1, {}),
    ('MatMulBnb4', [t(F, 2, 32), t(U8, 128), t(F, 16)], dict(K=32, N=8, block_size=16, quant_type=1), 1, {}),
    ('FusedConv', [t(F, 1, 2, 5, 6), t(F, 4, 2, 3, 3), t(F, 4)], dict(activation='Relu', strides=[2, 1]), 1, {}),
    ('FusedGemm', [t(F, 2, 3), t(F, 3, 4)], dict(activation='Relu'), 1, {}),
    ('TransposeMatMul', [t(F, 2, 3, 4), t(F, 2, 3, 5)], dict(transA=1), 1, {}),
    ('DynamicQuantizeMatMul', [t(F, 2, 3, 4), t(U8, 4, 5), S, Z], {}, 1, {}),
    ('QLinearAdd', q(2, 3, 1) + q(3, 4) + [S, Z], {}, 1, {}),
    ('QLinearMul', q(3) + q(2, 1) + [S, Z], {}, 1, {}),
    ('QLinearSigmoid', q(2, 3) + [S, Z], {}, 1, {}),
    ('QLinearLeakyRelu', q(2, 3) + [S, Z], dict(alpha=0.1), 1, {}),
    ('QLinearSoftmax', q(2, 3) + [S, Z], dict(axis=-1, opset=13), 1, {}),
    ('QLinearWhere', [t(np.bool_, 2, 1)] + q(3) + q(2, 3) + [S, Z], {}, 1, {}),
    ('QLinearConcat', [S, Z] + q(2, 3) + q(2, 1), dict(axis=1), 1, {}),
    ('QLinearAveragePool', q(1, 2, 5, 6) + [S, Z], dict(kernel_shape=[2, 2]), 1, {}),
    ('QLinearAveragePool', q(1, 5, 6, 2) + [S, Z], dict(kernel_shape=[2, 2], channels_last=1), 1, {0: [1, 2]}),
    ('QLinearGlobalAveragePool', q(1, 2, 5, 6) + [S, Z], {}, 1, {}),
    ('QLinearGlobalAveragePool', q(1, 5, 6, 2) + [S, Z], dict(channels_last=1), 1, {}),
    ('QLinearConv', q(1, 2, 5, 6) + q(4, 2, 3, 3) + [S, Z], {}, 1, {}),
    ('QLinearConv', q(1, 5, 6, 2) + q(4, 2, 3, 3) + [S, Z], dict(channels_last=1), 1, {0: [1, 2]}),
    ('QGemm', q(2, 3) + q(3, 4) + [None, S, Z], {}, 1, {}),
    ('QGemm', q(3, 2) + q(4, 3), dict(transA=1, transB=1), 1, {}),
    ('Attention', [t(F, 2, 3, 8), t(F, 8, 24), t(F, 24)], HEADS, 2, {}),
    ('Attention', [t(F, 2, 3, 8), t(F, 8, 24), t(F, 24), None, t(F, 2, 2, 2, 5, 4)], dict(HEADS, unidirectional=1), 2, {}),
    ('Attention', [t(F, 2, 3, 8), t(F, 8, 20), t(F, 20)], dict(HEADS, qkv_hidden_sizes=[8, 8, 4]), 1, {}),
    ('QAttention', [t(U8, 2, 3, 8), t(U8, 8, 24), t(F, 24), S, S, None, Z, Z], HEADS, 1, {}),
    ('QAttention', [t(U8, 2, 3, 8), t(U8, 8, 24), t(F, 24), S, S, None, Z, Z, t(F, 2, 2, 2, 5, 4)],
     dict(HEADS, unidirectional=1), 2, {}),
    ('MultiHeadAttention', [t(F, 2, 3, 8), t(F, 2, 5, 8), t(F, 2, 5, 8)], HEADS, 3, {}),
    ('MultiHeadAttention', [t(F, 2, 3, 8), t(F, 2, 5, 8), t(F, 2, 5, 12)], HEADS, 1, {}),
    ('MultiHeadAttention', [t(F, 2, 3, 8), t(F, 2, 2, 5, 4), t(F, 2, 2, 5, 4)], HEADS, 1, {}),
    ('MultiHeadAttention', [t(F, 2, 3, 8), t(F, 2, 3, 8), t(F, 2, 3, 8), None, None, None, t(F, 2, 2, 4, 4),
                            t(F, 2, 2, 4, 4)], HEADS, 3, {}),
    ('GroupQueryAttention', [t(F, 2, 1, 32), t(F, 2, 1, 16), t(F, 2, 1, 16)] + CACHE, GROUPS, 3, {1: [2], 2: [2]}),
    ('GroupQueryAttention', [t(F, 2, 1, 64), None, None] + CACHE, GROUPS, 3, {1: [2], 2: [2]}),
    ('RotaryEmbedding', [t(F, 2, 3, 8), t(I64, 2, 3, fill=1), t(F, 9, 2), t(F, 9, 2)], HEADS, 1, {}),
    ('EmbedLayerNormalization', [t(I32, 2, 3), t(I32, 2, 3, fill=1), t(F, 9, 8), t(F, 6, 8), t(F, 2, 8), t(F, 8), t(F, 8),
                                 t(I32, 2, 3, fill=1)], {}, 2, {}),
    ('SimplifiedLayerNormalization', [t(F, 2, 3, 8), t(F, 8)], {}, 1, {}),
]


def model(op, inputs, attributes, outputs, named):
    names = ['' if x is None else f'x{i}' for i, x in enumerate(inputs)]
    domain = '' if op == 'SimplifiedLayerNormalization' else 'com.microsoft'
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype),
                                           [f'{n}_{k}' if named else d for k, d in enumerate(x.shape)])
             for n, x in zip(names, inputs) if n]
    results = [f'y{i}' for i in range(outputs)]
    graph = helper.make_graph([helper.make_node(op, names, results, domain=domain, **attributes)], 'g', infos,
                              [onnx.ValueInfoProto(name=r) for r in results])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17),
                                                                 helper.make_opsetid('com.microsoft', 1)])


def check(tool, tmp, op, inputs, attributes, outputs, opened):
    faults = []
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = model(op, inputs, attributes, outputs, False).SerializeToString()
    given = {f'x{i}': x for i, x in enumerate(inputs) if x is not None}
    values = ort.InferenceSession(plain, options, providers=['CPUExecutionProvider']).run(None, given)
    sizes = {f'{n}_{k}': d for n, x in given.items() for k, d in enumerate(x.shape)}
    for named in (False, True):
        onnx.save(model(op, inputs, attributes, outputs, named), f'{tmp}/m.onnx')
        done = subprocess.run([tool, '--passes=shape-infer', f'{tmp}/m.onnx', '-o', f'{tmp}/o.onnx'], capture_output=True,
                              text=True)
        if done.returncode:
            return [done.stderr]
        for i, (o, value) in enumerate(zip(onnx.load(f'{tmp}/o.onnx').graph.output, values)):
            found = o.type.tensor_type
            if found.elem_type != helper.np_dtype_to_tensor_dtype(value.dtype) or len(found.shape.dim) != value.ndim:
                faults.append(f'output {i}: {value.dtype} {value.shape} is inferred as {found}')
                continue
            for axis, (dim, size) in enumerate(zip(found.shape.dim, value.shape)):
                got = size_of(dim, sizes)
                if got != size and not (got is None and axis in opened.get(i, [])):
                    faults.append(f'output {i} axis {axis}: {size} is inferred as {dim} (named sizes: {named})')
    return faults


def main(binaries):
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        for case in CASES:
            faults = check(f'{binaries}/onnx-opt', tmp, *case)
            failed += bool(faults)
            for f in faults:
                print(f'{case[0]}: {f}')
    print(f'{len(CASES) - failed} of {len(CASES)} cases as onnxruntime computes them')
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
