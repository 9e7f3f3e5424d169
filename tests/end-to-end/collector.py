"""Takes traces as a collector does (OTLP over gRPC): each span becomes a line of JSON, and all octets go to the file RAW.

    collector.py RAW

The first line is the address that it listens on.
"""

import json
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


def said(attributes):
    """Attributes by their names, in words; a value that is neither a text nor a number is a mistake of ours."""
    known = ("string_value", "int_value")
    kinds = {attribute.key: attribute.value.WhichOneof("value") for attribute in attributes}
    assert set(kinds.values()) <= set(known), kinds
    assert len(kinds) == len(attributes), "an attribute comes twice: %s" % attributes
    return {attribute.key: str(getattr(attribute.value, kinds[attribute.key])) for attribute in attributes}


def told(span, resource):
    return {
        "resource": resource,
        "name": span.name,
        "kind": trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
        "attributes": said(span.attributes),
        "status": trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "lasted_ns": span.end_time_unix_nano - span.start_time_unix_nano,
    }


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, raw):
        self.raw = raw

    def Export(self, request, context):
        self.raw.write(request.SerializeToString())
        self.raw.flush()
        for of in request.resource_spans:
            resource = said(of.resource.attributes)
            for scope in of.scope_spans:
                for span in scope.spans:
                    print(json.dumps(told(span, resource)), flush=True)
        return trace_service_pb2.ExportTraceServiceResponse()


# One at a time: lines do not mix.
server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(open(sys.argv[1], "wb")), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("127.0.0.1:%d" % port, flush=True)
server.wait_for_termination()
