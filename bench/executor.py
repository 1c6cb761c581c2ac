#!/usr/bin/env python3
"""The executor beside onnxruntime with optimizations off, 2 threads: executor.py BIN_DIR SHARED [RUNS]

Each model runs on its own recorded inputs (the onnx package's light ResNet-50 on a drawn one), both tools in turn. Prints
a table: medians in milliseconds, and their ratio.
"""
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

MODELS = ('superres_ts', 'mobilenetv3s_ts', 'bert12_ts')


def ours(bin_dir, model, inputs, runs):
    with tempfile.TemporaryDirectory() as tmp:
        command = [f'{bin_dir}/onnx-run', model, f'--benchmark={runs}']
        for i, (name, value) in enumerate(inputs.items()):
            np.save(f'{tmp}/{i}.npy', value)
            command += ['--input', f'{name}={tmp}/{i}.npy']
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.search(r'([\d.]+) ms', text).group(1))


def theirs(model, inputs, runs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    session.run(None, inputs)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main(bin_dir, shared, runs=30):
    print('| model | onnx-run ms | onnxruntime ms | ratio |\n|---|---|---|---|')
    models = {name: (f'{shared}/cases/models/{name}.onnx', dict(np.load(f'{shared}/cases/models/{name}.inputs_0.npz')))
              for name in MODELS}
    resnet = os.path.join(os.path.dirname(onnx.__file__), 'backend/test/data/light/light_resnet50.onnx')
    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    models['light_resnet50'] = resnet, {onnx.load(resnet).graph.input[0].name: image}
    for name, (model, inputs) in models.items():
        a, b = ours(bin_dir, model, inputs, int(runs)), theirs(model, inputs, int(runs))
        print(f'| {name} | {a:.2f} | {b:.2f} | {a / b:.2f} |')


if __name__ == '__main__':
    main(*sys.argv[1:])
