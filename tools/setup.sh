# Sourced by demo.sh and test.sh: what has to be there before anything else.

packages="g++ cmake ninja-build ccache mold protobuf-compiler libprotobuf-dev libabsl-dev llvm-19-dev llvm-19-tools
 libgtest-dev libdnnl-dev libre2-dev libturbojpeg0-dev libpng-dev libtiff-dev libwebp-dev libopenjp2-7-dev
 clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev python3 python3-venv"

install_packages() {
  local missing=()
  for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}"
  local sudo=
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The oracle tests' Python packages, pinned, in .venv.
make_environment() {
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  if ! cmp -s test/requirements.txt .venv/installed.txt; then
    .venv/bin/pip install -q --disable-pip-version-check -r test/requirements.txt
    cp test/requirements.txt .venv/installed.txt
  fi
}

# build PRESET [TARGET...]
build() {
  export CCACHE_SLOPPINESS=pch_defines,time_macros
  cmake --preset "$1" >/dev/null
  cmake --build "build/$1" ${2:+--target "${@:2}"}
}
