#!/usr/bin/env python3
"""Real models through the pipelines, judged by onnx.checker and onnxruntime: models.py BIN_DIR SHARED

Each is also run on our executor, whose outputs must agree with onnxruntime's (optimizations off).
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))
PIPELINES = [['-O1'], ['-O2'], ['--passes=shape-infer,inplace,fuse'], ['--opset=21', '-O2']]


def session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def difference(a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return float('inf')
    if a.size == 0:
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max() / max(1e-6, np.abs(b).max()))


def main(bin_dir, shared):
    files = sorted(glob.glob(f'{shared}/cases/models/*.onnx'))
    if not files:
        print('skipped: no models of ../shared')
        return 1 if os.environ.get('CI') == 'true' else 0
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        for f in files:
            loose = 'qdq' in f or 'int8' in f
            limit = 2e-2 if loose else 1e-3
            data = [dict(np.load(f'{f[:-5]}.inputs_{k}.npz')) for k in (0, 1)]
            s = session(f)
            names = [o.name for o in s.get_outputs()]
            expected = [s.run(None, d) for d in data]
            for d, want in zip(data, expected):
                args = []
                for i, (name, value) in enumerate(d.items()):
                    np.save(f'{tmp}/{i}.npy', value)
                    args += ['--input', f'{name}={tmp}/{i}.npy']
                r = subprocess.run([f'{bin_dir}/onnx-run', f, '--output-dir', f'{tmp}/out'] + args, capture_output=True, text=True)
                worst = 0 if r.returncode == 0 else float('inf')
                for name, w in zip(names, want):
                    path = f'{tmp}/out/' + re.sub(r'[^A-Za-z0-9_.-]', '_', name) + '.npy'
                    if isinstance(w, np.ndarray) and r.returncode == 0:
                        worst = max(worst, difference(np.load(path), w))
                if worst > limit:
                    print('executor differs:', f, worst, r.stderr[:200])
                    bad += 1
            for pipeline in PIPELINES:
                out = f'{tmp}/o.onnx'
                r = subprocess.run([f'{bin_dir}/onnx-opt', *pipeline, '--validate', '--verify-each', f, '-o', out], capture_output=True, text=True)
                if r.returncode:
                    print('failed:', *pipeline, f, r.returncode, r.stderr[-300:])
                    bad += 1
                    continue
                onnx.checker.check_model(onnx.load(out), full_check=True)
                t = session(out)
                for d, want in zip(data, expected):
                    got = t.run(None, d)
                    worst = max((difference(g, w) for g, w in zip(got, want) if isinstance(w, np.ndarray)), default=0)
                    if worst > limit or [o.name for o in t.get_outputs()] != names:
                        print('different under onnxruntime:', *pipeline, f, worst)
                        bad += 1
    print(f'{len(files)} models through {len(PIPELINES)} pipelines, {bad} bad')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
