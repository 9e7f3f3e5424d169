"""A client of station.v1 that keeps its promises when the network or the station does not.

Three habits make it safe, and each is a few lines here:
- every call has a deadline, and is repeated with the same content when it is not answered: the station answers the same
  request with the same issuance, for ever;
- what the station refuses says by its reason whether, and by its delay when, to ask again;
- what happened is read from one stream, which goes on after the last sequence that was seen: nothing is missed, nothing
  comes twice.
"""

import random
import time
from collections.abc import Iterator

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from station.v1 import station_pb2 as api
from station.v1 import station_pb2_grpc

# A call that is not answered by then is asked again. Where no fixture is named, the station looks at its devices: ten seconds.
DEADLINE = 20.0
# The CA goes through every certificate of the lot before it signs.
REPORT_DEADLINE = 60.0
# Of calls that are not answered: 0.1 s, doubled up to this, each with jitter so that a hundred clients do not come at once.
PAUSE_MOST = 5.0


class Refused(Exception):
    """The station says no. `reason` is stable and for programs; the message is for people."""

    def __init__(self, code: int, reason: str, message: str, field: str = "", retry_delay: float | None = None):
        super().__init__(f"{message} ({reason or code})")
        self.code, self.reason, self.field, self.retry_delay = code, reason, field, retry_delay

    @classmethod
    def of_call(cls, error: grpc.RpcError) -> "Refused":
        """What a failed call says in its google.rpc error details."""
        refused = cls(error.code().value[0], "", error.details() or "")
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                refused.reason = info.reason
            elif detail.Unpack(bad) and bad.field_violations:
                refused.field = bad.field_violations[0].field
            elif detail.Unpack(retry):
                refused.retry_delay = retry.retry_delay.ToTimedelta().total_seconds()
        refused.args = (f"{error.details()} ({refused.reason or error.code().name})",)
        return refused

    @classmethod
    def of_item(cls, refusal: api.Refusal) -> "Refused":
        """What an item of a batch says."""
        delay = refusal.retry_delay.ToTimedelta().total_seconds() if refusal.HasField("retry_delay") else None
        return cls(refusal.code, refusal.reason, refusal.message, refusal.field, delay)


class Station:
    """One station, over mutual TLS."""

    def __init__(self, address: str, certificate: str, key: str, trust: str, say=lambda words: None):
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(trust), private_key=_read(key), certificate_chain=_read(certificate)
        )
        options = [
            # A dead connection is noticed within half a minute instead of hours.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A station starts within a second or two: do not wait longer for it than it takes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        self._channel = grpc.secure_channel(address, credentials, options)
        self._stub = station_pb2_grpc.StationServiceStub(self._channel)
        self._say = say
        self._closed = False

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, *_) -> None:
        self._closed = True
        self._channel.close()

    def open_lot(self, lot: str, profile: str, quantity: int) -> api.Lot:
        return self._call(self._stub.OpenLot, api.OpenLotRequest(lot=lot, profile=profile, quantity=quantity))

    def authorise_lot(self, authorisation: str) -> api.Lot:
        return self._call(self._stub.AuthoriseLot, api.AuthoriseLotRequest(authorisation=authorisation))

    def report_lot(self, lot: str) -> str:
        """The report of a lot as its CA signs it now: a JWS, to be kept as it is."""

        def whole(request, timeout):
            return "".join(part.part for part in self._stub.ReportLot(request, timeout=timeout))

        return self._call(whole, api.ReportLotRequest(name=f"lots/{lot}"), REPORT_DEADLINE)

    def start(self, requests: list[api.StartIssuanceRequest]) -> list[api.Issuance | Refused]:
        """Starts up to 256 issuances; each is answered by itself."""
        answer = self._call(self._stub.BatchStartIssuances, api.BatchStartIssuancesRequest(requests=requests))
        return [
            result.issuance if result.WhichOneof("outcome") == "issuance" else Refused.of_item(result.refusal)
            for result in answer.results
        ]

    def issuances(self, lot: str, fields: list[str]) -> Iterator[api.Issuance]:
        """All issuances of a lot, newest first, with these fields: certificates and chains are the most of what is sent."""
        token = ""
        while True:
            request = api.ListIssuancesRequest(lot=lot, page_size=1000, page_token=token, read_mask={"paths": fields})
            page = self._call(self._stub.ListIssuances, request)
            yield from page.issuances
            token = page.next_page_token
            if not token:
                return

    def sequence(self) -> int:
        """How far the station's journal has come: a watch from here on sees all that follows."""

        def first(request, timeout):
            events = self._stub.Watch(request, timeout=timeout)
            try:
                return next(events)
            finally:
                events.cancel()

        return self._call(first, api.WatchRequest(read_mask={"paths": ["name"]})).sequence

    def watch(self, after: int, fields: list[str]) -> Iterator[api.Event]:
        """What happens after a sequence, without gap or repeat, over restarts of the station, without end. Of issuances, these
        fields are told."""
        failures = 0
        while True:
            try:
                # A stream has no deadline: keep-alive tells when it is dead.
                for event in self._stub.Watch(api.WatchRequest(after_sequence=after, read_mask={"paths": fields})):
                    failures = 0
                    if event.WhichOneof("change") != "station":
                        after = event.sequence
                    yield event
            except grpc.RpcError as error:
                if self._closed:
                    return
                if not _may_be_repeated(error):
                    raise Refused.of_call(error) from None
                failures += 1
                self._pause(failures, f"the watch ended, and goes on after {after}", error)

    def _call(self, method, request, deadline=DEADLINE):
        """One call, repeated until the station answers. What it refuses for good is `Refused`."""
        failures = 0
        while True:
            try:
                return method(request, timeout=deadline)
            except grpc.RpcError as error:
                if not _may_be_repeated(error):
                    raise Refused.of_call(error) from None
                failures += 1
                self._pause(failures, "not answered, and asked again", error)

    def _pause(self, failures: int, what: str, error: grpc.RpcError) -> None:
        refused = Refused.of_call(error)
        self._say(f"{what}: {refused}")
        jitter = random.uniform(0.5, 1.0) * min(PAUSE_MOST, 0.1 * 2 ** min(failures, 10))
        time.sleep(max(jitter, refused.retry_delay or 0.0))


def _may_be_repeated(error: grpc.RpcError) -> bool:
    """Whether the same call may succeed later. It changes nothing twice: see the module's words."""
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        # Without a delay, and with a reason, it takes a person first.
        refused = Refused.of_call(error)
        return refused.retry_delay is not None or (error.code() == grpc.StatusCode.UNAVAILABLE and not refused.reason)
    return error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
