#!/usr/bin/env python3
"""Operators of ai.onnx.ml beside onnxruntime: classic_ml.py BIN [COUNT] [SEED]

Writes COUNT random cases in the backend suite's layout, with what onnxruntime computes as the expectation, and runs them by
`onnx-run --suite`. The standard leaves much of these operators to implementations, and onnxruntime is the one whose models
people have. Left out is where it departs from the standard's text: it gives DictVectorizer's result two dimensions, labels of
1 and 0 to two classes that are labelled otherwise, and of those the second whenever its score is positive; it adds no base
value where no leaf voted, keeps [-s,s] from SOFTMAX, and lets NaN take the true branch of BRANCH_NEQ. PROBIT outside of [0,1]
and absent keys as strings are not defined.
"""
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

NUMERIC = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE, np.int64: TensorProto.INT64,
           np.int32: TensorProto.INT32}


def floats(r, n, least=-2.0, most=2.0):
    return [float(np.float32(r.uniform(least, most))) for _ in range(n)]


def matrix(r, rows, columns):
    """A matrix of any type that these operators take."""
    dtype = r.choice(list(NUMERIC))
    values = np.array(floats(r, rows * columns, -4, 4)).reshape(rows, columns)
    return values.astype(dtype)


def labels(r, n, numbers):
    if r.random() < 0.5:
        return {numbers: r.sample(range(-5, 50), n)}
    return {'classlabels_strings': [f'label{i}' for i in range(n)]}


def transform(r):
    return {'post_transform': r.choice(['NONE', 'SOFTMAX', 'LOGISTIC', 'SOFTMAX_ZERO'])}


def linear_classifier(r):
    n, f, classes = r.randint(1, 4), r.randint(1, 4), r.choice([1, 2, 2, 3, 4])
    scores = 1 if classes <= 2 and r.random() < 0.5 else classes
    return matrix(r, n, f), dict(coefficients=floats(r, scores * f), intercepts=floats(r, scores),
                                 **labels(r, max(classes, 2), 'classlabels_ints'), **transform(r))


def linear_regressor(r):
    n, f, targets = r.randint(1, 4), r.randint(1, 4), r.randint(1, 3)
    a = dict(coefficients=floats(r, targets * f), targets=targets, **transform(r))
    if r.random() < 0.7:
        a['intercepts'] = floats(r, targets)
    return matrix(r, n, f).astype(np.float32), a


def kernel(r):
    kind = r.choice(['LINEAR', 'POLY', 'RBF', 'SIGMOID'])
    return dict(kernel_type=kind, kernel_params=[abs(floats(r, 1)[0]), floats(r, 1)[0], float(r.randint(1, 3))])


def svm_regressor(r):
    n, f = r.randint(1, 4), r.randint(1, 4)
    supports = r.choice([0, 1, 3])
    a = dict(rho=floats(r, 1), n_supports=supports, coefficients=floats(r, supports or f), one_class=r.randint(0, 1))
    a.update(kernel(r))
    if supports:
        a.update(support_vectors=floats(r, supports * f))
    return matrix(r, n, f).astype(np.float32), a


def svm_classifier(r):
    n, f, classes = r.randint(1, 4), r.randint(1, 4), r.randint(2, 4)
    a = dict(**labels(r, classes, 'classlabels_ints'), **transform(r))
    positive = r.random() < 0.3
    if classes > 2 and r.random() < 0.4:
        a.update(kernel(r), coefficients=floats(r, classes * f, 0 if positive else -2), rho=floats(r, 1))
        return matrix(r, n, f).astype(np.float32), a
    per_class = [r.randint(1, 3) for _ in range(classes)]
    pairs = classes * (classes - 1) // 2
    a.update(kernel(r), vectors_per_class=per_class, support_vectors=floats(r, sum(per_class) * f), rho=floats(r, pairs),
             coefficients=floats(r, (classes - 1) * sum(per_class), 0 if positive else -2))
    if r.random() < 0.5:
        a.update(prob_a=floats(r, pairs), prob_b=floats(r, pairs))
    return matrix(r, n, f).astype(np.float32), a


