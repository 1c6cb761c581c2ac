#!/usr/bin/env python3
"""Time and memory by the number of nodes: scale.py [ONNX_OPT]

A chain of Relu and Identity nodes goes through import, identity elimination and export. Prints a table: medians of 5
runs, peak RSS, bytes of RSS a node, and the time relative to a tenth of the nodes.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

from onnx import TensorProto, GraphProto, helper


def chain(path, count):
    graph = GraphProto(name='g')
    graph.input.append(helper.make_tensor_value_info('x', TensorProto.FLOAT, ['N']))
    graph.output.append(helper.make_tensor_value_info(f'v{count - 1}', TensorProto.FLOAT, ['N']))
    previous = 'x'
    for i in range(count):
        node = graph.node.add()
        node.op_type, node.name = ('Identity' if i % 2 else 'Relu'), f'n{i}'
        node.input.append(previous)
        previous = f'v{i}'
        node.output.append(previous)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    with open(path, 'wb') as f:
        f.write(model.SerializeToString())


def run(command):
    start = time.perf_counter()
    p = subprocess.Popen(command)
    _, status, usage = os.wait4(p.pid, 0)
    assert status == 0
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def main(tool):
    print('| nodes | seconds | x of a tenth | peak RSS MB | bytes a node |\n|---|---|---|---|---|')
    last = None
    with tempfile.TemporaryDirectory() as tmp:
        for count in (10 ** 4, 10 ** 5, 10 ** 6):
            path = f'{tmp}/{count}.onnx'
            pid = os.fork()
            if pid == 0:
                chain(path, count)
                os._exit(0)
            os.waitpid(pid, 0)
            runs = [run([tool, '--passes=canonicalize', path, '-o', f'{tmp}/o.onnx']) for _ in range(5)]
            seconds, rss = statistics.median(r[0] for r in runs), max(r[1] for r in runs)
            growth = f'{seconds / last:.1f}' if last else '-'
            print(f'| {count} | {seconds:.3f} | {growth} | {rss / 1e6:.0f} | {rss / count:.0f} |')
            last = seconds


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else 'build/release/bin/onnx-opt')
