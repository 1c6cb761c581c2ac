#!/usr/bin/env python3
"""Mutated models before two checkers: checker.py ONNX_OPT SUITE [SEED] [COUNT]

Each seed takes a case of the backend suite and changes one thing: an attribute, a type, a dim, an operand, the declared
output. onnx.checker (full_check) and `onnx-opt --verify` judge it, onnxruntime loads and runs what only one of them
rejects. Prints a table, each mutation that only the official checker rejects, and each that only onnx-opt rejects and
onnxruntime runs. Checkers run in processes of their own: the official one crashes on some.
"""
import collections
import glob
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

NUMBERS = [-7, -3, -2, -1, 0, 1, 2, 3, 5, 9, 100, 10 ** 12]


def tensor_type(value):
    return value.type.tensor_type if value.type.HasField('tensor_type') else None


def change_attribute(node, pick):
    a = pick.choice(node.attribute)
    kind = onnx.AttributeProto.AttributeType.Name(a.type)
    if kind == 'INT':
        a.i = pick.choice(NUMBERS)
    elif kind == 'FLOAT':
        a.f = pick.choice([-1, 0, 0.5, 2, float('nan'), 1e30])
    elif kind == 'STRING':
        a.s = pick.choice([b'garbage', b'', b'SAME_UPPER', b'linear'])
    elif kind == 'INTS' and a.ints:
        how = pick.randrange(3)
        if how == 0:
            a.ints[pick.randrange(len(a.ints))] = pick.choice([-9, -3, -1, 0, 1, 4, 7])
        elif how == 1:
            a.ints.append(pick.choice([-1, 0, 1, 2]))
        else:
            del a.ints[-1]
    else:
        return ''
    return f'{node.op_type}.{a.name} = {onnx.helper.get_attribute_value(a)}'


def change_dims(value, pick):
    dims = tensor_type(value).shape.dim
    how = pick.randrange(3)
    if how == 0:
        dims.add().dim_value = pick.choice([1, 2, 3])
    elif dims and how == 1:
        del dims[-1]
    elif dims:
        dims[pick.randrange(len(dims))].dim_value = pick.choice([0, 1, 2, 3, 5, 8])
    return f"{value.name}: {[d.dim_value for d in dims]}"


def mutate(model, pick):
    """Changes one thing; says what, or '' where the dice found nothing to change."""
    node, graph = pick.choice(model.graph.node), model.graph
    kind = pick.choice(['attribute'] * 4 + ['no attribute', 'type', 'type'] + ['dims'] * 3 + ['absent', 'more', 'output', 'swap'])
    values = [v for v in (graph.output if kind == 'output' else graph.input) if tensor_type(v)]
    if kind == 'attribute' and node.attribute:
        return change_attribute(node, pick)
    if kind == 'no attribute' and node.attribute:
        a = pick.choice(node.attribute)
        name = a.name
        node.attribute.remove(a)
        return f'{node.op_type} without {name}'
    if values and (kind == 'type' or (kind == 'output' and pick.random() < 0.5)):
        v = pick.choice(values)
        tensor_type(v).elem_type = pick.randrange(1, 24)
        return f'{node.op_type}: {v.name} of type {tensor_type(v).elem_type}'
    if values and kind in ('dims', 'output'):
        return f'{node.op_type}: {kind} ' + change_dims(pick.choice(values), pick)
    if kind == 'absent' and node.input:
        i = pick.randrange(len(node.input))
        node.input[i] = ''
        while node.input and not node.input[-1]:
            node.input.pop()
        return f'{node.op_type}: operand {i} absent'
    if kind == 'more' and node.input:
        node.input.append(node.input[0])
        return f'{node.op_type}: one operand more'
    if kind == 'swap' and len(node.input) > 1:
        i = pick.randrange(len(node.input) - 1)
        node.input[i], node.input[i + 1] = node.input[i + 1], node.input[i]
        return f'{node.op_type}: operands {i} and {i + 1} swapped'
    return ''


def apart(action):
    """What `action` raises, as text; '' for nothing, None for a crash."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except Exception as e:
            os.write(write, str(e).replace('\n', ' ').encode()[:2000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    return None if os.waitpid(pid, 0)[1] else text


def load(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def recorded(case, i, value):
    """The case's own input `i` where it is as `value` declares, else ones."""
    t = tensor_type(value)
    if t is None:
        raise ValueError('no tensor')
    dtype, dims = onnx.helper.tensor_dtype_to_np_dtype(t.elem_type), [d.dim_value for d in t.shape.dim]
    with open(f'{os.path.dirname(case)}/test_data_set_0/input_{i}.pb', 'rb') as f:
        array = onnx.numpy_helper.to_array(onnx.TensorProto.FromString(f.read()))
    return array if array.dtype == dtype and list(array.shape) == dims else np.ones(dims, dtype)


def run(path, case):
    """Runs the model and raises where an output is not as declared."""
    model, session = onnx.load(path), load(path)
    feeds = {v.name: recorded(case, i, v) for i, v in enumerate(model.graph.input)}
    for value, array in zip(model.graph.output, session.run(None, feeds)):
        t = tensor_type(value)
        if t is None:
            continue
        dims = [d.dim_value if d.HasField('dim_value') else n for d, n in zip(t.shape.dim, array.shape)]
        if len(t.shape.dim) != array.ndim or dims != list(array.shape):
            raise ValueError(f'{value.name} is declared {dims}, is {array.shape}')


def by_onnxruntime(path, case):
    """What onnxruntime says of the model."""
    if apart(lambda: load(path)) != '':
        return 'refuses'
    return 'runs' if apart(lambda: run(path, case)) == '' else 'loads, does not run as declared'


def main(tool, suite, seed=0, count=2000):
    cases = sorted(glob.glob(f'{suite}/*/*/model.onnx'))
    tally = collections.Counter()
    with tempfile.TemporaryDirectory() as tmp:
        path = f'{tmp}/m.onnx'
        for s in range(int(seed), int(seed) + int(count)):
            pick = random.Random(s)
            case = pick.choice(cases)
            model = onnx.load(case)
            what = mutate(model, pick)
            if not what:
                continue
            onnx.save(model, path)
            official = apart(lambda: onnx.checker.check_model(path, full_check=True))
            ours = subprocess.run([tool, '--verify', path], capture_output=True, text=True, timeout=60)
            if ours.returncode not in (0, 1):
                print(f'seed {s}: {what}: onnx-opt ended with {ours.returncode}')
            verdict = 'crashes' if official is None else 'rejects' if official else 'accepts'
            loads = ''
            if (verdict == 'accepts') == bool(ours.returncode):
                loads = ', onnxruntime ' + by_onnxruntime(path, case)
            tally[verdict, 'rejects' if ours.returncode else 'accepts', loads] += 1
            if verdict == 'rejects' and not ours.returncode:
                print(f'seed {s}: {what}{loads}: {official[:200]}')
            if verdict == 'accepts' and loads.endswith('runs'):
                print(f'seed {s}: {what}{loads}, not onnx-opt: {ours.stderr.splitlines()[0][:200]}')
    print('\n| onnx.checker | onnx-opt --verify | mutations |\n|---|---|---|')
    for (official, ours, loads), n in sorted(tally.items()):
        print(f'| {official} | {ours}{loads} | {n} |')


if __name__ == '__main__':
    main(*sys.argv[1:])
