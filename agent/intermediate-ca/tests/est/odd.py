"""Certification requests that nobody should send, made by hand and signed by Python's `cryptography`: one JSON object a line, with
the request, the profile that it is sent for, and what the refusal must say."""

import base64
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa

SERIAL = "SN-1"
NAME = "SN-1.line.example"


def tlv(tag, *parts):
    content = b"".join(parts)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def seq(*parts):
    return tlv(0x30, *parts)


def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = bytearray([first * 40 + second])
    for arc in rest:
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | arc & 0x7F)
        out += bytes(reversed(octets))
    return tlv(6, bytes(out))


def integer(value):
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


NULL = b"\x05\x00"
ZERO = b"\x02\x01\x00"
CN, O = "2.5.4.3", "2.5.4.10"
ECDSA = {"SHA1": "1.2.840.10045.4.1", "SHA256": "1.2.840.10045.4.3.2"}
RSA = {"SHA1": "1.2.840.113549.1.1.5", "SHA256": "1.2.840.113549.1.1.11", "MD5": "1.2.840.113549.1.1.4"}


def spki(key):
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def attribute(kind, text, tag=0x0C, encoding="utf-8"):
    return seq(oid(kind), tlv(tag, text.encode(encoding)))


def subject(*rdns):
    return seq(*(tlv(0x31, rdn) for rdn in rdns))


OWN = subject(attribute(CN, NAME))


def extension(kind, content, critical=b""):
    return seq(oid(kind), critical, tlv(4, content))


def asks(*extensions):
    return seq(oid("1.2.840.113549.1.9.14"), tlv(0x31, seq(*extensions)))


def info(key, name=OWN, attributes=(), version=ZERO):
    public = key if isinstance(key, bytes) else spki(key)
    return seq(version, name, public, tlv(0xA0, *attributes))


def signature(key, octets, digest=hashes.SHA256()):
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(octets, ec.ECDSA(digest))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), digest)
    if isinstance(key, dsa.DSAPrivateKey):
        return key.sign(octets, digest)
    return key.sign(octets)


def whole(octets, algorithm, signed):
    return seq(octets, algorithm, tlv(3, b"\x00", signed))


def request(key, octets=None, algorithm=None, digest=hashes.SHA256()):
    octets = octets or info(key)
    if algorithm is None:
        is_rsa = isinstance(key, rsa.RSAPrivateKey)
        algorithm = seq(oid(RSA["SHA256"]), NULL) if is_rsa else seq(oid(ECDSA["SHA256"]))
    return whole(octets, algorithm, signature(key, octets, digest))


def p256():
    return ec.generate_private_key(ec.SECP256R1())


def tell(name, der, reason, words, profile="enrolled"):
    print(json.dumps({
        "name": name, "der": base64.b64encode(der).decode(), "reason": reason, "words": words, "profile": profile,
    }))


def named(name, text, *rdns, reason="INVALID_REQUEST"):
    key = p256()
    tell(name, request(key, info(key, subject(*rdns))), reason, text)


def asking(name, text, *extensions, profile="enrolled", reason="EXTENSIONS_CONTRADICT_PROFILE"):
    key = p256()
    tell(name, request(key, info(key, attributes=[asks(*extensions)])), reason, text, profile)


def key_is(name, public, words, reason="INVALID_REQUEST"):
    """Of a key that is none, or that nobody has the private half of: signed by another one."""
    other = p256()
    octets = info(public)
    tell(name, whole(octets, seq(oid(ECDSA["SHA256"])), signature(other, octets)), reason, words)


def rsa_spki(modulus, exponent):
    content = seq(integer(modulus), integer(exponent))
    return seq(seq(oid("1.2.840.113549.1.1.1"), NULL), tlv(3, b"\x00", content))


def ec_spki(point, curve="1.2.840.10045.3.1.7"):
    return seq(seq(oid("1.2.840.10045.2.1"), oid(curve)), tlv(3, b"\x00", point))


