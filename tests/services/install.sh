#!/usr/bin/env bash
# Installs the real servers that some suites run against: bash tests/services/install.sh ceph
# For Debian and Ubuntu, as root. The servers are started and stopped by the tests themselves.
set -euo pipefail

packages_of() {
    case "$1" in
        ceph) echo ceph-mon ceph-osd radosgw ceph-common ;;
        chromium) echo chromium fonts-dejavu-core ;;
        prometheus) echo prometheus ;;
        *) echo "unknown service $1: ceph, chromium, prometheus" >&2; return 2 ;;
    esac
}

[ $# -gt 0 ] || { echo "usage: $0 SERVICE..." >&2; exit 2; }
packages=()
for service in "$@"; do
    names=$(packages_of "$service")
    read -r -a found <<<"$names"
    packages+=("${found[@]}")
done
if dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "run it as root: it installs ${packages[*]}" >&2; exit 1; }
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
