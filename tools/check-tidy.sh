#!/usr/bin/env bash
# clang-tidy on the C++ files that changed since BASE (default: the commit before the last): check-tidy.sh [BASE].
# Needs the asan preset's compile commands; build it first.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-HEAD~1}
git rev-parse -q --verify "$base" >/dev/null || { echo "clang-tidy: there is no $base to compare with"; exit 0; }
files=$(git diff --name-only --diff-filter=d "$base" -- '*.cpp' | grep -v '^ops/schema/\(Onnx\|Microsoft\).cpp$\|^examples/' || true)
[ -n "$files" ] || { echo "clang-tidy: no C++ file changed"; exit 0; }
echo "clang-tidy: $(wc -w <<<"$files") files changed since $base"
xargs -n 1 -P 2 clang-tidy-19 -p build/asan --quiet <<<"$files" 2>/dev/null
