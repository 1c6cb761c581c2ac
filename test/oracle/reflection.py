#!/usr/bin/env python3
"""One model for every field of the format, found by reflection: reflection.py BIN_DIR

Each field of each message that a ModelProto can reach is set, repeated, or empty but present, and each message gets an
unknown field. Every such model goes through proto -> proto and proto -> exact text -> proto, and must come back equal.
"""
import os
import subprocess
import sys
import tempfile

from google.protobuf.descriptor import FieldDescriptor as F
import onnx

UNKNOWN = b'\xf2\x7d\x03abc'  # field 2014, three bytes


def base():
    m = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21, "d" : 1]> '
                                'g (float[2] x) => (float[2] y) { y = Relu(x) }')
    return m


def places():
    """(name, model, message) for each message type at one place where it can stand."""
    def make(name, reach):
        m = base()
        return name, m, reach(m)

    def attribute(m, kind):
        a = m.graph.node[0].attribute.add(name='a')
        a.type = getattr(onnx.AttributeProto, kind)
        return a

    def tensor(m):
        t = m.graph.initializer.add(name='w', data_type=1)
        t.dims.append(1)
        t.raw_data = b'\0\0\0\0'
        return t

    def function(m):
        f = m.functions.add(name='F', domain='d')
        f.opset_import.add(domain='', version=21)
        return f

    def sparse(m):
        s = m.graph.sparse_initializer.add()
        s.values.CopyFrom(onnx.helper.make_tensor('s', 1, [1], [1.0]))
        s.indices.CopyFrom(onnx.helper.make_tensor('', 7, [1], [0]))
        s.dims.append(3)
        return s

    def training(m):
        t = m.training_info.add()
        t.initialization.name = 'i'
        return t

    def info(m):
        v = m.graph.value_info.add(name='y2')
        v.type.tensor_type.elem_type = 1
        return v

    def other_type(field):
        def reach(m):
            v = m.graph.input.add(name='z')
            inner = getattr(v.type, field)
            inner.SetInParent()
            if field in ('sequence_type', 'optional_type'):
                inner.elem_type.tensor_type.elem_type = 1
            elif field == 'map_type':
                inner.key_type = 7
                inner.value_type.tensor_type.elem_type = 1
            elif field == 'sparse_tensor_type':
                inner.elem_type = 1
            return inner
        return reach

    shape = lambda m: m.graph.input[0].type.tensor_type.shape
    yield make('Model', lambda m: m)
    yield make('Graph', lambda m: m.graph)
    yield make('Node', lambda m: m.graph.node[0])
    yield make('Tensor', tensor)
    yield make('Segment', lambda m: tensor(m).segment)
    yield make('AttributeTensor', lambda m: attribute(m, 'TENSOR').t)
    yield make('Sparse', sparse)
    yield make('ValueInfo', info)
    yield make('Input', lambda m: m.graph.input[0])
    yield make('Output', lambda m: m.graph.output[0])
    yield make('Type', lambda m: m.graph.input[0].type)
    yield make('TensorType', lambda m: m.graph.input[0].type.tensor_type)
    yield make('Shape', shape)
    yield make('Dimension', lambda m: shape(m).dim[0])
    for field in ('sequence_type', 'optional_type', 'map_type', 'sparse_tensor_type', 'opaque_type'):
        yield make(field, other_type(field))
    yield make('Function', function)
    yield make('Training', training)
    yield make('Subgraph', lambda m: attribute(m, 'GRAPH').g)
    yield make('OperatorSetId', lambda m: m.opset_import[0])
    yield make('StringString', lambda m: m.metadata_props.add(key='k', value='v'))
    yield make('Annotation', lambda m: m.graph.quantization_annotation.add(tensor_name='x'))
    yield make('Configuration', lambda m: m.configuration.add(name='c'))
    yield make('NodeConfiguration', lambda m: m.graph.node[0].device_configurations.add(configuration_id='c'))
    yield make('Sharding', lambda m: m.graph.node[0].device_configurations.add().sharding_spec.add(tensor_name='x'))
    yield make('ShardedDim', lambda m: m.graph.node[0].device_configurations.add().sharding_spec.add().sharded_dim.add())
    for kind in ('FLOAT', 'INT', 'STRING', 'FLOATS', 'INTS', 'STRINGS', 'TENSOR', 'TENSORS', 'GRAPH', 'GRAPHS',
                 'SPARSE_TENSOR', 'SPARSE_TENSORS', 'TYPE_PROTO', 'TYPE_PROTOS', 'UNDEFINED'):
        yield make('Attribute' + kind, lambda m: attribute(m, kind))


