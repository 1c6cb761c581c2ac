#!/usr/bin/env python3
"""Writes models/superres.onnx: 4 convolutions and a pixel shuffle spelled out as Reshape-Transpose-Reshape.

The input is N x 1 x 224 x 224, the upscale factor 3; the shapes of the shuffle come from Shape, as exporters write it.
Weights are random with seed 0.
"""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

UPSCALE = 3


def main(path):
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(name, array):
        weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def conv(x, cin, cout, kernel, relu):
        n = len(nodes)
        scale = np.sqrt(2.0 / (cin * kernel * kernel))
        w = constant(f'w{n}', (rng.standard_normal((cout, cin, kernel, kernel)) * scale).astype(np.float32))
        b = constant(f'b{n}', np.zeros(cout, np.float32))
        nodes.append(helper.make_node('Conv', [x, w, b], [f'c{n}'], kernel_shape=[kernel, kernel],
                                      pads=[kernel // 2] * 4))
        if relu:
            nodes.append(helper.make_node('Relu', [f'c{n}'], [f'r{n}']))
        return nodes[-1].output[0]

    y = conv('x', 1, 64, 5, True)
    y = conv(y, 64, 64, 3, True)
    y = conv(y, 64, 32, 3, True)
    y = conv(y, 32, UPSCALE * UPSCALE, 3, False)
    nodes.append(helper.make_node('Shape', [y], ['shape']))
    for i, name in enumerate('nchw'):
        nodes.append(helper.make_node('Gather', ['shape', constant(f'i{name}', np.array([i], np.int64))], [name]))
    r = constant('r', np.array([UPSCALE], np.int64))
    one = constant('one', np.array([1], np.int64))
    nodes.append(helper.make_node('Concat', ['n', one, r, r, 'h', 'w'], ['split'], axis=0))
    nodes.append(helper.make_node('Reshape', [y, 'split'], ['six']))
    nodes.append(helper.make_node('Transpose', ['six'], ['moved'], perm=[0, 1, 4, 2, 5, 3]))
    nodes.append(helper.make_node('Mul', ['h', r], ['oh']))
    nodes.append(helper.make_node('Mul', ['w', r], ['ow']))
    nodes.append(helper.make_node('Concat', ['n', one, 'oh', 'ow'], ['joined'], axis=0))
    nodes.append(helper.make_node('Reshape', ['moved', 'joined'], ['y']))
    graph = helper.make_graph(
        nodes, 'superres', [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['N', 1, 224, 224])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, ['N', 1, 224 * UPSCALE, 224 * UPSCALE])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


if __name__ == '__main__':
    main(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'models', 'superres.onnx'))
