"""A client that knows nothing of the station but its address: it learns the API by reflection, calls every RPC with what no
proper client sends, and holds the answers against what gRPC and the API promise. Prints nothing when all of it holds.

usage: foreign.py ADDRESS CERTIFICATE KEY TRUST LOT
"""

import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

SERVICE = "station.v1.StationService"
# Far beyond what any answer takes here.
DEADLINE = 30.0
MIB = 1024 * 1024
Code = grpc.StatusCode
failures = []


def expect(holds: bool, *words) -> None:
    if not holds:
        failures.append(" ".join(str(word) for word in words)[:600])


class Answer:
    """How a call ended: its code, the reason, the wrong fields, and what was answered."""

    def __init__(self, code, error=None, messages=()):
        self.code, self.reason, self.domain, self.fields, self.retry, self.messages = code, "", "", [], None, list(messages)
        self.text = error.details() if error else ""
        status = rpc_status.from_call(error) if error else None
        for detail in status.details if status else []:
            info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason, self.domain = info.reason, info.domain
            elif detail.Unpack(bad):
                self.fields = [violation.field for violation in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry = retry.retry_delay.ToTimedelta().total_seconds()

    def __str__(self):
        return f"{self.code.name} {self.reason} {self.fields} {self.text!r}"


class Station:
    def __init__(self, address, certificate, key, trust):
        read = lambda path: open(path, "rb").read()
        self.credentials = grpc.ssl_channel_credentials(read(trust), read(key), read(certificate))
        options = [
            ("grpc.keepalive_time_ms", 1_000), ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0), ("grpc.max_send_message_length", -1),
        ]
        self.channel = grpc.secure_channel(address, self.credentials, options)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.methods = {method.name: method for method in self.pool.FindServiceByName(SERVICE).methods}

    def message(self, method: str, **fields):
        return message_factory.GetMessageClass(self.methods[method].input_type)(**fields)

    def raw(self, method: str, octets: bytes, timeout=DEADLINE, compression=None, metadata=None) -> Answer:
        """Calls with these octets as the message; of a stream only the first answer is waited for."""
        path, plain = f"/{SERVICE}/{method}", lambda octets: octets
        described = self.methods.get(method)
        out = message_factory.GetMessageClass(described.output_type).FromString if described else plain
        more = {"timeout": timeout, "compression": compression, "metadata": metadata}
        try:
            if described and described.server_streaming:
                stream = self.channel.unary_stream(path, plain, out)(octets, **more)
                first = next(stream, None)
                stream.cancel()
                return Answer(Code.OK, messages=[first])
            return Answer(Code.OK, messages=[self.channel.unary_unary(path, plain, out)(octets, **more)])
        except grpc.RpcError as error:
            return Answer(error.code(), error)

    def call(self, method: str, timeout=DEADLINE, **fields) -> Answer:
        return self.raw(method, self.message(method, **fields).SerializeToString(), timeout)


def explained(what: str, answer: Answer) -> None:
    """Each refusal says why, for programs, and names the field where one is wrong."""
    if answer.code is Code.OK:
        return
    expect(answer.domain == "station-agent" and answer.reason, what, "has no ErrorInfo:", answer)
    expect(answer.code not in (Code.UNKNOWN, Code.INTERNAL), what, "is told as the station's own fault:", answer)
    if answer.reason == "INVALID_ARGUMENT":
        expect(answer.fields, what, "names no field:", answer)


def tagged(number: int, wire: int, content: bytes) -> bytes:
    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    return varint(number << 3 | wire) + (varint(len(content)) if wire == 2 else b"") + content


def reflection(station: Station) -> None:
    services = set(station.database.get_services())
    expect(SERVICE in services and "grpc.health.v1.Health" in services, "reflection lists", services)
    expect(not any(name.startswith("ca.") for name in services), "reflection lists what does not answer:", services)