SAMPLES = {F.TYPE_STRING: 'text "q" \\ é', F.TYPE_BYTES: b'\xff\x00b', F.TYPE_INT64: 5, F.TYPE_INT32: 6, F.TYPE_UINT64: 7,
           F.TYPE_FLOAT: 1.25, F.TYPE_DOUBLE: 2.5, F.TYPE_ENUM: 1}
EMPTY = {F.TYPE_STRING: '', F.TYPE_BYTES: b'', F.TYPE_INT64: 0, F.TYPE_INT32: 0, F.TYPE_UINT64: 0, F.TYPE_FLOAT: 0.0,
         F.TYPE_DOUBLE: 0.0, F.TYPE_ENUM: 0}


def variants(name):
    """Models with one field of the message at place `name` set, one way each."""
    def fresh():
        return next((m, p) for n, m, p in places() if n == name)
    _, first = fresh()
    for f in first.DESCRIPTOR.fields:
        repeated = f.is_repeated if hasattr(f, 'is_repeated') else f.label == F.LABEL_REPEATED
        for how in ('set', 'empty', 'twice'):
            m, p = fresh()
            if f.type == F.TYPE_MESSAGE:
                if repeated:
                    getattr(p, f.name).add()
                    if how == 'twice':
                        getattr(p, f.name).add()
                elif how == 'set':
                    getattr(p, f.name).SetInParent()
                else:
                    continue
            elif repeated:
                if how != 'empty':
                    getattr(p, f.name).extend([SAMPLES[f.type]] * (2 if how == 'twice' else 1))
                else:
                    continue
            elif how == 'twice':
                continue
            else:
                setattr(p, f.name, SAMPLES[f.type] if how == 'set' else EMPTY[f.type])
            yield f'{name}.{f.name} {how}', m
    m, p = fresh()
    p.MergeFromString(UNKNOWN)
    yield f'{name} unknown field', m


def same(a, b):
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def read(path):
    m = onnx.ModelProto()
    with open(path, 'rb') as f:
        m.ParseFromString(f.read())
    return m


def main(bin_dir):
    opt, total, bad = f'{bin_dir}/onnx-opt', 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        for name in [n for n, _, _ in places()]:
            for what, model in variants(name):
                total += 1
                with open(f'{tmp}/m.onnx', 'wb') as f:
                    f.write(model.SerializeToString())
                r = subprocess.run([opt, '--roundtrip', f'{tmp}/m.onnx', '-o', f'{tmp}/o.onnx'], capture_output=True)
                if r.returncode or not same(model, read(f'{tmp}/o.onnx')):
                    print('proto differs:', what, r.stderr.decode()[:150])
                    bad += 1
                    continue
                r = subprocess.run([opt, '--roundtrip', '--text=exact', f'{tmp}/m.onnx'], capture_output=True)
                with open(f'{tmp}/t.onnxtxt', 'wb') as f:
                    f.write(r.stdout)
                r = subprocess.run([opt, '--roundtrip', f'{tmp}/t.onnxtxt', '-o', f'{tmp}/b.onnx'], capture_output=True)
                if r.returncode or not same(model, read(f'{tmp}/b.onnx')):
                    print('exact text differs:', what, r.stderr.decode()[:150])
                    bad += 1
    print(f'{total} models, {bad} differ')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
