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
