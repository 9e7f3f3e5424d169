#!/bin/sh
# Makes a journal and has the Go program audit what an auditor gets of it; with a changed file it must refuse.
# `run.sh DIRECTORY [records]`; the directory is made anew. Debian's packages are used in GOPATH mode: nothing is fetched.
set -eu
directory=$1
records=${2:-70000}
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$directory"
mkdir -p "$directory/auditor" "$directory/build"
cargo run --quiet --locked --package journal --example audit-sample "$directory" "$records" >/dev/null
# What an auditor gets, and nothing else.
cp -r "$directory/journal/tlog" "$directory/older" "$directory/proofs" "$directory/auditor"
cp "$directory/journal.vkey" "$directory/journal.hardware.vkey" "$directory/witness.vkey" "$directory/auditor"
cp "$here/audit.go" "$directory/build"
(cd "$directory/build" && GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$directory/build/cache" go build -o journal-audit ./audit.go)
audit() {
    "$directory/build/journal-audit" -tlog "$directory/auditor/tlog" -key "$directory/auditor/journal.vkey" \
        -hardware "$directory/auditor/journal.hardware.vkey" -witness "$directory/auditor/witness.vkey" -older "$directory/auditor/older" -proofs "$directory/auditor/proofs"
}
audit
for file in tlog/checkpoint tlog/tile/entries/000 older/1 proofs/0.json; do
    path="$directory/auditor/$file"
    cp "$path" "$directory/kept"
    # One letter or byte in the middle becomes another.
    size=$(($(wc -c <"$path") / 2))
    byte=$(dd if="$path" bs=1 skip="$size" count=1 2>/dev/null)
    [ "$byte" = A ] && other=B || other=A
    printf %s "$other" | dd of="$path" bs=1 seek="$size" conv=notrunc 2>/dev/null
    if audit >/dev/null 2>&1; then
        echo "journal-audit: $file was changed, and the audit did not notice" >&2
        exit 1
    fi
    cp "$directory/kept" "$path"
done
echo "journal-audit: a checkpoint, a bundle, an older checkpoint and a proof changed: each refused"
rm -rf "$directory"
