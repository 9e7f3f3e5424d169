"""An MES that is hostile or careless: floods, watchers that do not read, deadlines that nobody can keep, batches of every wrong
kind, two clients with one lot. Prints nothing when each answer is the right one, nothing is started twice and the station stays
as small as it was.

usage: hostile.py ADDRESS CERTIFICATE KEY TRUST LOT SERIAL PROCESS
"""

import sys
import threading
import time

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor

from foreign import DEADLINE, SERVICE, Code, Station, expect, explained, failures, tagged

FLOOD = 10_000
# Calls under way at once; the station takes 128 on one connection, and the rest wait in the client.
AT_ONCE = 1_000
WATCHERS = 500
# What the floods may leave behind: octets.
MEMORY_MOST = 100 << 20


def resident(process: int) -> int:
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS:"))


def of(station: Station, method: str):
    described = station.methods[method]
    path, parse = f"/{SERVICE}/{method}", message_factory.GetMessageClass(described.output_type).FromString
    begin = station.channel.unary_stream if described.server_streaming else station.channel.unary_unary
    return begin(path, lambda octets: octets, parse)


def sequence(station: Station) -> int:
    return station.call("Watch").messages[0].sequence


def wide_fields(station: Station) -> None:
    """Numbers of every size where numbers are, messages where messages are, and a repeated field many times over."""
    numbers = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
    scalar = {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_BOOL}

    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    for name, method in station.methods.items():
        for field in method.input_type.fields:
            if field.type in scalar:
                for number in numbers:
                    explained(f"{name} with {field.name} {number}", station.raw(name, varint(field.number << 3) + varint(number)))
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                for content in [b"", b"\x0a\x00", b"\x0a\x01\x00", tagged(1, 2, b"x" * 100_000), tagged(2, 2, b"\xff")]:
                    explained(f"{name} with {field.name} {content[:8]!r}", station.raw(name, tagged(field.number, 2, content)))
            elif field.type == FieldDescriptor.TYPE_STRING:
                # The last one counts (protobuf, "Last One Wins").
                answer = station.raw(name, tagged(field.number, 2, b"one") * 10_000)
                explained(f"{name} with {field.name} many times", answer)


def names(station: Station, lot: str) -> None:
    """A name is written in one way alone."""
    issuance = station.call("ListIssuances", lot=lot, page_size=1).messages[0].issuances[0].name
    wrong = [
        "", issuance.upper(), issuance.capitalize(), f" {issuance}", f"{issuance} ", f"/{issuance}", f"{issuance}/", f"{issuance}\n",
        issuance.removeprefix("issuances/"), f"//station/{issuance}", issuance.replace("-", ""), issuance[:10] + issuance[10:].upper(), f"issuances/{{{issuance[10:]}}}", "issuances/-",
        "issuances/", "issuances", f"issuances/{'0' * 36}", f"lots/{lot}", "issuances/..", f"{issuance}\0",
    ]
    for method in ["GetIssuance", "GetIssuanceStory", "GetIssuanceProof", "ReleaseIssuance"]:
        for name in wrong:
            answer = station.call(method, name=name)
            told = (answer.code, answer.fields)
            expect(told == (Code.INVALID_ARGUMENT, ["name"]), method, repr(name), answer)
    expect(station.call("GetIssuance", name=issuance).code is Code.OK, "the issuance by its name")
    absent = "issuances/0190a000-0000-7000-8000-000000000000"
    expect(station.call("GetIssuance", name=absent).code is Code.NOT_FOUND, "an issuance that is none")
    for method in ["GetLot", "CloseLot", "ReportLot"]:
        for name in ["", lot, f"Lots/{lot}", f" lots/{lot}", f"lots/{lot} ", "lots/", f"lots/{lot}/", f"lots/{lot}\n", f"lots/{'x' * 65}"]:
            answer = station.call(method, name=name)
            expect((answer.code, answer.fields) == (Code.INVALID_ARGUMENT, ["name"]), method, repr(name), answer)
        answer = station.call(method, name=f"lots/{lot.lower()}")
        expect(answer.code is Code.NOT_FOUND, method, "in another case:", answer)
    for serial in [" SN-1", "SN-1 ", "SN\u20111", "SN-1\n", "..", "-", ":" * 64, "x" * 65]:
        answer = station.call("StartIssuance", lot=lot, device_serial=serial)
        expect((answer.code, answer.fields) == (Code.INVALID_ARGUMENT, ["device_serial"]), repr(serial), answer)
    answer = station.call("StartIssuance", lot=" ", device_serial=" ", profile=" ", request_id="\n", badge="\n")
    due = {"lot", "device_serial", "profile", "request_id", "badge"}
    expect(set(answer.fields) == due, "all that is wrong is told at once:", answer)


