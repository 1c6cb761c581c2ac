#!/usr/bin/env bash
# clang-tidy on the C++ files that changed since BASE (default: ten commits ago): check-tidy.sh [BASE].
# Needs the asan preset's compile commands; build it first.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-$(git rev-list --max-count=11 HEAD | tail -n 1)}
files=$(git diff --name-only --diff-filter=d "$base" -- '*.cpp' | grep -v '^ops/schema/\(Onnx\|Microsoft\).cpp$\|^examples/' || true)
[ -n "$files" ] || { echo "clang-tidy: no C++ file changed since $base"; exit 0; }
echo "clang-tidy: $(wc -w <<<"$files") files changed since $base"
# What it says of its own work (so many warnings suppressed) is noise.
xargs -n 1 -P 2 clang-tidy-19 -p build/asan --quiet <<<"$files" 2> >(grep -v '^[0-9]* warning' >&2)
