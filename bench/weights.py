#!/usr/bin/env python3
"""Rewriting models with gigabytes of weights, beside cp: weights.py [ONNX_OPT] [RUNS]

A 1.5 GB inline model (24 Adds of 64 MiB) and a 3 GB one with external data go through `onnx-opt --passes=` with the
output in another folder; `cp F G && sync G` interleaved. Prints medians, the ratio and peak RSS; last the external
model with its output in the same folder, where the data file stays.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnx import TensorProto, helper


def write_sum(path, weights):
    """Writes the model that adds every weight to its input, one Add each."""
    names = ['x'] + [f'v{i}' for i in range(len(weights))]
    nodes = [helper.make_node('Add', [names[i], w.name], [names[i + 1]]) for i, w in enumerate(weights)]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, 'g', [info('x', TensorProto.FLOAT, [16 << 20])],
                              [info(names[-1], TensorProto.FLOAT, [16 << 20])], weights)
    with open(path, 'wb') as f:
        f.write(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8).SerializeToString())


def inline(path):
    weights = []
    data = np.zeros(16 << 20, np.float32).tobytes()
    for i in range(24):
        weights.append(helper.make_tensor(f'w{i}', TensorProto.FLOAT, [16 << 20], data, raw=True))
    write_sum(path, weights)


def external(path):
    weights = []
    for i in range(48):
        w = TensorProto(name=f'w{i}', data_type=TensorProto.FLOAT, dims=[16 << 20], data_location=TensorProto.EXTERNAL)
        for key, value in (('location', os.path.basename(path) + '.data'), ('offset', str(i * (64 << 20))),
                           ('length', str(64 << 20))):
            e = w.external_data.add()
            e.key, e.value = key, value
        weights.append(w)
    write_sum(path, weights)
    with open(path + '.data', 'wb') as f:
        block = os.urandom(1 << 20)
        for _ in range(48 * 64):
            f.write(block)


def timed(command):
    start = time.perf_counter()
    p = subprocess.Popen(command, shell=isinstance(command, str))
    _, status, usage = os.wait4(p.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def in_child(f, path):
    pid = os.fork()
    if pid == 0:
        f(path)
        os._exit(0)
    os.waitpid(pid, 0)


def main(tool, runs):
    print('| model | cp + sync s | onnx-opt s | ratio | peak RSS MB |\n|---|---|---|---|---|')
    with tempfile.TemporaryDirectory(dir='.') as tmp:
        os.makedirs(f'{tmp}/out')
        for name, make, payload in (('1.5 GB inline', inline, ''), ('3 GB external, other folder', external, '.data')):
            path = f'{tmp}/m.onnx'
            in_child(make, path)
            copies, ours, rss = [], [], 0
            for _ in range(runs):
                for f in os.listdir(f'{tmp}/out'):
                    os.remove(f'{tmp}/out/{f}')
                copies.append(timed(f'cp {path}{payload} {tmp}/out/copy && sync {tmp}/out/copy')[0])
                os.remove(f'{tmp}/out/copy')
                seconds, mb = timed([tool, '--passes=', path, '-o', f'{tmp}/out/o.onnx'])
                ours.append(seconds)
                rss = max(rss, mb)
            c, o = statistics.median(copies), statistics.median(ours)
            print(f'| {name} | {c:.2f} | {o:.2f} | {o / c:.2f} | {rss:.0f} |', flush=True)
        seconds, mb = timed([tool, '--passes=', f'{tmp}/m.onnx', '-o', f'{tmp}/same.onnx'])
        print(f'| 3 GB external, same folder | - | {seconds:.3f} | - | {mb:.0f} |')


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else 'build/release/bin/onnx-opt', int(sys.argv[2]) if len(sys.argv) > 2 else 9)
