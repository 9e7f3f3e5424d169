"""Holds certificates against pkilint's `lint_pkix_cert` and the path validation of Python's `cryptography`.

Reads one JSON object a line from standard input, and answers each with one on standard output. The tables are in
`judge.rs`. Errors of this program itself end it.
"""

import contextlib
import io
import ipaddress
import json
import sys
from datetime import datetime, timezone

from cryptography import x509
from cryptography.x509 import verification
from pkilint.bin import lint_pkix_cert


def lint(path):
    """Findings of level WARNING and above, as `code: message`."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        lint_pkix_cert.main(["lint", "--severity", "WARNING", "--format", "JSON", path])
    results = json.loads(output.getvalue())["results"]
    return [
        f"{found['severity']} {found['code']}: {found['message']}"
        for result in results
        for found in result["finding_descriptions"]
    ]


def validate(leaf, above, root, name):
    """Why there is no path, or nothing. `name` is a DNS name or an IP address, or nothing for a client."""
    load = lambda path: x509.load_pem_x509_certificate(open(path, "rb").read())
    builder = verification.PolicyBuilder().store(verification.Store([load(root)]))
    builder = builder.time(datetime.now(timezone.utc))
    if name is None:
        # A device names itself by its CN: what the default policy of the Web asks for beyond RFC 5280, a SAN, is not asked.
        leaves = verification.ExtensionPolicy.permit_all().require_present(
            x509.BasicConstraints, verification.Criticality.CRITICAL, None
        )
        builder = builder.extension_policies(
            ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaves
        )
        verifier = builder.build_client_verifier()
    else:
        try:
            subject = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            subject = x509.DNSName(name)
        verifier = builder.build_server_verifier(subject)
    try:
        verifier.verify(load(leaf), [load(path) for path in above])
    except verification.VerificationError as error:
        return [str(error)]
    return []


for line in sys.stdin:
    asked = json.loads(line)
    answer = {"pkilint": lint(asked["certificate"]) if asked["lint"] else []}
    answer["cryptography"] = validate(asked["certificate"], asked["above"], asked["root"], asked["name"])
    print(json.dumps(answer), flush=True)
