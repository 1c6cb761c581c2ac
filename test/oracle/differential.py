#!/usr/bin/env python3
"""Random models, refereed by onnxruntime: differential.py BIN_DIR SUITE [SEED] [COUNT] [PASSES]

onnx-fuzz writes models with their inputs, their outputs on the reference executor, and what -O2 (or PASSES) makes of
them. The onnx checker must accept both, and onnxruntime (optimizations off) must load both or neither and give the recorded outputs.
Outputs that rounding may move are compared with a tolerance or, where they jump, not at all. Models with operators on
which onnxruntime departs from the standard are only loaded and counted.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

# Where onnxruntime 1.32's CPU kernels are known to differ from the standard; each with the reason.
DEPARTS = {
    'NonZero': 'a scalar gives (1, n), not (0, n)',
    'MeanVarianceNormalization': 'a variance that rounds below 0 gives NaN',
    'Attention': 'masked scores are the lowest float, not -inf',
}


# Operators whose shapes the official checker infers wrongly; each with the reason.
CHECKER_ERRS = {
    'Attention': 'a sequence length of 0 in result 3 where the value has symbolic sizes',
}


def departs_at(node):
    """Why onnxruntime may differ at this node, '' where it may not."""
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == 'BatchNormalization' and 'training_mode' in attributes and attributes['training_mode'].i:
        return 'the running mean is written over an operand that others read'
    padding = attributes['auto_pad'].s if 'auto_pad' in attributes else b''
    if node.op_type == 'MaxPool' and 'dilations' in attributes and padding.startswith(b'SAME'):
        return 'padding for SAME does not count dilations'
    if node.op_type == 'Celu' and 'alpha' in attributes and attributes['alpha'].f == 0:
        return 'x / 0 is not computed'
    if node.op_type == 'Resize' and any(a.s == b'align_corners' for a in node.attribute):
        return 'corners are aligned over the size before it is rounded down'
    return DEPARTS.get(node.op_type, '')


def operators(graph):
    """The nodes of a graph or function, with those of bodies."""
    for node in graph.node:
        yield node
        for a in node.attribute:
            for g in ([a.g] if a.type == onnx.AttributeProto.GRAPH else a.graphs):
                yield from operators(g)


def checker_says(path):
    try:
        onnx.checker.check_model(path, full_check=True)
        return ''
    except Exception as e:  # the checker raises several kinds
        return str(e).splitlines()[0]


def decoded(value, info):
    """onnxruntime gives float8 as bytes."""
    kind = info.type.removeprefix('tensor(').removesuffix(')').upper()
    if not kind.startswith('FLOAT8') or value.dtype != np.uint8:
        return value
    return value.view(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind)))


def run(path, inputs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    except Exception as e:
        return None, 'load: ' + str(e)
    try:
        names = [o.name for o in session.get_outputs()]
        wanted = {i.name for i in session.get_inputs()}
        values = session.run(None, {k: v for k, v in inputs.items() if k in wanted})
        return dict(zip(names, map(decoded, values, session.get_outputs()))), ''
    except Exception as e:
        return None, 'run: ' + str(e)


def difference(actual, expected, inexact):
    if not isinstance(actual, np.ndarray) or actual.dtype.kind in 'OUS':
        return ''
    if actual.shape != expected.shape:
        return f'shape {actual.shape}, expected {expected.shape}'
    if actual.size == 0 or (actual.dtype.kind in 'biu' and np.array_equal(actual, expected)):
        return ''
    with np.errstate(all='ignore'):
        a, b = actual.astype(np.float64), expected.astype(np.float64)
        finite = np.isfinite(b)
        scale = np.abs(b[finite]).max() if finite.any() else 0
        tolerance = (5e-3 if actual.dtype == np.float16 else 1e-3) * scale + 1e-5 if inexact else 0
        if np.isclose(a, b, rtol=1e-6 if actual.dtype.kind == 'f' and inexact else 0, atol=tolerance, equal_nan=True).all():
            return ''
        place = np.flatnonzero(~np.isclose(a, b, rtol=0, atol=tolerance, equal_nan=True).ravel())[0]
    return f'at {place}: {actual.ravel()[place]}, expected {expected.ravel()[place]}'


def examine(folder, tally):
    model, optimized = f'{folder}/model.onnx', f'{folder}/optimized.onnx'
    rounding = dict(line.split(' ', 1)[::-1] for line in open(f'{folder}/rounding.txt').read().splitlines())
    before = checker_says(model)
    if not os.path.exists(optimized):
        return ['no optimized model was written']
    problems = []
    after = '' if before else checker_says(optimized)
    if after and not any(f'(op_type:{op})' in after for op in CHECKER_ERRS):
        problems.append('the checker rejects the optimized model: ' + after)
    if before:
        tally['checker rejects'] = tally.get('checker rejects', 0) + 1
        tally.setdefault('reasons', []).append('checker ' + before[:160])
    inputs = {os.path.basename(p)[3:-4]: np.load(p) for p in glob.glob(f'{folder}/in_*.npy')}
    expected = {os.path.basename(p)[4:-4]: np.load(p) for p in glob.glob(f'{folder}/out_*.npy')}
    loaded = onnx.load(model)
    departs = {why for part in (loaded.graph, *loaded.functions) for n in operators(part) if (why := departs_at(n))}
    first, why = run(model, inputs)
    if first is None:
        tally['onnxruntime refuses'] = tally.get('onnxruntime refuses', 0) + 1
        tally.setdefault('reasons', []).append(why[:200].replace('\n', ' '))
        return problems
    second, why = run(optimized, inputs)
    if second is None and 'NOT_IMPLEMENTED' in why:
        tally['raised beyond onnxruntime'] = tally.get('raised beyond onnxruntime', 0) + 1
        return problems
    if second is None:
        problems.append('onnxruntime runs the original, not the optimized model: ' + why[:300])
        return problems
    tally['compared'] = tally.get('compared', 0) + 1
    for name, value in expected.items():
        kind = rounding.get(name, '')
        if kind == 'fragile':
            continue
        # Each against its own: what onnxruntime makes of the two models must agree in any case.
        if not departs and isinstance(first[name], np.ndarray) and (d := difference(second[name], first[name], True)):
            problems.append(f"onnxruntime: output '{name}' of the optimized model {d}")
        if not departs and (d := difference(first[name], value, True)):
            problems.append(f"executor and onnxruntime: output '{name}' {d}")
    if departs:
        tally['loaded only'] = tally.get('not compared with the executor', 0) + 1
    return problems


def apart(folder):
    """`examine` in a process of its own: onnxruntime crashes on some valid models. Gives (problems, tally)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        tally = {}
        problems = examine(folder, tally)
        with os.fdopen(write, 'w') as f:
            json.dump([problems, tally], f)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else ([], {'onnxruntime crashes': 1})


def main(bin_dir, suite, seed=None, count=400, passes=None):
    seed = int(seed) if seed is not None else int(time.time())
    bad, tally = 0, {}
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([f'{bin_dir}/onnx-fuzz', f'--seed={seed}', f'--count={count}', f'--seeds={suite}', f'--write={tmp}']
                       + ([f'--passes={passes}'] if passes else []), check=True, stdout=subprocess.DEVNULL)
        for folder in sorted(glob.glob(f'{tmp}/*/'), key=lambda p: int(os.path.basename(p[:-1]))):
            problems, counts = apart(folder[:-1])
            for k, v in counts.items():
                tally[k] = tally.get(k, type(v)()) + v
            for problem in problems:
                bad += 1
                print(f'seed {os.path.basename(folder[:-1])}: {problem}')
    reasons = tally.pop('reasons', [])
    if os.environ.get('VERBOSE'):
        print('\n'.join(sorted(reasons)))
    print(f'seeds {seed} to {seed + int(count) - 1}: ' + ', '.join(f'{v} {k}' for k, v in sorted(tally.items())) + f', {bad} bad')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
