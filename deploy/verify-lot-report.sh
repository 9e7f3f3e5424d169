#!/bin/sh
# Verifies the signed report of a lot (JWS, ES256) with OpenSSL alone, and prints what it says.
#
#   verify-lot-report.sh report.jws root.pem
#
# root.pem is the product's root, from a source that you trust. Exit codes: 0 it is the CA's, 1 it is not, 2 usage.
set -eu
[ $# = 2 ] || { echo "usage: $0 REPORT ROOT" >&2; exit 2; }
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# base64url (RFC 4648 §5) without padding.
decode() { tr -d '\n' | tr '_-' '/+' | sed 's/$/===/' | base64 -di 2>/dev/null || true; }

# The header names the issuer's certificate; it counts only because the root signed it.
cut -d. -f1 "$1" | decode | sed 's/.*"x5c": *\["//; s/".*//' | base64 -d >"$made/issuer.der"
openssl verify -CAfile "$2" "$made/issuer.der" >/dev/null || exit 1
openssl x509 -in "$made/issuer.der" -pubkey -noout -out "$made/issuer.pub"

# RFC 7518 §3.4: the signature is R and S, 32 octets each; OpenSSL reads them as a SEQUENCE of two INTEGERs.
cut -d. -f1,2 "$1" | tr -d '\n' >"$made/input"
rs=$(cut -d. -f3 "$1" | decode | od -An -v -tx1 | tr -d ' \n')
[ ${#rs} = 128 ] || { echo "the signature has not 64 octets: is it ES256?" >&2; exit 1; }
printf 'asn1=SEQUENCE:rs\n[rs]\nr=INTEGER:0x%.64s\ns=INTEGER:0x%s\n' "$rs" "$(printf %s "$rs" | cut -c65-)" >"$made/rs.cnf"
openssl asn1parse -genconf "$made/rs.cnf" -noout -out "$made/rs.der"
openssl dgst -sha256 -verify "$made/issuer.pub" -signature "$made/rs.der" "$made/input" >&2 || exit 1
cut -d. -f2 "$1" | decode
