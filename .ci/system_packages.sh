#!/bin/sh
# Makes sure that the system packages of the given groups (.ci/system-packages.txt) are there.
# As root they are installed; otherwise the command to run is printed and the script fails.
set -eu
cd "$(dirname "$0")/.."

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "setup: not a Debian-like system; make sure that these packages' counterparts are installed:" >&2
  for group in "$@"; do awk -v g="$group" '$1 == g { print "  " $2 }' .ci/system-packages.txt >&2; done
  exit 0
fi

missing=""
for group in "$@"; do
  for package in $(awk -v g="$group" '$1 == g { print $2 }' .ci/system-packages.txt); do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
  done
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  printf 'setup: these system packages are missing:%s\nInstall them and run make again:\n  sudo apt-get install -y%s\n' \
    "$missing" "$missing" >&2
  exit 1
fi
echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
