#!/usr/bin/env python3
"""Generated files must be what their generators write: check_generated.py BIN_DIR"""
import filecmp
import os
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))


def main(bin_dir):
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([sys.executable, f'{ROOT}/tools/gen-proto.py', f'{tmp}/onnxopt.proto'], check=True)
        subprocess.run([sys.executable, f'{ROOT}/tools/gen-schemas.py', tmp], check=True)
        subprocess.run([sys.executable, f'{ROOT}/tools/gen-docs.py', bin_dir, tmp], check=True)
        for name, kept in (('onnxopt.proto', 'ir/proto/onnxopt.proto'), ('Onnx.cpp', 'ops/schema/Onnx.cpp'),
                           ('Microsoft.cpp', 'ops/schema/Microsoft.cpp'), ('Passes.md', 'docs/Passes.md'),
                           ('Ops.md', 'docs/Ops.md')):
            if not filecmp.cmp(os.path.join(tmp, name), os.path.join(ROOT, kept), shallow=False):
                print(f'{kept} is not what its generator writes')
                bad = 1
    return bad


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
