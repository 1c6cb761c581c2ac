#!/usr/bin/env python3
"""Write the ONNX backend node and simple cases of the installed onnx package as files: export_suite.py OUT"""
import os
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
import onnx.backend.test.case.model as model_cases
from onnx.backend.test.loader import load_model_tests


def encode(value, info):
    kind = info.type.WhichOneof('value')
    if isinstance(value, onnx.TensorProto):
        return value.SerializeToString()
    convert = {'map_type': numpy_helper.from_dict, 'sequence_type': numpy_helper.from_list,
               'optional_type': numpy_helper.from_optional}.get(kind)
    proto = convert(value, info.name) if convert else numpy_helper.from_array(np.asarray(value), info.name)
    return proto.SerializeToString()


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
        f.write(data)


def main(out):
    stamp = os.path.join(out, f'onnx-{onnx.__version__}')
    if os.path.exists(stamp):
        return
    warnings.simplefilter('ignore')
    cases = list(load_model_tests(kind='node'))
    cases += [c for c in model_cases.collect_testcases() if c.kind == 'simple']
    for case in cases:
        folder = os.path.join(out, case.kind, case.name)
        write(os.path.join(folder, 'model.onnx'), case.model.SerializeToString())
        for k, (inputs, outputs) in enumerate(case.data_sets):
            graph = case.model.graph
            for what, values, infos in (('input', inputs, graph.input), ('output', outputs, graph.output)):
                for j, value in enumerate(values):
                    write(os.path.join(folder, f'test_data_set_{k}', f'{what}_{j}.pb'), encode(value, infos[j]))
    write(stamp, b'')
    print(len(cases), 'cases')


if __name__ == '__main__':
    main(sys.argv[1])