def forest(r, f, targets, votes, positive):
    """Random trees. Where weights are positive, a leaf may vote for some of the targets only."""
    a = {k: [] for k in ['treeids', 'nodeids', 'featureids', 'modes', 'values', 'truenodeids', 'falsenodeids',
                         'missing_value_tracks_true']}
    v = {k: [] for k in ['treeids', 'nodeids', 'ids', 'weights']}
    for tree in range(r.randint(1, 4)):
        nodes = [None]
        at = 0
        while at < len(nodes):
            leaf = len(nodes) > 7 or (at and r.random() < 0.4)
            if leaf:
                nodes[at] = ('LEAF', 0, 0.0, 0, 0, 0)
                for target in r.sample(targets, r.randint(1 if positive else len(targets), len(targets))):
                    v['treeids'].append(tree)
                    v['nodeids'].append(at)
                    v['ids'].append(target)
                    v['weights'].append(floats(r, 1, 0 if positive else -2)[0])
            else:
                nodes[at] = (r.choice(['BRANCH_LEQ', 'BRANCH_LT', 'BRANCH_GTE', 'BRANCH_GT', 'BRANCH_EQ', 'BRANCH_NEQ']),
                             r.randrange(f), floats(r, 1, -3, 3)[0], len(nodes), len(nodes) + 1, r.randint(0, 1))
                nodes += [None, None]
            at += 1
        for i, (mode, feature, value, yes, no, missing) in enumerate(nodes):
            for k, x in zip(a, (tree, i, feature, mode, value, yes, no, missing)):
                a[k].append(x)
    out = {f'nodes_{k}': x for k, x in a.items()}
    out.update({f'{votes}_{k}': x for k, x in v.items()})
    return out


def tree_classifier(r):
    n, f, classes = r.randint(1, 4), r.randint(1, 3), r.choice([2, 2, 3, 4])
    voted = [r.randrange(2)] if classes == 2 else list(range(classes))
    positive = r.random() < 0.4
    a = dict(**labels(r, classes, 'classlabels_int64s'), **forest(r, f, voted, 'class', positive), **transform(r))
    if classes == 2 and not positive:
        a['post_transform'] = r.choice(['NONE', 'LOGISTIC'])
    if r.random() < 0.4 and classes > 2 and not positive:
        a['base_values'] = floats(r, classes)
    return matrix(r, n, f), a


def tree_regressor(r):
    n, f, targets = r.randint(1, 4), r.randint(1, 3), r.randint(1, 3)
    a = dict(n_targets=targets, aggregate_function=r.choice(['SUM', 'AVERAGE', 'MIN', 'MAX']),
             **forest(r, f, list(range(targets)), 'target', r.random() < 0.4), **transform(r))
    if r.random() < 0.4 and min(a['target_weights']) < 0:
        a['base_values'] = floats(r, targets)
    return matrix(r, n, f).astype(np.float32), a


def one_hot(r):
    shape = [r.randint(1, 3) for _ in range(r.randint(1, 3))]
    if r.random() < 0.5:
        return (np.array([r.choice('abcd') for _ in range(int(np.prod(shape)))], dtype=object).reshape(shape),
                dict(cats_strings=['c', 'a', 'b']))
    return (np.array([r.randint(0, 4) for _ in range(int(np.prod(shape)))]).reshape(shape).astype(
        r.choice([np.int64, np.float32, np.float64])), dict(cats_int64s=[3, 1, 2]))


def category_mapper(r):
    a = dict(cats_strings=['c', 'a', 'b'], cats_int64s=[3, 1, 2], default_int64=r.randint(-3, 9), default_string='none')
    if r.random() < 0.5:
        return np.array([r.choice('abcd') for _ in range(5)], dtype=object), a
    return np.array([r.randint(0, 4) for _ in range(5)], dtype=np.int64), a


def feature_vectorizer(r):
    n = r.randint(1, 3)
    widths = [r.randint(1, 3) for _ in range(r.randint(1, 3))]
    dtype = r.choice(list(NUMERIC))
    # onnxruntime takes no width that differs from the operand's.
    return [np.array(floats(r, n * w, -9, 9)).reshape(n, w).astype(dtype) for w in widths], dict(inputdimensions=widths)


def zip_map(r):
    n = r.randint(1, 3)
    keys = dict(classlabels_strings=['x', 'y', 'z'][:n]) if r.random() < 0.5 else dict(classlabels_int64s=[7, 5, 9][:n])
    return np.array(floats(r, 2 * n), dtype=np.float32).reshape(2, n), keys


def cast_map(r):
    keys = r.sample(range(6), r.randint(1, 4))
    form = r.choice(['DENSE', 'SPARSE'])
    a = dict(cast_to=r.choice(['TO_FLOAT', 'TO_INT64'] + ['TO_STRING'] * (form == 'DENSE')), map_form=form, max_map=6)
    # Python's binding of onnxruntime takes no map of strings.
    return {k: floats(r, 1)[0] for k in keys}, a


