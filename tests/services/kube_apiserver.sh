#!/usr/bin/env bash
# Builds a real kube-apiserver from Debian's own source package, which carries everything it needs: no module proxy.
#   bash tests/services/kube_apiserver.sh        into WANFARM_KUBE (/var/cache/wanfarm-kube): a quarter of an hour, 3 GB
# For Debian 12, as root. It is Kubernetes 1.20: old, and yet the real admission, RBAC, watches and conflicts.
set -euo pipefail

target=${WANFARM_KUBE:-/var/cache/wanfarm-kube}
if [ -x "$target/kube-apiserver" ] && command -v etcd >/dev/null; then
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "run it as root: it installs golang-go and etcd-server" >&2; exit 1; }
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT

# The archive that packages come from, asked for their sources in a list of our own: the machine's stays as it is.
archive=$(apt-cache policy base-files | awk '/http/ && !found {print $2; found = 1}')
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" >"$sources/deb-src.list"
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    golang-go golang-github-modern-go-reflect2-dev etcd-server dpkg-dev make rsync
apt_source=(apt-get -o "Dir::Etc::sourcelist=$sources/deb-src.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$sources/lists")
mkdir -p "$sources/lists/partial"
"${apt_source[@]}" update -q

work=$(mktemp -d "${TMPDIR:-/tmp}/kube-build-XXXX")
trap 'rm -rf "$sources" "$work"' EXIT
cd "$work"
"${apt_source[@]}" source --download-only kubernetes
root=$work/go/src/k8s.io/kubernetes
mkdir -p "$root"
tar -xf kubernetes_*.orig.tar.* -C "$root" --strip-components=1

# Built with a newer Go than it was written for, its copy of reflect2 crashes; Debian's package of it does not.
reflect2=$root/vendor/github.com/modern-go/reflect2
rm -rf "$reflect2"
cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 "$reflect2"

# Its Makefile writes what is generated and not in the source, then builds.
cd "$root"
GOCACHE=$work/cache nice -n 19 make WHAT=cmd/kube-apiserver KUBE_BUILD_PLATFORMS=linux/amd64 GOLDFLAGS="-s -w" \
    KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 KUBE_GIT_COMMIT=none KUBE_GIT_TREE_STATE=clean
mkdir -p "$target"
mv _output/bin/kube-apiserver "$target/kube-apiserver"
