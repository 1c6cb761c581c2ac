#!/usr/bin/env bash
# Fails when a source file is not formatted as .clang-format says. `--fix` formats it.
set -euo pipefail
cd "$(dirname "$0")/.."
files=$(git ls-files -co --exclude-standard '*.cpp' '*.h' | grep -v '^ops/schema/\(Onnx\|Microsoft\).cpp$')
if [ "${1:-}" = --fix ]; then
  clang-format-19 -i $files
else
  clang-format-19 --dry-run -Werror $files
fi