MAKERS = {'LinearClassifier': linear_classifier, 'LinearRegressor': linear_regressor, 'SVMRegressor': svm_regressor,
          'SVMClassifier': svm_classifier, 'TreeEnsembleClassifier': tree_classifier,
          'TreeEnsembleRegressor': tree_regressor, 'OneHotEncoder': one_hot, 'CategoryMapper': category_mapper,
          'FeatureVectorizer': feature_vectorizer, 'ZipMap': zip_map, 'CastMap': cast_map}


def type_of(x):
    if isinstance(x, dict):
        value = next(iter(x.values()))
        return helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(
            TensorProto.STRING if isinstance(value, str) else TensorProto.FLOAT, []))
    element = TensorProto.STRING if x.dtype == object else helper.np_dtype_to_tensor_dtype(x.dtype)
    return helper.make_tensor_type_proto(element, x.shape)


def write(value, path):
    if isinstance(value, list):
        proto = onnx.SequenceProto(elem_type=onnx.SequenceProto.MAP)
        proto.map_values.extend(map_proto(m) for m in value)
    elif isinstance(value, dict):
        proto = map_proto(value)
    else:
        proto = numpy_helper.from_array(np.asarray(value))
    with open(path, 'wb') as f:
        f.write(proto.SerializeToString())


def map_proto(m):
    proto = onnx.MapProto()
    for k, v in m.items():
        if isinstance(k, str):
            proto.key_type = TensorProto.STRING
            proto.string_keys.append(k.encode())
        else:
            proto.key_type = TensorProto.INT64
            proto.keys.append(k)
        proto.values.elem_type = onnx.SequenceProto.TENSOR
        proto.values.tensor_values.append(
            numpy_helper.from_array(np.array(v, dtype=object if isinstance(v, str) else np.float32)))
    return proto


def results(op, attributes):
    info = helper.make_tensor_value_info
    if op == 'ZipMap':
        key = TensorProto.STRING if 'classlabels_strings' in attributes else TensorProto.INT64
        element = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        return [helper.make_value_info('y', helper.make_sequence_type_proto(element))]
    if op.endswith('Classifier'):
        label = TensorProto.STRING if 'classlabels_strings' in attributes else TensorProto.INT64
        return [info('y', label, None), info('z', TensorProto.FLOAT, None)]
    element = TensorProto.FLOAT
    if op == 'CastMap':
        element = {'TO_FLOAT': element, 'TO_STRING': TensorProto.STRING, 'TO_INT64': TensorProto.INT64}[attributes['cast_to']]
    return [info('y', element, None)]


def main(binaries, count, seed):
    print(f'seed {seed}')
    refused = {}
    with tempfile.TemporaryDirectory() as tmp:
        for i in range(seed, seed + count):
            r = random.Random(i)
            op = r.choice(list(MAKERS))
            inputs, attributes = MAKERS[op](r)
            inputs = inputs if isinstance(inputs, list) else [inputs]
            names = [f'x{k}' for k in range(len(inputs))]
            outputs = results(op, attributes)
            if op == 'CategoryMapper':
                outputs[0].type.tensor_type.elem_type = (TensorProto.INT64 if inputs[0].dtype == object
                                                         else TensorProto.STRING)
            node = helper.make_node(op, names, [o.name for o in outputs], domain='ai.onnx.ml', **attributes)
            graph = helper.make_graph([node], 'g', [helper.make_value_info(n, type_of(x)) for n, x in zip(names, inputs)],
                                      outputs)
            model = helper.make_model(graph, ir_version=8, opset_imports=[
                helper.make_opsetid('', 17), helper.make_opsetid('ai.onnx.ml', r.choice([1, 3]))])
            try:
                options = ort.SessionOptions()
                options.log_severity_level = 4
                session = ort.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
                values = session.run(None, dict(zip(names, inputs)))
            except Exception as e:
                refused.setdefault(op, []).append(str(e))
                continue
            folder = f'{tmp}/{op}_{i}/test_data_set_0'
            os.makedirs(folder)
            onnx.save(model, f'{tmp}/{op}_{i}/model.onnx')
            for k, x in enumerate(inputs):
                write(x, f'{folder}/input_{k}.pb')
            for k, x in enumerate(values):
                write(x, f'{folder}/output_{k}.pb')
        for op, reasons in refused.items():
            print(f'onnxruntime refuses {len(reasons)} of {op}: {reasons[0]}')
        done = subprocess.run([f'{binaries}/onnx-run', '--suite', tmp, '--atol', '1e-5'], capture_output=True, text=True)
        print(done.stdout, done.stderr, end='')
        return done.returncode or bool(refused)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000, int(sys.argv[3]) if len(sys.argv) > 3 else 0))