def encodings():
    key = p256()
    good = request(key)
    parts = info(key)
    no = "not one DER-encoded PKCS#10"
    tell("octets after it", good + b"\x00", "INVALID_REQUEST", no)
    tell("two requests", good + good, "INVALID_REQUEST", no)
    tell("cut off", good[:-1], "INVALID_REQUEST", no)
    # BER: an indefinite length (X.690 8.1.3.6).
    tell("indefinite length", b"\x30\x80" + good[4:] + b"\x00\x00", "INVALID_REQUEST", no)
    # BER: more length octets than needed.
    body = good[4:]
    long = b"\x30\x84" + len(body).to_bytes(4, "big") + body
    tell("length with zeros before it", long, "INVALID_REQUEST", no)
    inner = b"\x30\x83" + len(parts[3:]).to_bytes(3, "big") + parts[3:] if parts[1] == 0x81 else None
    if inner:
        tell("inner length with zeros before it", request(key, inner), "INVALID_REQUEST", no)
    tell("version 2", request(key, info(key, version=b"\x02\x01\x01")), "INVALID_REQUEST", "version")
    tell("a certificate's tag", b"\x31" + good[1:], "INVALID_REQUEST", no)
    nested = b""
    for _ in range(2_000):
        nested = seq(nested)
    tell("nested two thousand deep", nested, "INVALID_REQUEST", no)
    tell("16 KiB and more", request(key, info(key, attributes=[asks(extension("1.2.3.4", bytes(17_000)))])),
         "INVALID_REQUEST", "at most 16384")


def names():
    printable = "printable ASCII"
    named("no subject", "0 common names")
    named("an empty CN", "is empty", attribute(CN, ""))
    named("no CN", "0 common names", attribute(O, "Example"))
    named("two CNs", "2 common names", attribute(CN, NAME), attribute(CN, "SN-2.line.example"))
    named("two CNs in one RDN", "2 common names", attribute(CN, NAME) + attribute(CN, "SN-2.line.example"))
    named("the same CN twice", "2 common names", attribute(CN, NAME), attribute(CN, NAME))
    named("65 characters", "65 characters", attribute(CN, "x" * 65))
    named("a CN of 64 KiB of text", "at most 16384", attribute(CN, "x" * 65_536))
    named("in BMPString", "BMPString", attribute(CN, NAME, 0x1E, "utf-16-be"))
    named("in UniversalString", "UniversalString", attribute(CN, NAME, 0x1C, "utf-32-be"))
    named("in TeletexString", "TeletexString", attribute(CN, NAME, 0x14, "latin-1"))
    named("an OCTET STRING", "no text", attribute(CN, NAME, 0x04))
    named("a NUL within", printable, attribute(CN, "SN-1\0.line.example"))
    named("a line end", printable, attribute(CN, NAME + "\n"))
    named("a letter with its accent", printable, attribute(CN, "\u00e9.line.example"))
    named("a letter and its accent", printable, attribute(CN, "e\u0301.line.example"))
    named("no UTF-8", "UTF-8", seq(oid(CN), tlv(0x0C, b"\xff\xfe")))
    named("from right to left", printable, attribute(CN, "\u202eelpmaxe.enil.1-NS"))
    named("a full stop of another script", printable, attribute(CN, "SN-1\u3002line.example"))
    named("not the template's", ".line.example", attribute(CN, "sn-1.LINE.example"),
          reason="COMMON_NAME_NOT_ACCEPTED")
    named("the CA's own", "the CN test IDENTITY ca", attribute(CN, "test IDENTITY ca"),
          reason="COMMON_NAME_NOT_ACCEPTED")


