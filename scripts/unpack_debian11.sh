#!/usr/bin/env bash
# unpack_debian11.sh PACKAGE SHA256 FOLDER: downloads a pinned amd64 package of Debian 11 from the mirror that apt is
# configured for, and unpacks it into a new folder, without installing it. Debian 11 is the last release with a Consul,
# and with a Prometheus that supports Consul service discovery.
set -euo pipefail

package=$1 sum=$2 folder=$3
fail() { echo "unpack_debian11: $*; install $package yourself and put it on PATH" >&2; exit 1; }

command -v apt-get >/dev/null || fail "no apt-get"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "the pinned package is for amd64, this is $(dpkg --print-architecture)"
# shellcheck disable=SC1091 # present on every Debian
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get update --print-uris | sed -n "s|^'\(.*\)/dists/$codename/InRelease'.*|\1|p" | sed -n 1p)
[ -n "$mirror" ] || fail "apt has no Debian mirror configured"

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial}
# A private apt state leaves the system's package lists unchanged. The pinned sum is trusted, not the archive.
echo "deb [trusted=yes arch=amd64] $mirror bullseye main" >"$work/bullseye.list"
options=(-qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::Etc::sourcelist=$work/bullseye.list"
  -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root)
apt-get "${options[@]}" update || fail "the mirror has no Debian 11 any more"
(cd "$work" && apt-get "${options[@]}" download "$package/bullseye") || fail "the mirror has no package $package"
mv "$work/$package"_*.deb "$work/package.deb"
echo "$sum  $work/package.deb" | sha256sum --check --quiet || fail "the package is not the pinned one"
dpkg-deb -x "$work/package.deb" "$folder"
