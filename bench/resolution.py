#!/usr/bin/env python3
"""Shapes of real models: resolution.py ONNX_OPT MODELS_DIR

For each model: the values that nodes compute (bodies of control flow included), how many of them shape-infer resolves (each
dim a constant or an expression of the inputs' sizes), and its time for each node, medians of 5 runs. Values in branches that
are proved never to run have a column of their own. A call counts for the nodes of its function's body too: each is inferred by
itself.
"""
import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile

import onnx


def visited(nodes, functions):
    """How many nodes inference visits, bodies and called functions included."""
    count = 0
    for n in nodes:
        count += 1 + visited(functions.get((n.domain, n.op_type), []), functions)
        for a in n.attribute:
            count += visited(a.g.node, functions)
    return count


def main(tool, folder):
    print('| model | values | resolved | % | never computed | us a node |\n|---|---|---|---|---|---|')
    total = found = dead = spent = inferred = 0
    with tempfile.TemporaryDirectory() as tmp:
        for path in sorted(glob.glob(f'{folder}/*.onnx')):
            times = []
            for _ in range(5):
                r = subprocess.run([tool, '--passes=shape-infer', path, '-o', f'{tmp}/o.onnx', '--stats', '--timing'],
                                   capture_output=True, text=True, check=True)
                text = r.stdout + r.stderr
                times.append(float(re.search(r'([\d.]+) ms', text)[1]))
            values, resolved, never = (int((re.search(rf'(\d+)\s+{what}', text) or [0, 0])[1])
                                       for what in ('values', 'fully', 'never'))
            model = onnx.load(path, load_external_data=False)
            nodes = visited(model.graph.node, {(f.domain, f.name): f.node for f in model.functions})
            ms = statistics.median(times)
            total, found, dead = total + values, found + resolved, dead + never
            spent, inferred = spent + ms, inferred + nodes
            print(f'| {os.path.basename(path)[:-5]} | {values} | {resolved} | {100 * resolved / values:.1f} | {never} | '
                  f'{1000 * ms / nodes:.1f} |')
    print(f'| all | {total} | {found} | {100 * found / total:.2f} | {dead} | {1000 * spent / inferred:.1f} |')


if __name__ == '__main__':
    main(*sys.argv[1:])
