#!/usr/bin/env python3
"""Run the backend suite and compare the failures with a checked-in list: run_suite.py ONNX_RUN SUITE KNOWN

Fails when a case that is not on the list fails, and when one on the list passes.
"""
import subprocess
import sys


def main(onnx_run, suite, known_path):
    r = subprocess.run([onnx_run, '--suite', suite], capture_output=True, text=True)
    lines = r.stdout.splitlines()
    print(lines[-1])
    failed = {line.split(': ')[0][len('FAIL '):]: line for line in lines if line.startswith('FAIL ')}
    with open(known_path) as f:
        known = {line.split('#')[0].strip() for line in f if line.split('#')[0].strip()}
    for name in sorted(set(failed) - known):
        print('unexpected:', failed[name])
    for name in sorted(known - set(failed)):
        print('passes now, take it off the list:', name)
    passed = int(lines[-1].split()[0])
    return 0 if set(failed) == known and passed > 1000 else 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
