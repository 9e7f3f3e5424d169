"""Takes a station's events as a MES would: HTTPS, each message verified by the library of Standard Webhooks.

    receiver.py ADDRESS CERTIFICATE KEY TRUST SECRET EVENTS

What is verified is a line of EVENTS, on the disk before it is confirmed. The first line on standard output is the address.
"""

import http.server
import json
import os
import ssl
import sys

from standardwebhooks import Webhook, WebhookVerificationError

address, certificate, key, trust, secret, events = sys.argv[1:]
host, port = address.rsplit(":", 1)
webhook = Webhook(open(secret).read().strip())


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError as error:
            return self.answer(401, str(error))
        assert self.path == "/station-events?line=1", self.path
        with open(events, "a") as file:
            file.write(json.dumps({"id": self.headers["webhook-id"], **event}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.answer(204, "")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((host, int(port)), Receiver)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trust)
context.load_cert_chain(certificate, key)
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
print("%s:%d" % server.server_address[:2], flush=True)
server.serve_forever()
