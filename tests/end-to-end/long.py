"""Lists and watches of a station with a long past, by a client that takes no larger answers than gRPC's own 4 MiB. Prints
nothing when each page fits, nothing is missing or told twice, and masks leave what they name.

usage: long.py ADDRESS CERTIFICATE KEY TRUST LOT COUNT
"""

import sys

from google.protobuf import message_factory

from foreign import Code, Station, expect, failures

LEAST = ["name", "state", "certificate_serial"]


def pages(station: Station, lot: str, page_size: int, paths=()) -> list:
    found, token = [], ""
    while True:
        fields = {"read_mask": {"paths": paths}} if paths else {}
        answer = station.call("ListIssuances", lot=lot, page_size=page_size, page_token=token, **fields)
        if answer.code is not Code.OK:
            expect(False, "a page of", page_size, "after", len(found), answer)
            return found
        page = answer.messages[0]
        expect(page.ByteSize() <= 4 << 20, "a page has", page.ByteSize(), "octets")
        found.append(page)
        token = page.next_page_token
        if not token:
            return found


def lists(station: Station, lot: str, count: int) -> list:
    whole = pages(station, lot, 1000)
    issuances = [issuance for page in whole for issuance in page.issuances]
    names = [issuance.name for issuance in issuances]
    expect(len(names) == len(set(names)) == count, len(names), "listed,", len(set(names)), "different,", count, "due")
    expect(sorted(names, reverse=True) == names, "they are not told newest first")
    expect(len(whole) > 1, "one page had room for all: the past is too short for this test")
    expect(all(issuance.certificate and issuance.chain for issuance in issuances), "certificates are missing")
    # What does not fit is cut, and what does is not.
    expect(whole[0].ByteSize() > 3 << 20, "the first page has only", whole[0].ByteSize())
    expect([len(page.issuances) for page in pages(station, lot, 100)][:2] == [100, 100], "pages of a hundred were cut")

    least = pages(station, lot, 1000, LEAST)
    expect(len(least[0].issuances) == min(1000, count), "masked, a page holds", len(least[0].issuances))
    masked = [issuance for page in least for issuance in page.issuances]
    told = [{field.name for field, _ in issuance.ListFields()} for issuance in masked]
    expect(all(fields == set(LEAST) for fields in told), "masked, issuances have", told[:1])
    serials = [issuance.certificate_serial for issuance in masked]
    expect([issuance.name for issuance in masked] == names, "masked, others are listed")
    expect(serials == [issuance.certificate_serial for issuance in issuances], "masked, they are others")
    starred = pages(station, lot, 1000, ["*"])
    expect([len(page.issuances) for page in starred] == [len(page.issuances) for page in whole], "with * others are listed")
    return issuances


def unknown(station: Station, lot: str) -> None:
    for path in ["certificat", "failure.why", "chain.0", "x" * 100_000, "\0"]:
        for method, fields in [("ListIssuances", {"lot": lot}), ("Watch", {})]:
            answer = station.call(method, read_mask={"paths": ["name", path]}, **fields)
            expect((answer.code, answer.fields) == (Code.INVALID_ARGUMENT, ["read_mask"]), method, path[:20], answer)
            expect(path[:20].rstrip("\0") in answer.text and len(answer.text) < 2_000, method, path[:20], answer)


def watches(station: Station) -> None:
    """The whole journal, told with and without certificates: the same events."""

    def watched(**fields):
        path, octets = "/station.v1.StationService/Watch", station.message("Watch", after_sequence=0, **fields)
        parse = message_factory.GetMessageClass(station.methods["Watch"].output_type).FromString
        stream = station.channel.unary_stream(path, lambda message: message.SerializeToString(), parse)(octets, timeout=60)
        told, octets = [], 0
        for event in stream:
            if event.WhichOneof("change") == "station":
                break
            octets += event.ByteSize()
            told.append((event.sequence, event.issuance.name, event.issuance.state))
            if fields:
                expect(not event.issuance.certificate and not event.issuance.lot, "masked, a watch tells", event.issuance.lot)
        stream.cancel()
        return told, octets

    (whole, octets), (masked, few) = watched(), watched(read_mask={"paths": LEAST})
    expect(whole == masked, "masked, a watch tells other events:", len(whole), len(masked))
    expect(few * 4 < octets, "masked, a watch tells", few, "of", octets, "octets")


def main() -> int:
    *place, lot, count = sys.argv[1:]
    station = Station(*place)
    lists(station, lot, int(count))
    unknown(station, lot)
    watches(station)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
