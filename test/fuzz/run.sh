#!/usr/bin/env bash
# run.sh TARGET NAME SECONDS: fuzzes from seeds made of the bundled models and the tests' texts.
set -euo pipefail
target=$1 name=$2 seconds=$3
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/corpus"
bin=$(dirname "$target")/../bin
for f in $(find "$here/passes" "$here/text" "$here/verifier" -name '*.onnxtxt'); do
  seed=$work/corpus/$(basename "$(dirname "$f")")-$(basename "$f" .onnxtxt)
  if [ "$name" = text ]; then cp "$f" "$seed"; else "$bin/onnx-opt" "$f" -o "$seed.onnx" 2>/dev/null || true; fi
done
cd "$work"
if ! "$target" -max_total_time="$seconds" -rss_limit_mb=3000 -timeout=20 -max_len=20000 -close_fd_mask=1 corpus >log 2>&1; then
  tail -40 log
  for f in crash-* timeout-* oom-*; do [ -e "$f" ] && cp "$f" /tmp/ && echo "kept /tmp/$f"; done
  exit 1
fi
grep -E 'stat::|DONE|Done' log | tail -3 || tail -3 log
