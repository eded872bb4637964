#!/bin/sh
# Fetches what the aarch64 build needs into the given folder:
#   <folder>/executorch   the C++ SDK out of the aarch64 wheel of the pinned executorch
#   <folder>/sysroot      libsodium, gtest, json and CLI11 for arm64
# The packages come through apt with a state of its own: the machine's architectures and lists stay as they are; no root needed.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
out=$(cd "$1" && pwd)
python=$PWD/.venv/bin/python

if [ ! -d "$out/executorch/share/cmake" ]; then
  version=$(sed -n 's/^executorch==//p' constraints.txt)
  tag=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version "$tag" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 -d "$out/wheel" "executorch==$version"
  "$python" -m zipfile -e "$out"/wheel/executorch-*aarch64.whl "$out/unpacked"
  rm -rf "$out/executorch"
  mv "$out/unpacked/executorch" "$out/executorch"
  rm -rf "$out/unpacked" "$out/wheel"
fi

apt=$out/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
arm_apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o "Dir::State::lists=$apt/lists" \
    -o "Dir::Cache=$apt/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root "$@"
}
# Ubuntu keeps arm64 on another server than amd64, which its own sources do not name.
if ! arm_apt update || [ -z "$(arm_apt indextargets 'ARCHITECTURE: arm64' 2>/dev/null)" ]; then
  echo "setup: apt's sources have no arm64 packages; add one that has (deb [arch=arm64] …) and run make again" >&2
  exit 1
fi
(cd "$apt/debs" && arm_apt download libsodium23 libsodium-dev libgtest-dev libgmock-dev nlohmann-json3-dev libcli11-dev)
rm -rf "$out/sysroot"
mkdir -p "$out/sysroot"
for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$out/sysroot"; done
rm -rf "$apt"
