#!/bin/sh
# Installs the Debian packages that the demo (`dependencies.sh demo`) or the tests as well (`dependencies.sh test`) need:
# says which are missing, installs only those, asks nothing.
set -eu

# To build: the compiler of the C parts of our crates, and tpm2-tss. To run: the simulated devices and their tools.
demo="gcc libc6-dev make pkg-config libtss2-dev ca-certificates swtpm swtpm-tools gnutls-bin softhsm2 openssl"
# To look at the devices with tools we did not write, and at the page with a browser we did not write; to kill and fail
# system calls, and to mount file systems whose power is cut.
test="git tpm2-tools opensc chromium chromium-driver strace e2fsprogs mount"

case "${1:-}" in
demo) wanted=$demo ;;
test) wanted="$demo $test" ;;
*)
    echo "usage: $0 demo|test" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "No apt-get here, so nothing is installed. Needed, by their Debian names: $wanted" >&2
    exit 0
fi

installed() {
    case "$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null)" in
    *not-installed*) return 1 ;;
    installed*) return 0 ;;
    *) return 1 ;;
    esac
}

missing=
for package in $wanted; do
    installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "Installing:$missing"

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "Installing needs root. Run this as root, then repeat your command:" >&2
    echo "    apt-get update && apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

apt() {
    # Another apt at work is waited for; a question about a changed configuration file keeps the old one.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# What apt does is told only when it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt update && apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "Could not install:$missing" >&2
    exit 1
fi
