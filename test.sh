#!/usr/bin/env bash
# Builds and runs all tests. `./test.sh quick` leaves out the long ones.
set -euo pipefail
cd "$(dirname "$0")"
. tools/setup.sh
install_packages
make_environment
tools/check-format.sh
build release
exclude=()
[ "${1:-}" = quick ] && exclude=(-LE long)
ctest --test-dir build/release --output-on-failure "${exclude[@]}"
if [ "${1:-}" != quick ]; then
  build asan
  ctest --test-dir build/asan --output-on-failure --no-tests=error -L sanitized
  build tsan unit-tests
  ctest --test-dir build/tsan --output-on-failure --no-tests=error -R '^threads$'
  tools/check-tidy.sh
fi
