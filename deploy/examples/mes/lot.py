#!/usr/bin/env python3
"""Works off a lot at one station: opens it, starts the devices that are put in, and writes a report.

Standard input says what the line does, one line for each device that was put in a fixture:

    fixture-1 SN-22031

Standard output says what the line is to do, one line for each device that is done with, and for what is wrong:

    fixture-1 SN-22031 ship
    fixture-2 SN-22032 aside DEVICE_MISMATCH: another device sits there than was scanned

It ends when standard input does and nothing is under way: 0 when every device may be shipped, else 1. Started again with the
same input after it was killed, it starts nothing twice: its request ids are made of lot and device serial.
"""

import argparse
import csv
import hashlib
import queue
import sys
import threading
import uuid

from client import Refused, Station, api

State = api.Issuance.State
# A device that stops for something that may pass is started again, so many times.
STARTS_MOST = 3
# A fixture that is busy is free again when its device is done with: seconds.
BUSY_PAUSE = 0.2
# What the report tells.
FIELDS = ["device_serial", "state", "common_name", "certificate_serial", "certificate", "key", "create_time", "update_time"]


class Lot:
    """The devices that were put in, and what became of each."""

    def __init__(self, station: Station, lot: str):
        self.station, self.lot = station, lot
        # What the line and the station say, in one queue: so there is one loop and no lock.
        self.inbox: queue.Queue = queue.Queue()
        self.under_way: dict[str, tuple[str, str]] = {}
        self.starting = 0
        self.starts: dict[str, int] = {}
        self.aside = 0

    def run(self) -> bool:
        after = self.station.sequence()
        threading.Thread(target=self._watch, args=(after,), daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        ended = False
        while not (ended and not self.under_way and not self.starting):
            placed = []
            what, content = self.inbox.get()
            while True:
                if what in ("placed", "again"):
                    placed.append(content)
                    self.starting -= what == "again"
                elif what == "changed":
                    self._changed(content)
                elif what == "ended":
                    ended = True
                else:
                    raise content
                # Whatever came at once is started at once.
                if len(placed) == 256 or self.inbox.empty():
                    break
                what, content = self.inbox.get()
            if placed:
                self._start(placed)
        return self.aside == 0

    def _listen(self) -> None:
        for line in sys.stdin:
            match line.split():
                case []:
                    pass
                case [fixture, serial]:
                    self.inbox.put(("placed", (fixture, serial)))
                case _:
                    self.inbox.put(("failed", SystemExit(f"not understood: {line.strip()!r}: give a fixture and a serial")))
        self.inbox.put(("ended", None))

    def _watch(self, after: int) -> None:
        try:
            for event in self.station.watch(after, ["name", "state", "failure", "next_action"]):
                if event.WhichOneof("change") == "issuance":
                    self.inbox.put(("changed", event.issuance))
        except Refused as refused:
            self.inbox.put(("failed", refused))

    def _start(self, placed: list[tuple[str, str]]) -> None:
        requests = [
            api.StartIssuanceRequest(
                # The same for the same device, whoever asks again and when.
                request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.lot}/{serial}")),
                lot=self.lot,
                device_serial=serial,
                fixture=fixture,
            )
            for fixture, serial in placed
        ]
        for (fixture, serial), answer in zip(placed, self.station.start(requests)):
            if isinstance(answer, Refused):
                self._refused(fixture, serial, answer)
            else:
                self.under_way[answer.name] = (fixture, serial)
                self._changed(answer)

    def _refused(self, fixture: str, serial: str, refused: Refused) -> None:
        if refused.retry_delay is not None or refused.reason == "FIXTURE_BUSY":
            self._later(refused.retry_delay or BUSY_PAUSE, fixture, serial)
        else:
            self._done(fixture, serial, f"aside {refused.reason}: {refused}")

    def _changed(self, issuance: api.Issuance) -> None:
        # Events are of all lots, and of devices that are done with already.
        if issuance.name not in self.under_way:
            return
        fixture, serial = self.under_way[issuance.name]
        failure = issuance.failure
        if issuance.state == State.STATE_COMPLETED:
            self._done(fixture, serial, "ship")
        elif issuance.state == State.STATE_FAILED and self.starts.get(serial, 1) < STARTS_MOST:
            # The same request goes on where it stopped.
            self.starts[serial] = self.starts.get(serial, 1) + 1
            self._later(BUSY_PAUSE, fixture, serial)
        elif issuance.state in (State.STATE_FAILED, State.STATE_QUARANTINED, State.STATE_CANCELLED, State.STATE_IN_DOUBT):
            self._done(fixture, serial, f"aside {failure.reason}: {failure.message} {issuance.next_action}")
        else:
            return
        del self.under_way[issuance.name]

    def _later(self, delay: float, fixture: str, serial: str) -> None:
        self.starting += 1
        threading.Timer(delay, self.inbox.put, [("again", (fixture, serial))]).start()

    def _done(self, fixture: str, serial: str, words: str) -> None:
        self.aside += not words.startswith("ship")
        print(fixture, serial, words, flush=True)


