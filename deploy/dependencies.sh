#!/bin/sh
# Installs the Debian packages that the demo (`dependencies.sh demo`) or the tests as well (`dependencies.sh test`) need:
# says which are missing, installs only those, asks nothing. For the tests also Python programs that others wrote, from PyPI,
# into virtual environments beneath cargo's target directory, and tools from the npm registry (`dependencies.sh test
# [TARGET]`); of these, `dependencies.sh lint [TARGET]` installs what looks at the source alone.
set -eu

# To build: the compiler of the C parts of our crates, and tpm2-tss. To run: the simulated devices and their tools.
demo="gcc libc6-dev make pkg-config libtss2-dev ca-certificates swtpm swtpm-tools gnutls-bin softhsm2 openssl"
# To look at the devices with tools we did not write, and at the page with a browser we did not write; to kill and fail
# system calls, to set the clocks of single processes, and to mount file systems whose power is cut; a broker that enforces
# CRLs; the reference implementation of signed notes and tiles; an EST client; a token behind a server that can be killed;
# OpenSSL's way to a token, for the CA's speed beside `openssl ca`.
test="fonts-wqy-microhei git tpm2-tools opensc chromium chromium-driver strace e2fsprogs faketime mount python3-venv curl mosquitto mosquitto-clients
    golang-go golang-golang-x-mod-dev strongswan-pki libstrongswan-standard-plugins libstrongswan-extra-plugins
    p11-kit p11-kit-modules libengine-pkcs11-openssl"

# To compile libFuzzer, which the crate libfuzzer-sys brings as C++.
fuzz="g++"

# Debian's npm, unless there is another one.
npm=
command -v npm >/dev/null || npm=npm

case "${1:-}" in
demo) wanted=$demo ;;
lint) wanted="$demo $npm" ;;
test) wanted="$demo $npm $test" ;;
fuzz) wanted="$demo $fuzz" ;;
*)
    echo "usage: $0 demo | fuzz | lint [TARGET] | test [TARGET]" >&2
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

root=$(dirname "$0")/..
target=${2:-${CARGO_TARGET_DIR:-$root/target}}

# What stands there already is not asked for again: once installed, no network is needed.
others() {
    case "$1" in
    test)
        python "$root/tests/interop/requirements.txt" "$target/interop/venv"
        python "$root/deploy/examples/mes/requirements.txt" "$target/mes/venv"
        node
        ;;
    lint) node ;;
    esac
}

python() {
    wanted=$1 venv=$2
    ! cmp -s "$wanted" "$venv/installed.txt" || return 0
    echo "Installing from PyPI: $(grep -c == "$wanted") packages into $venv"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { python3 -m venv --clear "$venv" \
        && "$venv/bin/pip" install --disable-pip-version-check --only-binary :all: -r "$wanted" \
        && cp "$wanted" "$venv/installed.txt"; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "Could not install from PyPI what $wanted names" >&2
        exit 1
    fi
}

node() {
    wanted=$root/tests/npm/package.json place=$target/npm
    ! cmp -s "$wanted" "$place/installed.json" || return 0
    echo "Installing from the npm registry what tests/npm/package.json names, into $place"
    mkdir -p "$place"
    cp "$wanted" "$place/"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # Without the packages' own scripts: what they download is not what is pinned here.
    if ! { npm install --prefix "$place" --no-package-lock --ignore-scripts --no-audit --no-fund \
        && cp "$wanted" "$place/installed.json"; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "Could not install what tests/npm/package.json names" >&2
        exit 1
    fi
}

if [ -z "$missing" ]; then
    others "$@"
    exit 0
fi
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
others "$@"