def deadlines(station: Station) -> None:
    """A millisecond for each RPC: an answer or the deadline, and nothing else; the station has it behind it."""
    for name in station.methods:
        for timeout in [0.001, 0.003]:
            answer = station.raw(name, b"", timeout=timeout)
            expect(answer.code is not Code.UNKNOWN and answer.code is not Code.INTERNAL, name, "in", timeout, answer)
            if answer.code is not Code.DEADLINE_EXCEEDED:
                explained(f"{name} in {timeout}", answer)
    expect(station.call("GetStation").code is Code.OK, "after deadlines that nobody keeps")


def flood(station: Station, method: str, messages) -> dict:
    """All of them, so many at once; how often each code was answered, and what was answered."""
    call, room, codes, answers, lock = of(station, method), threading.Semaphore(AT_ONCE), {}, [], threading.Lock()

    def done(future):
        with lock:
            code = future.code()
            codes[code] = codes.get(code, 0) + 1
            if code is Code.OK:
                answers.append(future.result())
        room.release()

    for message in messages:
        room.acquire()
        call.future(message, timeout=120).add_done_callback(done)
    for _ in range(AT_ONCE):
        room.acquire()
    return codes, answers


def pipelined(station: Station, lot: str, serial: str) -> None:
    """One request, ten thousand times: one issuance, and no record but the first that the id has."""
    fields = {"lot": lot, "device_serial": serial, "request_id": "flood-1", "fixture": "fixture-1"}
    first = station.call("StartIssuance", **fields)
    expect(first.code is Code.OK, "the first of the flood", first)
    before = sequence(station)
    message = station.message("StartIssuance", **fields).SerializeToString()
    codes, answers = flood(station, "StartIssuance", (message for _ in range(FLOOD)))
    expect(codes == {Code.OK: FLOOD}, "a flood of one request:", codes)
    expect({answer.name for answer in answers} == {first.messages[0].name}, "a flood of one request has several issuances")
    expect(sequence(station) == before, "a flood of one request left", sequence(station) - before, "records")
    codes, _ = flood(station, "GetIssuance", (station.message("GetIssuance", name="?").SerializeToString() for _ in range(FLOOD)))
    expect(codes == {Code.INVALID_ARGUMENT: FLOOD}, "a flood of what is refused:", codes)


def repeated(station: Station, lot: str, serial: str) -> None:
    """Thousands of ids for what stands already: each is kept, the story of the issuance can still be told."""
    fields = {"lot": lot, "device_serial": serial, "fixture": "fixture-1"}
    name = station.call("StartIssuance", **fields).messages[0].name
    began = time.monotonic()
    messages = (station.message("StartIssuance", request_id=f"many-{n}", **fields).SerializeToString() for n in range(2_000))
    codes, answers = flood(station, "StartIssuance", messages)
    took = time.monotonic() - began
    expect({answer.name for answer in answers} == {name}, "many ids have several issuances:", codes)
    expect(codes.get(Code.OK) == 2_000, "many ids for one issuance:", codes)
    expect(took < 60, "many ids for one issuance took", took)
    story = station.call("GetIssuanceStory", name=name)
    expect(story.code is Code.OK, "its story", story)
    other = station.call("StartIssuance", lot=lot, device_serial="ELSE-1", fixture="fixture-1", request_id="many-7")
    expect((other.code, other.reason) == (Code.ALREADY_EXISTS, "REQUEST_ID_REUSED"), "an id of another request", other)
    batch = station.call("BatchStartIssuances", requests=[{"lot": lot, "device_serial": "ELSE-1", "request_id": "many-7"}])
    refusal = batch.messages[0].results[0].refusal
    expect((refusal.code, refusal.reason) == (6, "REQUEST_ID_REUSED"), "an id of another request, in a batch", refusal)


def watchers(station: Station, place: list, process: int) -> None:
    """Five hundred watch everything, half of them read nothing: the others are told all of it, and the station stays small."""
    before = resident(process)
    stations = [Station(*place) for _ in range(8)]
    request = station.message("Watch", after_sequence=0).SerializeToString()
    last = sequence(station)
    streams, told = [], []

    def read(stream):
        seen = []
        try:
            for event in stream:
                if event.WhichOneof("change") == "station":
                    break
                seen.append(event.sequence)
        except grpc.RpcError as error:
            seen.append(error.code())
        told.append(seen)

    threads = []
    for number in range(WATCHERS):
        stream = of(stations[number % len(stations)], "Watch")(request, timeout=120)
        streams.append(stream)
        if number // len(stations) % 2:
            threads.append(threading.Thread(target=read, args=(stream,)))
            threads[-1].start()
    for thread in threads:
        thread.join(120)
    whole = list(range(1, last + 1))
    expect(all(seen == whole for seen in told), "a watcher was told", next((s[:5] for s in told if s != whole), None), "of", last)
    expect(len(told) == len(threads), len(threads) - len(told), "watchers were told nothing")
    expect(station.call("GetStation", timeout=5).code is Code.OK, "beside watchers that read nothing")
    more = resident(process) - before
    expect(more < MEMORY_MOST, "watchers cost the station", more >> 20, "MiB")
    for stream in streams:
        stream.cancel()
    for each in stations:
        each.channel.close()