def keys():
    for name, key, oid_text, words in [
        ("Ed25519", ed25519.Ed25519PrivateKey.generate(), "1.3.101.112", "the key is Ed25519"),
        ("Ed448", ed448.Ed448PrivateKey.generate(), "1.3.101.113", "the key is Ed448"),
        ("P-521", ec.generate_private_key(ec.SECP521R1()), ECDSA["SHA256"], "EC on 1.3.132.0.35"),
        ("secp256k1", ec.generate_private_key(ec.SECP256K1()), ECDSA["SHA256"], "EC on 1.3.132.0.10"),
        ("brainpoolP256r1", ec.generate_private_key(ec.BrainpoolP256R1()), ECDSA["SHA256"], "EC on 1.3.36.3.3"),
        ("DSA", dsa.generate_private_key(1024), "2.16.840.1.101.3.4.3.2", "the key is DSA"),
        ("RSA of 1024 bit", rsa.generate_private_key(65537, 1024), RSA["SHA256"], "RSA of 1024 bit"),
    ]:
        is_rsa = isinstance(key, rsa.RSAPrivateKey)
        algorithm = seq(oid(oid_text), NULL) if is_rsa else seq(oid(oid_text))
        tell(name, request(key, algorithm=algorithm), "INVALID_REQUEST", words)
    good = p256().public_key().public_numbers()
    x, y = good.x.to_bytes(32, "big"), good.y.to_bytes(32, "big")
    unproven = "possession is not proven"
    key_is("a point beside the curve", ec_spki(b"\x04" + x + bytes(31) + b"\x01"), unproven)
    key_is("a compressed point", ec_spki(bytes([2 + good.y % 2]) + x), "not uncompressed")
    key_is("a hybrid point", ec_spki(bytes([6 + good.y % 2]) + x + y), "not uncompressed")
    key_is("infinity", ec_spki(b"\x00"), "not uncompressed")
    key_is("no point", ec_spki(b""), "not uncompressed")
    key_is("a point of another length", ec_spki(b"\x04" + x + y + b"\x00"), unproven)
    key_is("P-256's point said to be P-384's", ec_spki(b"\x04" + x + y, "1.3.132.0.34"), unproven)
    key_is("another key's signature", spki(p256()), unproven)
    own = rsa.generate_private_key(65537, 2048)
    modulus = own.public_key().public_numbers().n
    huge = rsa_spki(2**16383 + 1, 65537)
    key_is("a modulus of 16384 bit", huge, "RSA of 16384 bit")
    for name, exponent in [("1", 1), ("3", 3), ("2", 2), ("of 2048 bit", 2**2047 + 1)]:
        octets = info(rsa_spki(modulus, exponent))
        # With the exponent 1 the padded message is its own signature: nobody needs a private key.
        digest = hashes.Hash(hashes.SHA256())
        digest.update(octets)
        prefix = bytes.fromhex("3031300d060960864801650304020105000420")
        encoded = prefix + digest.finalize()
        padded = b"\x00\x01" + b"\xff" * (256 - 3 - len(encoded)) + b"\x00" + encoded
        tell(f"the exponent {name}", whole(octets, seq(oid(RSA["SHA256"]), NULL), padded), "INVALID_REQUEST", "exponent")
    no_null = seq(seq(oid("1.2.840.113549.1.1.1")), tlv(3, b"\x00", seq(integer(modulus), integer(65537))))
    octets = info(no_null)
    tell("RSA without NULL", whole(octets, seq(oid(RSA["SHA256"]), NULL), signature(own, octets)),
         "INVALID_REQUEST", "NULL parameters")
    # The same key in other octets would not be known again.
    for name, content in [
        ("a zero before the exponent", seq(integer(modulus), b"\x02\x04\x00\x01\x00\x01")),
        ("octets after the key", seq(integer(modulus), integer(65537)) + b"\x00"),
    ]:
        octets = info(seq(seq(oid("1.2.840.113549.1.1.1"), NULL), tlv(3, b"\x00", content)))
        tell(name, whole(octets, seq(oid(RSA["SHA256"]), NULL), signature(own, octets)), "INVALID_REQUEST", "")
    sha1 = hashes.SHA1()
    tell("RSA and SHA-1", request(own, algorithm=seq(oid(RSA["SHA1"]), NULL), digest=sha1), "INVALID_REQUEST", "SHA-1")
    tell("RSA and MD5", request(own, algorithm=seq(oid(RSA["MD5"]), NULL)), "INVALID_REQUEST", "MD5")
    ecdsa = p256()
    tell("ECDSA and SHA-1", request(ecdsa, algorithm=seq(oid(ECDSA["SHA1"])), digest=sha1), "INVALID_REQUEST", "SHA-1")
    octets = info(own)
    pss = own.sign(octets, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    tell("RSASSA-PSS", whole(octets, seq(oid("1.2.840.113549.1.1.10"), seq()), pss), "INVALID_REQUEST", "RSASSA-PSS")


BC, KU, EKU, SAN = "2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"
TRUE = b"\x01\x01\xff"


def san(*general_names):
    return extension(SAN, seq(*general_names))


def dns(text, encoding="ascii"):
    return tlv(0x82, text.encode(encoding))


def extensions():
    asking("CA:TRUE of a leaf", "CA:TRUE", extension(BC, seq(TRUE)))
    asking("CA:FALSE of a device CA", "CA:FALSE", extension(BC, seq()), profile="device-ca")
    asking("pathlen 1 where 0 is given", "pathlen:1", extension(BC, seq(TRUE, b"\x02\x01\x01")), profile="device-ca")
    for name, length in [("negative", b"\x02\x01\xff"), ("of 2^64", b"\x02\x09\x01" + bytes(8))]:
        asking(f"a pathlen that is {name}", "cannot be read", extension(BC, seq(TRUE, length)), profile="device-ca",
               reason="INVALID_REQUEST")
    asking("pathlen of 2^31", "pathlen:2147483648", extension(BC, seq(TRUE, b"\x02\x05\x00\x80\x00\x00\x00")),
           profile="device-ca")
    asking("keyCertSign of a leaf", "keyCertSign", extension(KU, b"\x03\x02\x02\x04"))
    asking("cRLSign of a leaf", "cRLSign", extension(KU, b"\x03\x02\x01\x02"))
    asking("anyExtendedKeyUsage", "anyExtendedKeyUsage", extension(EKU, seq(oid("2.5.29.37.0"))))
    asking("codeSigning", "codeSigning", extension(EKU, seq(oid("1.3.6.1.5.5.7.3.3"))))
    twice = "the same extension twice"
    asking("an extension twice", twice, extension(BC, seq()), extension(BC, seq()), reason="INVALID_REQUEST")
    asking("an unknown extension twice", twice, extension("1.2.3.4", b"\x05\x00"), extension("1.2.3.4", b"\x05\x00"),
           reason="INVALID_REQUEST")
    key = p256()
    both = [asks(extension(BC, seq())), asks(extension(BC, seq(TRUE)))]
    tell("an extension in each of two attributes", request(key, info(key, attributes=both)), "INVALID_REQUEST", twice)
    asking("a SAN that is no sequence", "cannot be read", extension(SAN, b"\x04\x00"), reason="INVALID_REQUEST")
    for name, entry, words in [
        ("another host", dns("evil.example"), "evil.example"),
        ("a NUL", dns("SN-1.line.example\0.evil.example"), "dNSName"),
        ("a wildcard", dns("*.line.example"), "*.line.example"),
        ("an IDN that is none", dns("xn--.line.example"), "xn--.line.example"),
        ("UTF-8", dns("\u00e9.line.example", "utf-8"), "\u00e9.line.example"),
        ("nothing", dns(""), "dNSName"),
        ("an IPv4 address", tlv(0x87, bytes([127, 0, 0, 1])), "127.0.0.1"),
        ("an IPv6 address with a zone", tlv(0x87, b"fe80::1%eth0"), "iPAddress"),
        ("an iPAddress of 5 octets", tlv(0x87, bytes(5)), "iPAddress"),
        ("an otherName", tlv(0xA0, oid("1.3.6.1.4.1.311.20.2.3"), tlv(0xA0, tlv(0x0C, b"admin@example"))), "otherName"),
        ("a directoryName", tlv(0xA4, OWN), "directoryName"),
        ("an e-mail address", tlv(0x81, b"root@line.example"), "rfc822Name"),
        ("a URI", tlv(0x86, b"file:///etc/passwd"), "file:///etc/passwd"),
    ]:
        asking(f"a SAN with {name}", words, san(entry))
    many = [dns(f"{number}.line.example") for number in range(10_000)]
    asking("ten thousand SANs", "at most 16384", san(*many), reason="INVALID_REQUEST")
    asking("seven hundred SANs", "dNSName", san(*many[:700]))


def ignored():
    """What changes nothing: it is issued, and stands nowhere in the certificate."""
    key = p256()
    password = seq(oid("1.2.840.113549.1.9.7"), tlv(0x31, tlv(0x0C, b"secret-challenge")))
    several = subject(attribute(O, "Somebody Else"), attribute(O, "Somebody Else"), attribute(CN, NAME))
    extra = asks(extension("1.2.3.4", b"\x05\x00"), extension(KU, b"\x03\x02\x07\x80"))
    validity = seq(oid("1.3.6.1.4.1.311.13.2.1"), tlv(0x31, seq(tlv(0x1E, b"\0d"), tlv(0x1E, b"\0009"))))
    tell("what is passed over", request(key, info(key, several, [password, extra, validity])), "", "secret-challenge")


for table in (encodings, names, keys, extensions, ignored):
    table()