def report(station: Station, lot: str, path: str) -> None:
    """Each device of the lot with what it holds now, oldest first."""
    columns = ["device_serial", "state", "common_name", "certificate_serial", "certificate_sha256", "key", "created", "updated"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for issuance in reversed(list(station.issuances(lot, FIELDS))):
            digest = hashlib.sha256(issuance.certificate).hexdigest() if issuance.certificate else ""
            rows.writerow([
                issuance.device_serial,
                State.Name(issuance.state).removeprefix("STATE_"),
                issuance.common_name,
                issuance.certificate_serial,
                digest,
                issuance.key,
                issuance.create_time.ToJsonString(),
                issuance.update_time.ToJsonString(),
            ])


def main() -> int:
    arguments = argparse.ArgumentParser(description="Works off a lot at one station.")
    arguments.add_argument("--station", required=True, help="name:port")
    arguments.add_argument("--certificate", required=True, help="this client's certificate, PEM")
    arguments.add_argument("--key", required=True, help="its private key, PEM")
    arguments.add_argument("--trust", required=True, help="the issuer of the station's certificate, PEM")
    arguments.add_argument("--lot", help="the lot, when nobody signed for it")
    arguments.add_argument("--profile", help="its profile")
    arguments.add_argument("--quantity", type=int, help="how many devices")
    arguments.add_argument("--authorisation", help="a file with what the brand owner signed, instead of these three")
    arguments.add_argument("--report", required=True, help="where the report is written, CSV")
    arguments.add_argument("--signed-report", help="where the CA's signed report is written, a JWS, for a lot that the CA knows")
    given = arguments.parse_args()
    unsigned = (given.lot, given.profile, given.quantity)
    if all(word is None for word in unsigned) == (given.authorisation is None) or (given.authorisation is None and None in unsigned):
        arguments.error("give --lot, --profile and --quantity, or --authorisation")

    def say(words: str) -> None:
        print(f"lot.py: {words}", file=sys.stderr, flush=True)

    with Station(given.station, given.certificate, given.key, given.trust, say) as station:
        try:
            if given.authorisation is None:
                lot = station.open_lot(given.lot, given.profile, given.quantity)
            else:
                with open(given.authorisation, encoding="ascii") as file:
                    lot = station.authorise_lot(file.read().strip())
            name = lot.name.removeprefix("lots/")
            say(f"{lot.name} is open: {lot.started} of {lot.quantity} started")
            shipped = Lot(station, name).run()
            report(station, name, given.report)
            if given.signed_report:
                with open(given.signed_report, "w", encoding="ascii") as file:
                    file.write(station.report_lot(name))
        except Refused as refused:
            say(str(refused))
            return 1
    return 0 if shipped else 1


if __name__ == "__main__":
    sys.exit(main())
