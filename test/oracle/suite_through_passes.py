#!/usr/bin/env python3
"""Every backend case through -O2, refereed by the suite's own data: suite_through_passes.py BIN_DIR SUITE

In a second round the inputs of rank 0 and 1 become constants, so that folding has work; then the outputs that the
executor gives before and after must agree.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import onnx


def main(bin_dir, suite):
    opt, run = f'{bin_dir}/onnx-opt', f'{bin_dir}/onnx-run'
    before = subprocess.run([run, '--suite', suite], capture_output=True, text=True).stdout
    failing = {line.split(': ')[0][5:] for line in before.splitlines() if line.startswith('FAIL ')}
    bad = count = 0
    with tempfile.TemporaryDirectory() as tmp:
        for folder in sorted(glob.glob(f'{suite}/*/*/')):
            name = folder[len(suite):].rstrip('/')
            model = onnx.load(f'{folder}model.onnx')
            for variant in ('plain', 'constant'):
                target = f'{tmp}/{variant}{name}'
                os.makedirs(target)
                source = f'{folder}model.onnx'
                for s in glob.glob(f'{folder}test_data_set_*'):
                    os.symlink(s, os.path.join(target, os.path.basename(s)))
                if variant == 'constant':
                    m = onnx.ModelProto()
                    m.CopyFrom(model)
                    for i, v in list(enumerate(m.graph.input))[::-1]:
                        t = v.type.tensor_type
                        if i == 0 or not v.type.HasField('tensor_type') or not t.HasField('shape') or len(t.shape.dim) > 1:
                            continue
                        path = f'{folder}test_data_set_0/input_{i}.pb'
                        if not os.path.exists(path) or len(glob.glob(f'{folder}test_data_set_*')) != 1:
                            continue
                        tensor = onnx.TensorProto()
                        with open(path, 'rb') as f:
                            tensor.ParseFromString(f.read())
                        tensor.name = v.name
                        m.graph.initializer.append(tensor)
                    source = f'{tmp}/m.onnx'
                    m.ir_version = max(m.ir_version, 4)
                    onnx.save(m, source)
                count += 1
                extra = ['--freeze-default-inputs'] if variant == 'constant' else []
                r = subprocess.run([opt, '-O2', '--verify-each', source, '-o', f'{target}/model.onnx'] + extra, capture_output=True, text=True)
                if r.returncode:
                    print('failed:', variant, name, r.returncode, r.stderr[:200])
                    bad += 1
                    shutil.rmtree(target)
        r = subprocess.run([run, '--suite', tmp], capture_output=True, text=True).stdout
        for line in r.splitlines():
            if line.startswith('FAIL '):
                case = line.split(': ')[0][5:]
                if '/' + '/'.join(case.split('/')[2:]) not in failing:
                    print(line[:200])
                    bad += 1
        print(r.splitlines()[-1])
    print(f'{count} runs, {bad} bad')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
