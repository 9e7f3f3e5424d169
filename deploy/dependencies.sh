#!/bin/sh
# Installs the Debian packages that the demo (`dependencies.sh demo`) or the tests as well (`dependencies.sh test`) need:
# says which are missing, installs only those, asks nothing. For the tests also two Python programs that others wrote, from
# PyPI, into a virtual environment beneath cargo's target directory (`dependencies.sh test [TARGET]`).
set -eu

# To build: the compiler of the C parts of our crates, and tpm2-tss. To run: the simulated devices and their tools.
demo="gcc libc6-dev make pkg-config libtss2-dev ca-certificates swtpm swtpm-tools gnutls-bin softhsm2 openssl"
# To look at the devices with tools we did not write, and at the page with a browser we did not write; to kill and fail
# system calls, to set the clocks of single processes, and to mount file systems whose power is cut; a broker that enforces
# CRLs; the reference implementation of signed notes and tiles; an EST client.
test="git tpm2-tools opensc chromium chromium-driver strace e2fsprogs faketime mount python3-venv curl mosquitto mosquitto-clients
    golang-go golang-golang-x-mod-dev strongswan-pki libstrongswan-standard-plugins libstrongswan-extra-plugins"

case "${1:-}" in
demo) wanted=$demo ;;
test) wanted="$demo $test" ;;
*)
    echo "usage: $0 demo | test [TARGET]" >&2
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

# What stands there already is not asked for again: once installed, no network is needed.
python() {
    [ "$1" = test ] || return 0
    wanted=$(dirname "$0")/../tests/interop/requirements.txt
    venv=${2:-${CARGO_TARGET_DIR:-$(dirname "$0")/../target}}/interop/venv
    ! cmp -s "$wanted" "$venv/installed.txt" || return 0
    echo "Installing from PyPI: $(grep -c == "$wanted") packages into $venv"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { python3 -m venv --clear "$venv" \
        && "$venv/bin/pip" install --disable-pip-version-check --only-binary :all: -r "$wanted" \
        && cp "$wanted" "$venv/installed.txt"; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "Could not install what tests/interop needs from PyPI" >&2
        exit 1
    fi
}

if [ -z "$missing" ]; then
    python "$@"
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
python "$@"
