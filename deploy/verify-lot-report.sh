#!/bin/sh
# Verifies the signed report of a lot (JWS: ES256, ES384 or RS256) with OpenSSL alone, and prints what it says.
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

# The algorithm follows from the key, whatever the header says.
case $(openssl pkey -pubin -in "$made/issuer.pub" -noout -text) in
    *"NIST CURVE: P-256"*) half=64 hash=sha256 ;;
    *"NIST CURVE: P-384"*) half=96 hash=sha384 ;;
    *Modulus*) half=0 hash=sha256 ;;
    *) echo "the issuer's key is neither P-256, P-384 nor RSA" >&2; exit 1 ;;
esac
cut -d. -f1,2 "$1" | tr -d '\n' >"$made/input"
cut -d. -f3 "$1" | decode >"$made/signature"
if [ $half != 0 ]; then
    # RFC 7518 §3.4: the signature is R and S, each as long as the key; OpenSSL reads them as a SEQUENCE of two INTEGERs.
    rs=$(od -An -v -tx1 <"$made/signature" | tr -d ' \n')
    [ ${#rs} = $((2 * half)) ] || { echo "the signature has not $half octets, as the issuer's key makes it" >&2; exit 1; }
    r=$(printf %s "$rs" | cut -c1-$half) s=$(printf %s "$rs" | cut -c$((half + 1))-)
    printf 'asn1=SEQUENCE:rs\n[rs]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' "$r" "$s" >"$made/rs.cnf"
    openssl asn1parse -genconf "$made/rs.cnf" -noout -out "$made/signature"
fi
openssl dgst -$hash -verify "$made/issuer.pub" -signature "$made/signature" "$made/input" >&2 || exit 1
cut -d. -f2 "$1" | decode
