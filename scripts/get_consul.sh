#!/usr/bin/env bash
# A real Consul agent for the tests, at .tools/consul: the one on PATH, else 1.8.7 from the package archive of Debian 11,
# which is the last one that packages it. Asks the mirror that this machine's apt is configured for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sum=e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9
dest=.tools/consul
fail() { echo "get_consul: $*; install consul yourself and put it on PATH" >&2; exit 1; }

mkdir -p .tools
if [ -x "$dest" ] && "$dest" version >/dev/null 2>&1; then "$dest" version | sed -n 1p; exit 0; fi
if found=$(command -v consul); then ln -sfn "$found" "$dest"; "$dest" version | sed -n 1p; exit 0; fi
command -v apt-get >/dev/null || fail "no consul on PATH and no apt-get"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "the pinned package is for amd64, this is $(dpkg --print-architecture)"
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get update --print-uris | sed -n "s|^'\(.*\)/dists/$codename/InRelease'.*|\1|p" | sed -n 1p)
[ -n "$mirror" ] || fail "apt has no Debian mirror configured"

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial}
# A private apt state: the machine's own lists stay as they are. The pinned sum is what is trusted, not the archive.
echo "deb [trusted=yes arch=amd64] $mirror bullseye main" >"$work/bullseye.list"
options=(-qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::Etc::sourcelist=$work/bullseye.list"
  -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root)
apt-get "${options[@]}" update || fail "the mirror has no Debian 11 any more"
(cd "$work" && apt-get "${options[@]}" download consul) || fail "the mirror has no consul package"
mv "$work"/consul_*.deb "$work/consul.deb"
echo "$sum  $work/consul.deb" | sha256sum --check --quiet || fail "the package is not the pinned one"
dpkg-deb -x "$work/consul.deb" "$work/tree"
install -m 755 "$work/tree/usr/bin/consul" "$dest.new"
mv "$dest.new" "$dest" # in one step: two test runs at once never see half a binary
"$dest" version | sed -n 1p