def every_rpc(station: Station) -> None:
    for name, method in station.methods.items():
        explained(f"{name} of nothing", station.raw(name, b""))
        explained(f"{name} of unknown fields", station.raw(name, tagged(19_000_000, 2, b"?") + tagged(9_999, 0, b"\x07")))
        for what, octets in [("half a field", b"\x0a\x7f"), ("no tag", b"\xff" * 11), ("group ends", b"\x0c")]:
            answer = station.raw(name, octets)
            expect(answer.reason == "MALFORMED_MESSAGE" and answer.code is Code.INVALID_ARGUMENT, name, "of", what, answer)
        answer = station.raw(name, tagged(9_999, 2, b"x" * (5 * MIB)))
        expect(answer.code is Code.RESOURCE_EXHAUSTED and answer.reason == "MESSAGE_TOO_LARGE", name, "of 5 MiB", answer)
        for field in method.input_type.fields:
            if field.type == FieldDescriptor.TYPE_STRING:
                answer = station.raw(name, tagged(field.number, 2, b"\xff\xfe\x80"))
                told = (answer.code, answer.reason, answer.fields)
                expect(told == (Code.INVALID_ARGUMENT, "MALFORMED_MESSAGE", [field.name]), name, field.name, "no UTF-8:", answer)
                for text in ["x" * MIB, "\0", "\n", "../../etc/passwd", "a b", "ä", "%00", "'; DROP TABLE", "\u202e"]:
                    answer = station.raw(name, tagged(field.number, 2, text.encode()))
                    explained(f"{name} with {field.name} {text[:20]!r}", answer)
                    expect(len(answer.text or "") < 4_096, name, field.name, "is quoted back at length:", len(answer.text or ""))
            answer = station.raw(name, tagged(field.number, 5, b"\1\2\3\4"))
            expect(answer.reason == "MALFORMED_MESSAGE", name, field.name, "of another wire type:", answer)
    answer = station.raw("FormatDisk", b"")
    expect(answer.code is Code.UNIMPLEMENTED and answer.reason, "an RPC that is none:", answer)
    answer = station.raw("GetStation", b"", compression=grpc.Compression.Gzip)
    expect(answer.code in (Code.OK, Code.UNIMPLEMENTED), "a compressed message:", answer)
    explained("a compressed message", answer)
    answer = station.raw("GetStation", b"", metadata=[("x-long", "x" * 20_000)])
    expect(answer.code is not Code.OK, "20 kB of metadata:", answer)
    expect(station.call("GetStation").code is Code.OK, "after metadata that is too long")


def pages(station: Station, lot: str) -> None:
    for method, listed, more in [("ListIssuances", "issuances", {"lot": lot}), ("ListLots", "lots", {})]:
        for size in [-1, -(2**31), 1001, 2**31 - 1]:
            answer = station.call(method, page_size=size, **more)
            expect((answer.code, answer.fields) == (Code.INVALID_ARGUMENT, ["page_size"]), method, "of", size, answer)
        for token in ["-1", "abc", "9" * 30, "1.5", " 1", "1 ", "+5", "0x10", "١", "1" * MIB]:
            answer = station.call(method, page_token=token, **more)
            expect((answer.code, answer.fields) == (Code.INVALID_ARGUMENT, ["page_token"]), method, "from", token[:20], answer)
        whole = [each.name for each in getattr(station.call(method, page_size=1000, **more).messages[0], listed)]
        expect(len(whole) >= 3 and len(set(whole)) == len(whole), method, "has", whole)
        for size in [1, 2, len(whole), len(whole) + 1]:
            found, token, asked = [], "", 0
            while asked <= len(whole) + 1:
                page = station.call(method, page_size=size, page_token=token, **more).messages[0]
                found, token, asked = found + [each.name for each in getattr(page, listed)], page.next_page_token, asked + 1
                expect(len(getattr(page, listed)) <= size, method, "gives more than", size)
                if not token:
                    break
            expect(found == whole, method, "in pages of", size, "is", found, "and as a whole", whole)


def deadlines(station: Station) -> None:
    for timeout in [0.0, 0.000_001, 0.001]:
        answer = station.call("GetStation", timeout=timeout)
        expect(answer.code in (Code.DEADLINE_EXCEEDED, Code.OK), "a deadline of", timeout, answer)
    expect(station.call("GetStation").code is Code.OK, "after deadlines that passed")


def watches(station: Station) -> None:
    request = station.message("Watch", after_sequence=2**64 - 1).SerializeToString()
    answer = station.raw("Watch", request)
    expect((answer.code, answer.reason) == (Code.OUT_OF_RANGE, "SEQUENCE_OUT_OF_RANGE"), "a watch of the future:", answer)
    path, event = f"/{SERVICE}/Watch", message_factory.GetMessageClass(station.methods["Watch"].output_type).FromString
    begin = station.channel.unary_stream(path, lambda octets: octets, event)
    everything = station.message("Watch", after_sequence=0).SerializeToString()

    # More than a connection may have at once: each that is cancelled gives its place back.
    for _ in range(300):
        stream = begin(everything, timeout=DEADLINE)
        next(stream)
        stream.cancel()

    def sequences(octets, most):
        stream, found = begin(octets, timeout=DEADLINE), []
        for told in stream:
            if told.WhichOneof("change") == "station":
                break
            found.append(told.sequence)
            if len(found) == most:
                break
        stream.cancel()
        return found

    whole = sequences(everything, 10**9)
    expect(whole == sorted(set(whole)) and len(whole) > 5, "a watch tells", whole)
    for cut in range(1, len(whole)):
        begun = sequences(everything, cut)
        rest = sequences(station.message("Watch", after_sequence=begun[-1]).SerializeToString(), 10**9)
        expect(begun + rest == whole, "resumed after", cut, "it is", begun, rest)


def main() -> int:
    address, certificate, key, trust, lot = sys.argv[1:]
    station = Station(address, certificate, key, trust)
    parts = [reflection, every_rpc, lambda s: pages(s, lot), deadlines, watches]
    for part in parts:
        part(station)
    # Pings come each second meanwhile: a server that minds them has hung up by now.
    expect(station.call("GetStation").code is Code.OK, "at the end")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
