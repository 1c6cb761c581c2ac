#!/usr/bin/env python3
"""Import -> export, and text -> model, lose nothing: roundtrip.py BIN_DIR SUITE SHARED

Every model of the suite, of the onnx package's own test data and of ../shared: the exported proto equals the original
field by field; the exact text form gives the same proto; the default text form without extensions is read by onnx.
"""
import glob
import os
import subprocess
import sys
import tempfile

import onnx
import onnx.parser


def same(a, b):
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def load(path):
    with open(path, 'rb') as f:
        m = onnx.ModelProto()
        m.ParseFromString(f.read())
    return m


def main(bin_dir, suite, shared):
    data = os.path.join(os.path.dirname(onnx.__file__), 'backend/test/data')
    files = glob.glob(f'{suite}/*/*/model.onnx') + glob.glob(f'{data}/*/*/model.onnx') + glob.glob(f'{data}/light/*.onnx')
    if os.path.isdir(shared):
        files += glob.glob(f'{shared}/cases/models/*.onnx') + glob.glob(f'{shared}/cases/fidelity/*.onnx')
    else:
        print('skipped: models of ../shared')
        if os.environ.get('CI') == 'true':
            return 1
    opt, bad, official = os.path.join(bin_dir, 'onnx-opt'), 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        for f in sorted(files):
            original = load(f)
            out, text, back = f'{tmp}/o.onnx', f'{tmp}/t.onnxtxt', f'{tmp}/b.onnx'
            faulty = 'data location' in f
            r = subprocess.run([opt, '--passes=', f, '-o', out], capture_output=True, text=True)
            if r.returncode and ('fidelity' in f and 'external data' in r.stderr):
                continue  # a case whose data file is absent on purpose
            if r.returncode or not same(original, load(out)):
                print('export differs:', f, r.stderr[:200])
                bad += 1
                continue
            with open(text, 'w') as t:
                r = subprocess.run([opt, '--passes=', '--text=exact', f], stdout=t, stderr=subprocess.PIPE, text=True)
            r = subprocess.run([opt, '--passes=', text, '-o', back], capture_output=True, text=True)
            if r.returncode or not same(original, load(back)):
                print('exact text differs:', f, r.stderr[:200])
                bad += 1
            r = subprocess.run([opt, '--passes=', f], capture_output=True)
            try:
                onnx.parser.parse_model(r.stdout.decode())
                official += 1
            except Exception as e:  # models with extension data are not official text
                if b'{proto:' not in r.stdout and b'doc_string:' not in r.stdout and b'metadata_props' not in r.stdout \
                        and 'fidelity' not in f:
                    print('onnx cannot read the text of', f, str(e)[:200])
                    bad += 1
            del faulty
    print(f'{len(files)} models, {bad} differ, {official} texts read by onnx')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
