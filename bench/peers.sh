#!/usr/bin/env bash
# Every optimizer on the models of ../shared: peers.sh PYTHON [MORE OPTIONS OF peers.py]
# PYTHON is of an environment with ../shared/bench/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
"$python" ../shared/bench/peers.py ../shared/cases/models \
  --cmd 'onnx-opt -O1=build/release/bin/onnx-opt -O1 {in} -o {out}' "$@"
