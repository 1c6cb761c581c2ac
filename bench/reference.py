#!/usr/bin/env python3
"""The executor beside onnx's ReferenceEvaluator on the backend suite: reference.py BIN_DIR SUITE [RUNS]

Every case that takes the ReferenceEvaluator more than 1 ms: the fastest of its RUNS runs beside the median of onnx-run's.
Prints how many cases, how many times faster onnx-run is (median and least), and each case on which it is not faster.
"""
import glob
import os
import re
import statistics
import subprocess
import sys
import time
import warnings

import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator


def read(path, value):
    with open(path, 'rb') as f:
        data = f.read()
    kind = value.type.WhichOneof('value')
    if kind == 'sequence_type':
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == 'optional_type':
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def reference_ms(folder, runs):
    """None where the evaluator fails or takes less than 1 ms."""
    try:
        model = onnx.load(f'{folder}/model.onnx')
        feeds = {v.name: read(f'{folder}/test_data_set_0/input_{i}.pb', v) for i, v in enumerate(model.graph.input)}
        evaluator = ReferenceEvaluator(model)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            evaluator.run(None, feeds)
            times.append((time.perf_counter() - start) * 1e3)
            if times[0] < 0.5:
                return None
        return min(times) if min(times) > 1 else None
    except Exception:  # it does not run every case
        return None


def our_ms(bin_dir, folder, runs):
    command = [f'{bin_dir}/onnx-run', f'{folder}/model.onnx', f'--benchmark={runs}']
    for i, v in enumerate(onnx.load(f'{folder}/model.onnx').graph.input):
        command += ['--input', f'{v.name}={folder}/test_data_set_0/input_{i}.pb']
    text = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r'([\d.]+) ms', text)
    return float(found.group(1)) if found else None


def main(bin_dir, suite, runs=5):
    warnings.simplefilter('ignore')
    ratios = {}
    for folder in sorted(glob.glob(f'{suite}/*/*')):
        theirs = reference_ms(folder, int(runs))
        if theirs is None:
            continue
        ours = our_ms(bin_dir, folder, int(runs))
        if ours is None:
            print(f'{os.path.basename(folder)}: onnx-run does not run it')
            continue
        ratios[os.path.basename(folder)] = theirs / max(ours, 1e-4)
    for name, ratio in ratios.items():
        if ratio <= 1:
            print(f'{name}: {ratio:.2f} x')
    print('| cases over 1 ms | onnx-run faster | times faster, median | least |\n|---|---|---|---|')
    print(f'| {len(ratios)} | {sum(r > 1 for r in ratios.values())} | {statistics.median(ratios.values()):.0f} | '
          f'{min(ratios.values()):.1f} |')


if __name__ == '__main__':
    main(*sys.argv[1:])
