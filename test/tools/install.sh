#!/usr/bin/env bash
# install.sh BUILD SOURCE: installs the library and builds examples/custom-pass against it.
set -euo pipefail
build=$1 source=$2
prefix=$build/installed
cmake --install "$build" --prefix "$prefix" >/dev/null
cmake -S "$source/examples/custom-pass" -B "$build/custom-pass" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build/custom-pass"
"$build/custom-pass/custom-pass" --passes=relu-to-clip --validate "$source/examples/models/superres.onnx" \
  -o "$build/clip.onnx"
"$build/bin/onnx-opt" --passes= "$build/clip.onnx" --elide=4 | grep -q 'Clip (c0, zero'

# The operator of the example's own: its shape is inferred, and it folds.
cat >"$build/twice.onnxtxt" <<'EOF'
<ir_version: 8, opset_import: ["" : 17, "custom" : 1]>
g (float[N] x) => (y) <float[2] w = {1, 2}> { a = custom.Twice(x) b = custom.Twice(w) y = Concat<axis = 0>(a, b) }
EOF
"$build/custom-pass/custom-pass" --passes=shape-infer,fold,dce --validate "$build/twice.onnxtxt" -o "$build/twice.onnx"
"$build/bin/onnx-opt" --passes= "$build/twice.onnx" | tee /dev/stderr | grep -q 'float\[2\] b = {2,4}'
"$build/bin/onnx-opt" --passes= "$build/twice.onnx" | grep -q 'float\["N + 2"\] y'
