#!/usr/bin/env python3
"""The large networks of the onnx package, "light" since their weights are constants: light_models.py BIN

Each runs on what the package's own runner takes for an input, 0, 1/n, 2/n, ..., and must give the output that lies beside it.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper


def main(binaries):
    models = sorted(glob.glob(os.path.join(os.path.dirname(onnx.__file__), 'backend/test/data/light/*.onnx')))
    with tempfile.TemporaryDirectory() as tmp:
        for path in models:
            folder = f'{tmp}/{os.path.basename(path)[:-5]}'
            os.makedirs(f'{folder}/test_data_set_0')
            shutil.copy(path, f'{folder}/model.onnx')
            shutil.copy(path[:-5] + '_output_0.pb', f'{folder}/test_data_set_0/output_0.pb')
            graph = onnx.load(path).graph
            weights = {i.name for i in graph.initializer}
            image, = (i for i in graph.input if i.name not in weights)
            shape = [d.dim_value for d in image.type.tensor_type.shape.dim]
            n = int(np.prod(shape))
            # Older files list weights among the inputs; the image's place is what names its file.
            place = [i.name for i in graph.input].index(image.name)
            with open(f'{folder}/test_data_set_0/input_{place}.pb', 'wb') as f:
                f.write(numpy_helper.from_array((np.arange(n) / n).astype(np.float32).reshape(shape)).SerializeToString())
        done = subprocess.run([f'{binaries}/onnx-run', '--suite', tmp], capture_output=True, text=True)
    print(done.stdout, done.stderr, end='')
    return done.returncode or f'{len(models)} passed' not in done.stdout or not models


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
