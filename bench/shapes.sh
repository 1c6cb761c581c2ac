#!/usr/bin/env bash
# Shape inference on the ONNX backend node cases, three variants: shapes.sh
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python test/oracle/export_suite.py build/release/suite
for variant in static const sym; do
  .venv/bin/python ../shared/bench/shapes.py build/release/suite \
    "build/release/bin/onnx-opt --passes=shape-infer {in} -o {out}" --variant "$variant" | tail -1
done
