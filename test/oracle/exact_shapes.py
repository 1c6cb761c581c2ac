#!/usr/bin/env python3
"""Shapes of the backend suite, output types stripped: exact_shapes.py BIN SUITE

In variant const, small inputs after the first are constants; in variant sym, each size of the others also has a name. Every
output must have the type and the sizes of the recorded one, but for the cases of inexact_shapes.txt, which must leave a size
open (never be wrong). A case that is exact and stands there is an error too: take it out.
"""
import glob
import os
import subprocess
import sys
import tempfile

import onnx

from sizes import size_of


def tensor(path):
    with open(path, 'rb') as f:
        return onnx.TensorProto.FromString(f.read())


def prepared(folder, named):
    """The case as a model without types of outputs; the recorded outputs; the sizes that the names stand for."""
    model = onnx.load(f'{folder}/model.onnx')
    graph, data, outputs, sizes, inputs = model.graph, f'{folder}/test_data_set_0', {}, {}, []
    for k, o in enumerate(graph.output):
        if o.type.HasField('tensor_type'):
            outputs[o.name] = tensor(f'{data}/output_{k}.pb')
            o.type.tensor_type.ClearField('shape')
    for k, i in enumerate(graph.input):
        if i.type.HasField('tensor_type') and k and os.path.exists(f'{data}/input_{k}.pb'):
            value = tensor(f'{data}/input_{k}.pb')
            if len(value.dims) <= 1 and sum(value.dims) <= 256:
                value.name = i.name
                graph.initializer.append(value)
                continue
        for d in i.type.tensor_type.shape.dim if named and i.type.HasField('tensor_type') else []:
            if d.HasField('dim_value') and d.dim_value > 1:
                sizes[f's{d.dim_value}'] = d.dim_value
                d.dim_param = f's{d.dim_value}'
        inputs.append(i)
    del graph.input[:], graph.value_info[:]
    graph.input.extend(inputs)
    return model, outputs, sizes


def verdict(found, expected, sizes):
    """'exact', 'open' or 'wrong'."""
    if found.elem_type != expected.data_type:
        return 'wrong' if found.elem_type else 'open'
    if not found.HasField('shape'):
        return 'open'
    if len(found.shape.dim) != len(expected.dims):
        return 'wrong'
    result = 'exact'
    for d, size in zip(found.shape.dim, expected.dims):
        value = size_of(d, sizes)
        if value is None:
            result = 'open'
        elif value != size:
            return 'wrong'
    return result


def main(binaries, suite):
    with open(os.path.join(os.path.dirname(__file__), 'inexact_shapes.txt')) as f:
        listed = {line.split()[0]: line.split()[1].split(',') for line in f if not line.startswith('#')}
    faults, counts = [], {}
    with tempfile.TemporaryDirectory() as tmp:
        for folder in sorted(glob.glob(f'{suite}/node/*')):
            name = os.path.basename(folder)
            for variant in ('const', 'sym'):
                model, outputs, sizes = prepared(folder, variant == 'sym')
                onnx.save(model, f'{tmp}/i.onnx')
                done = subprocess.run([f'{binaries}/onnx-opt', '--passes=shape-infer', f'{tmp}/i.onnx', '-o', f'{tmp}/o.onnx'],
                                      capture_output=True, text=True)
                if done.returncode:
                    faults.append(f'{name} ({variant}): {done.stderr}')
                    continue
                verdicts = {verdict(o.type.tensor_type, outputs[o.name], sizes)
                            for o in onnx.load(f'{tmp}/o.onnx').graph.output if o.name in outputs}
                worst = next((v for v in ('wrong', 'open') if v in verdicts), 'exact')
                counts[variant, worst] = counts.get((variant, worst), 0) + 1
                if worst != ('open' if variant in listed.get(name, []) else 'exact'):
                    faults.append(f'{name} ({variant}) is {worst}')
    cases = {os.path.basename(f) for f in glob.glob(f'{suite}/node/*')}
    faults += [f'{name} is listed, and no case' for name in listed if name not in cases]
    if not cases:
        faults.append(f'{suite} has no cases')
    print('\n'.join(faults))
    print(', '.join(f'{variant} {v}: {n}' for (variant, v), n in sorted(counts.items())) + f'; {len(faults)} not as listed')
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