def told_whole(station: Station) -> None:
    """One watches all that is there now, an issuance of thousands of records among it."""
    last, told = sequence(station), []
    for event in of(station, "Watch")(station.message("Watch", after_sequence=0).SerializeToString(), timeout=60):
        if event.WhichOneof("change") == "station":
            break
        told.append(event.sequence)
    expect(told == list(range(1, last + 1)), "a watch tells", len(told), "of", last)


def batches(station: Station, lot: str) -> None:
    """Whatever is in a batch, each item is answered by itself, and one that is too large is refused whole."""
    before = sequence(station)
    for count in [0, 257, 10_001]:
        answer = station.call("BatchStartIssuances", requests=[{"lot": lot, "device_serial": "SN-1"}] * count)
        expect((answer.code, answer.fields) == (Code.INVALID_ARGUMENT, ["requests"]), count, "in a batch", answer)
    one = {"lot": lot, "device_serial": "TWICE-1", "fixture": "fixture-1", "request_id": "twice-1"}
    bad = [{"lot": lot, "device_serial": "no serial"}, {}, {**one, "device_serial": "TWICE-2"}, {**one, "fixture": "nowhere"}]
    answer = station.call("BatchStartIssuances", requests=[one] * 48 + bad + [one] * 48)
    expect(answer.code is Code.OK and len(answer.messages[0].results) == 100, "a batch of a hundred", answer)
    if answer.code is not Code.OK:
        return
    results = answer.messages[0].results
    names = {result.issuance.name for result in results if result.WhichOneof("outcome") == "issuance"}
    refused = [(result.refusal.code, result.refusal.reason, result.refusal.field) for result in results[48:52]]
    due = [
        (3, "INVALID_ARGUMENT", "device_serial"),
        (3, "INVALID_ARGUMENT", "device_serial"),
        (6, "REQUEST_ID_REUSED", ""),
        (5, "UNKNOWN_FIXTURE", ""),
    ]
    expect(refused == due, "what is wrong in a batch:", refused)
    expect(len(names) == 1 and all(result.WhichOneof("outcome") for result in results), "duplicates in a batch are", names)
    listed = station.call("ListIssuances", device_serial="TWICE-1").messages[0].issuances
    expect(len(listed) == 1, "duplicates in a batch made", len(listed))
    expect(sequence(station) > before, "the batch left no record")


def together(station: Station, place: list) -> None:
    """Two clients with one lot of five: five places are taken, whoever asks and however often."""
    station.call("OpenLot", lot="BOTH", profile="device-ca", quantity=5)
    answers, lock = [], threading.Lock()

    def start(who: int):
        mine = Station(*place)
        for number in [*range(20), *range(20)]:
            fields = {"lot": "BOTH", "device_serial": f"BOTH-{number}", "request_id": f"both-{number}", "fixture": "fixture-1"}
            while True:
                answer = mine.call("StartIssuance", **fields)
                if answer.reason != "FIXTURE_BUSY":
                    break
                time.sleep(0.02)
            with lock:
                answers.append((number, answer.code, answer.reason, answer.messages[0].name if answer.messages else ""))
        mine.channel.close()

    threads = [threading.Thread(target=start, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    lot = station.call("GetLot", name="lots/BOTH").messages[0]
    listed = station.call("ListIssuances", lot="BOTH", page_size=1000).messages[0].issuances
    expect((lot.started, len(listed)) == (5, 5), "two clients took", lot.started, "of five places, with", len(listed))
    started = {(number, name) for number, code, _, name in answers if code is Code.OK}
    expect(len(started) == len({number for number, _ in started}) == 5, "one request has two names:", sorted(started))
    reasons = {reason for _, code, reason, _ in answers if code is not Code.OK}
    expect(reasons <= {"LOT_USED_UP"}, "two clients were refused for", reasons)


def main() -> int:
    *place, lot, serial, process = sys.argv[1:]
    process, station = int(process), Station(*place)
    before = resident(process)
    parts = [
        lambda: wide_fields(station), lambda: names(station, lot), lambda: deadlines(station), lambda: batches(station, lot),
        lambda: together(station, place), lambda: watchers(station, place, process),
        lambda: pipelined(station, lot, serial), lambda: repeated(station, lot, serial), lambda: told_whole(station),
    ]
    for part in parts:
        began = time.monotonic()
        part()
        print(f"{time.monotonic() - began:6.1f} s, {resident(process) >> 20} MiB", file=sys.stderr)
    more = resident(process) - before
    expect(more < MEMORY_MOST, "the station has grown by", more >> 20, "MiB")
    explained("at the end", station.call("GetStation", timeout=DEADLINE))
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
