#!/usr/bin/env python3
"""Truncated, random and hostile files give one clear error: hostile.py BIN_DIR SHARED [COUNT]

Mutations of real models: never a crash, a hang over 5 s, more than 300 MB, or an output file beside an error. The files
of ../shared/cases/invalid: errors are rejected, lint and valid ones are not.
"""
import glob
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))


def main(bin_dir, shared, count='400'):
    opt, bad = f'{bin_dir}/onnx-opt', 0
    sources = [p for p in glob.glob(f'{ROOT}/examples/models/*.onnx')]
    if os.path.isdir(shared):
        sources += glob.glob(f'{shared}/cases/models/*.onnx')
    elif os.environ.get('CI') == 'true':
        print('../shared is absent')
        return 1
    sources = sorted(p for p in sources if os.path.getsize(p) < 4e6)
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as tmp:
        for i in range(int(count)):
            with open(rng.choice(sources), 'rb') as f:
                data = bytearray(f.read())
            kind = rng.randrange(4)
            if kind == 0:
                data = data[:rng.randrange(len(data))]
            else:
                # The structure lies at the ends and between the weights; few bytes are hit at a time.
                for _ in range(rng.choice([1, 3, 20])):
                    at = rng.randrange(min(len(data), 3000)) if kind == 1 else rng.randrange(len(data))
                    data[at] = rng.randrange(256)
            source, out = f'{tmp}/m.onnx', f'{tmp}/o.onnx'
            with open(source, 'wb') as f:
                f.write(data)
            if os.path.exists(out):
                os.remove(out)
            try:
                r = subprocess.run([opt, '-O1', source, '-o', out], capture_output=True, timeout=20, preexec_fn=limits)
            except subprocess.TimeoutExpired:
                r = None
            if r is None or r.returncode not in (0, 1) or (r.returncode == 1 and (os.path.exists(out) or b'error' not in r.stderr)):
                keep = f'/tmp/hostile_{i}.onnx'
                shutil.copy(source, keep)
                print('bad:', keep, 'timeout' if r is None else (r.returncode, r.stderr[-200:]))
                bad += 1
        rejected = wrong = 0
        if os.path.isdir(shared):
            work = f'{tmp}/cases'
            shutil.copytree(f'{shared}/cases/invalid', f'{work}/invalid')
            shutil.copy(f'{shared}/cases/secret.bin', f'{work}/secret.bin')
            subprocess.run('chmod -R u+w . && bash make_links.sh', shell=True, cwd=f'{work}/invalid', capture_output=True)
            for case in json.load(open(f'{work}/invalid/index.json')):
                r = subprocess.run([opt, '--verify', f'{work}/invalid/{case["id"]}.onnx'], capture_output=True, text=True)
                ok = (r.returncode == 1) == (case['kind'] == 'error') and r.returncode in (0, 1)
                rejected += r.returncode == 1
                if not ok:
                    print('wrong verdict:', case['id'], case['kind'], r.returncode, r.stderr[:200])
                    wrong += 1
        print(f'{count} mutations, {bad} bad; {rejected} invalid files rejected, {wrong} wrong verdicts')
    return 1 if bad or wrong else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
