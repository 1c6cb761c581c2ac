#!/usr/bin/env bash
# Installs what is missing, builds, and optimizes two bundled models, printing what changed.
set -euo pipefail
cd "$(dirname "$0")"
. tools/setup.sh
install_packages
build release onnx-opt onnx-run
for model in ppocrv2_cls superres; do
  echo "== $model"
  build/release/bin/onnx-opt --passes=shape-infer,inplace,fuse "examples/models/$model.onnx" \
    -o "build/$model.optimized.onnx" --validate --report
done
