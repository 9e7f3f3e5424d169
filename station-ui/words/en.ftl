# What the page says, in English: short sentences in the imperative, read from three metres by people who do something else
# meanwhile. The other languages have the same keys and the same variables; a test compares them.

language = English

## The frame.

station = Station
scan = Scan the device
start = Start
lot = Lot
choose-lot = Choose the lot
no-lot = No lot is open
    .next = Ask for a lot to be opened.
lot-progress = { $completed } of { $quantity } done
lot-choice = { $lot }: { $completed } of { $quantity } done
fixture = Fixture
any-fixture = Automatic
chosen = Next scan
fixtures = Fixtures
no-fixtures = This station has no fixtures. Tell the administrator.
live = Live
reconnecting = Reconnecting
choose-language = Language
change = Change
sound = Sound
on = on
off = off
no-script = Scripts are off in this browser: the screen renews itself every ten seconds.

## A tile: headline and what to do next.

ready = Ready
    .next = Put a device in and scan it.
not-ready = Not ready
    .next = Wait: the station has stopped.
working = Working
    .next = Leave the device in place.
ship-it = Ship it
    .next = Take it out and ship it.
waits = Waits for the CA
    .next = Put it on the shelf. Scan it again when the CA is back.
scan-again = Scan it again
    .next = Its certificate is here: put the device in and scan it again.
stopped = Stopped
    .next = Scan it again; if it stops again, set it aside.
set-aside = Set it aside
    .next = Set it aside for a supervisor.
unknown = Not known
    .next = This screen is older than the station: call the administrator.
not-current = Reconnecting
    .next = Wait. Do not ship by this screen.
last-known = Last known: { $headline }
acknowledge = Understood
    .label = Understood: { $fixture }, { $headline }
support = For support: { $reason }
step-of = Step { $step } of { $steps }
preparing = Starting
took-seconds = { $seconds } s
lasting = for

## The steps.

step-requested = Looking who the device is
step-device-identified = Looking for its key
step-key-generation-started = Making its key
step-key-generated = Proving where the key lives
step-residency-proven = Signing the request
step-request-signed = Queueing for the CA
step-submitted = The CA is signing
step-issued = Checking the certificate
step-write-started = Writing the certificate
step-written = Reading it back
step-verified = Finishing

## Why a device stopped: what happened, and what to do. The names are the station's.

fault-DEVICE_ABSENT = No device answers in the fixture.
    .next = Put the device in and scan it again.
fault-LINK_LOST = The device stopped answering.
    .next = Seat it again and scan it again.
fault-DEADLINE_EXCEEDED = The device did not answer in time.
    .next = Seat it again and scan it again.
fault-WORKER_CRASHED = The device's driver broke off.
    .next = Seat the device again and scan it again.
fault-DEVICE_BUSY = The device stays busy.
    .next = Wait a minute and scan it again.
fault-SESSION_LOST = The device lost its session.
    .next = Wait a minute and scan it again.
fault-PIN_REJECTED = The device rejected the PIN. It is not tried again.
    .next = Call the administrator.
fault-PIN_LOCKED = The device's PIN is locked, or at its last try.
    .next = Call the administrator.
fault-DICTIONARY_ATTACK_LOCKOUT = The TPM is locked after wrong authorisations.
    .next = Leave it powered for ten minutes and scan it again.
fault-STORAGE_FULL = The device's storage is full.
    .next = Set it aside.
fault-LOCATION_OCCUPIED = The device already holds something in this place.
    .next = Set it aside for a supervisor.
    .supervisor = The station removes only what it made itself. Have the device cleared, or its key evicted, and scan it again; or scrap it.
fault-NOT_FOUND = What was put on this device is no longer there.
    .next = Set it aside for a supervisor.
fault-NOT_SAME_DEVICE = Label and device do not belong together: one of them was scanned with another before.
    .next = Set it aside for a supervisor.
    .supervisor = A wrong label was scanned? Let it go on, and scan the right device. The board or the label was swapped for good? Say that this hardware is this device from now on.
fault-UNSUPPORTED = The device cannot do what the profile asks.
    .next = Set it aside for a supervisor.
fault-HARDWARE_FAILURE = The device reports that it is broken.
    .next = Set it aside.
fault-MISMATCH = The device's answers do not fit together.
    .next = Set it aside for a supervisor.
fault-RESIDENCY_UNPROVEN = It is not proven that the key lives in the device.
    .next = Set it aside for a supervisor.
fault-MISCONFIGURED = The fixture is not set up right.
    .next = Call the administrator.
fault-CERTIFICATE_REJECTED = The CA's certificate is not what was asked for.
    .next = Set the device aside and call the administrator.
fault-REQUEST_REFUSED = The CA refused this device.
    .next = Set it aside for a supervisor.
fault-FILE_WRITE_FAILED = The station could not write the device's files.
    .next = Call the administrator.
fault-JOURNAL_FAILED = The station cannot record.
    .next = Call the administrator.
fault-ANSWER_TOO_LARGE = The CA's answer is too large.
    .next = Set it aside for a supervisor.
fault-ANSWER_ALTERED = An answer of the device was altered on its way.
    .next = Set it aside for a supervisor.
fault-IN_DOUBT = The CA may have made a certificate that did not arrive.
    .next = Set it aside for a supervisor.
fault-CANCELLED = A supervisor cancelled it.
    .next = Scan the device again to start anew.
fault-SCRAPPED = A supervisor scrapped this device.
    .next = Do not ship it: put it to the scrap.

## What concerns all fixtures.

page-lost = This screen lost its connection: reconnecting
    .next = What it shows may be old. Wait, or call the administrator if it stays.
searching = Looking for the station
    .next = Wait. If it stays, call the administrator.
station-lost = The station does not answer: reconnecting
    .next = Wait, and leave devices where they are. Nothing that was started is lost.
halted = The station has stopped
    .next = Leave devices where they are and call the administrator.
authority-away = { $waiting ->
        [0] The CA is away: no device waits
        [one] The CA is away: 1 device waits
       *[other] The CA is away: { $waiting } devices wait
    }
    .next = Go on scanning. Put waiting devices on the shelf; scan them again when the CA is back.
    .full = Start no new devices: the queue is full. Put waiting devices on the shelf; scan them again when the CA is back.
drain-seconds = { $seconds ->
        [one] Once it is back they are done in about 1 second.
       *[other] Once it is back they are done in about { $seconds } seconds.
    }
drain-minutes = { $minutes ->
        [one] Once it is back they are done in about 1 minute.
       *[other] Once it is back they are done in about { $minutes } minutes.
    }

## What became of a scan.

nothing = (nothing)
unsent = Nobody answered: scan it again when the screen is live
started = Started
started-in = Started in { $fixture }
already = { $headline }: this device was started before
fixture-chosen = { $fixture } is chosen: scan the device
fixture-unknown = This station has no fixture { $fixture }: choose one of the tiles
lot-missing = Not started: no lot is open. Ask for one to be opened, then scan again
lot-not-chosen = Not started: choose the lot, then scan again
not-connected = Not started: the station does not answer. Scan it again when the screen is live
form-expired = Not done: the screen was restarted meanwhile. Scan it again
acknowledge-first = Not started: { $fixture } has a device to set right. Tap “Understood” there, or scan its fixture, then scan again
acknowledged = { $fixture }: understood

## Badges.

badge-empty = The badge is empty: scan it again
badge-wrong = This is no badge of this line: 1 to 64 letters and digits
signed-in = Signed in: { $badge }
sign-out = Sign out
sign-in-first = Not started: scan your badge first, then the device
operator = Operator
scan-badge = Scan your badge

## Why the station did not start a device, by the station's reason.

refused-NO_DEVICE = Not started: no free fixture holds a new device
    .next = Put the device in a fixture and scan it again.
refused-FIXTURE_AMBIGUOUS = Which fixture? { $fixtures } hold new devices
    .next = Scan the fixture's barcode or tap its tile, then scan the device again.
refused-FIXTURE_BUSY = Not started: { $fixture } is at work
    .next = Wait until it is done, or use another fixture.
refused-UNKNOWN_FIXTURE = Not started: this station has no such fixture
    .next = Tap one of the tiles, then scan again.
refused-LOT_CLOSED = Not started: the lot { $lot } is closed
    .next = Choose another lot, or ask for one to be opened.
refused-LOT_USED_UP = Not started: the lot { $lot } is complete, { $started } of { $quantity } devices were started
    .next = Put this device back: it does not belong to this lot.
refused-WRONG_PROFILE = Not started: the lot { $lot } is for the profile { $profile }, not for { $asked }
    .next = Choose the right lot, then scan again.
refused-COMMON_NAME_TAKEN = Not started: { $device_serial } was certified before, in the lot { $lot }
    .next = Set this device aside: a label may be there twice. A supervisor may have it certified again.
refused-REQUEST_ID_REUSED = Not started: this request was made before, with other content
    .next = Scan it again.
refused-QUEUE_FULL = Not started: the queue is full
    .next = Wait until the CA is back, then scan again.
refused-CLOCK_WRONG = Not started: the station's clock is wrong
    .next = Call the administrator.
refused-STATION_HALTED = Not started: the station has stopped
    .next = Call the administrator.
refused-JOURNAL_FAILED = Not started: the station cannot record
    .next = Call the administrator.
refused-ROWS_DAMAGED = Not started: the station must be restarted
    .next = Call the administrator.
refused-ROLE_NOT_ALLOWED = Not done: this screen may not do that
    .next = Call the administrator.
refused-UNKNOWN_CALLER = Not done: the station does not know this screen
    .next = Call the administrator.
refused-device_serial = Not started: this is no device serial of this lot
    .next = Scan the device's own barcode.
refused-lot = Not started: the station does not know this lot
    .next = Choose the lot, then scan again.
refused-profile = Not started: this station does not make that profile
    .next = Call the administrator.

## The same, by the kind of answer, where the station gives no reason that this page knows. Its own words follow.

code-invalid = Not started: the station does not accept this
code-not-found = Not started: the station does not know this
code-exists = Not started: it exists already, with other content
code-precondition = Not started: something else must be done first
code-aborted = Not started: something else came between. Scan it again
code-exhausted = Not started: there is no more room. Try again later
code-denied = Not started: this screen may not do that. Call the administrator
code-unimplemented = Not started: screen and station do not fit together. Call the administrator
code-internal = Not started: the station has a fault. Call the administrator
code-unavailable = The station did not answer. Scan it again when the screen is live
code-late = The station did not answer in time. Scan it again

## The other pages.

pages = Pages
page-board = Board
page-lots = Lots
page-find = Find
page-station = Station
page-golden = Shift check
device = Device
state = State
not-available = The station does not answer: nothing to show
    .next = Wait, then open this page again.
as-of = As of { $time } UTC
lots-started = Started
lots-open = open
lots-closed = closed
lots-yield = Yield
lots-stuck = Stuck
lots-none = No lot was opened yet.
find-what = Device serial, CN or certificate serial
find-none = Nothing found for { $wanted }
    .next = Scan the device's barcode, or type its CN or its certificate serial.
find-some = { $count ->
        [one] 1 found
       *[other] { $count } found
    }
story = The story of { $device_serial }
common-name = CN
profile = Profile
key = Key
certificate-serial = Certificate serial
certificate-place = Certificate in
scanned-by = Scanned by
asked-by = Through
supersedes = Stands in for
downloads = Download
download-certificate = Certificate
download-chain = Certificate with chain
download-records = Records with evidence
download-proof = Proof for an auditor
steps = What happened
time = Time
step = Step
station-link = Link to the CA
station-link-up = The CA answers
station-link-down = The CA does not answer
station-link-unknown = Not asked yet
station-since = since { $time }
station-waiting = Waiting for the CA
station-of-room = { $length } of { $bound } places
station-doubt = { $count } in doubt
station-graph = Waiting for the CA, the last hour
station-fixtures = Hardware
station-idle = idle
station-busy = at work
station-disk = Disk
station-disk-free = { $free } GB of { $size } GB free
station-clock = Clock
station-clock-same = The station's clock agrees with this screen's machine
station-clock-differs = The station's clock is { $seconds } s from this screen's machine
station-troubles = For the administrator
station-certificates = Certificates that will expire
station-days = { $days ->
        [one] in 1 day
       *[other] in { $days } days
    }
needs-server = The station, as a server
needs-client = The station, towards the CA
needs-issuer = Issuer of devices' certificates
needs-root = Root of devices' certificates

## The shift check with the golden device.

golden-due = Shift check due
golden-good = Checked
golden-bad = Check failed
golden-scan = Scan the golden device
golden-check = Check
golden-unchecked = This station is not checked for this shift
    .next = Check it with the golden device before the first device of the shift.
golden-checked = This station is checked for this shift
    .next = Go on scanning on the board.
golden-failed = The check failed: do not ship
    .next = Seat the golden device again and check once more. If it fails again, call the administrator.
golden-not-done = The check was not done
golden-when = { $time } UTC, with { $device_serial } in { $fixture }
golden-by = by { $operator }
golden-how = How to check
golden-step-1 = Put the golden device in a fixture.
golden-step-2 = Tap Automatic, or the fixture that holds it.
golden-step-3 = Scan it. It takes no place in any lot.

## What a supervisor decides.

supervise = Supervisor
act = What shall happen
act-release = Let it go on
act-cancel = Cancel it
act-rework = Certify again, with the same key
act-rework-key = Certify again, with a new key
act-hardware = This hardware is this device from now on
act-swap = Board or label swapped: certify other hardware as this device
act-scrap = Scrap the device: revoke it and free its place in the lot
reason = Why
reason-repaired = The fault was repaired
reason-label = The label was wrong or unreadable
reason-lot = It was in the wrong lot
reason-damaged = The device is damaged
reason-returned = The device was returned
reason-test = It was a test
reason-board = The board was replaced
badge-first = 1. Scan the supervisor's badge
pin-then = 2. Enter the PIN on the pad
pin = PIN
pin-digits = { $count } digits entered
pin-clear = Clear
decide = 3. Confirm
decided = Done: { $act }
badge-missing = Not done: scan the supervisor's badge first
refused-SUPERVISOR_WRONG = Not done: the badge or the PIN is wrong
    .next = Scan the badge and enter the PIN again.
refused-SUPERVISOR_LOCKED = Not done: this badge is locked after too many wrong PINs
    .next = Call the administrator.
refused-SUPERVISOR_WAIT = Not done: too many wrong PINs
    .next = Wait a few minutes, then try again.
refused-SUPERVISOR_UNCOUNTED = Not done: the station cannot record
    .next = Call the administrator.
refused-NO_SUPERVISORS = Not done: this station knows no supervisors
    .next = Call the administrator.
refused-NOT_QUARANTINED = Not done: it is not set aside any more
    .next = Scan the device.
refused-ALREADY_ENDED = Not done: it is done or cancelled already
    .next = Nothing is left to do.
refused-NOT_REWORKABLE = Not done: it has no certificate that could be replaced
    .next = Scan the device.
refused-ALREADY_SUPERSEDED = Not done: a newer one stands in for it already
    .next = Find the device, and open the newest.
refused-NEW_KEY_UNSUPPORTED = Not done: this device keeps one key only
    .next = Certify it again with the same key.
refused-DEVICE_SCRAPPED = Not done: this device was scrapped
    .next = Put it to the scrap.
refused-NOT_HARDWARE = Not done: its hardware is not what it was set aside for
    .next = Cancel it, then certify other hardware as this device.
refused-OTHER_STATION = Not done: another station made this device's certificate
    .next = Scrap it at that station.
refused-AUTHORITY_AWAY = Not done: the CA is away
    .next = Try again when the CA is back.
refused-AUTHORITY_REFUSES_STATION = Not done: the CA does not let this station do it
    .next = Call the administrator.
refused-CHECKPOINT_DUE = No proof yet: the station's next checkpoint covers it
    .next = Try again in a minute.
refused-NOT_ISSUED = No proof: there is no certificate yet
    .next = Try again when the device is done.
refused-PROOF_TOO_LARGE = The proof is too large for this screen
    .next = Call the administrator.
refused-LOG_UNREADABLE = No proof: the station's log cannot be read
    .next = Call the administrator.

## What was recorded, step by step. The names are the station's.

record-requested = Requested
record-device-identified = Device recognised
record-key-generation-started = Key generation begun
record-key-generated = Key generated
record-residency-proven = Proof that the key lives in the device
record-request-signed = Request signed
record-submitted = Submitted to the CA
record-send-started = Sending begun
record-not-taken = Not taken by the CA
record-in-doubt = In doubt
record-resubmitted = Submitted again
record-surplus = Surplus certificate
record-sealed = Sealed for the device by the CA
record-issued = Certificate issued
record-refused = Refused by the CA
record-write-started = Writing begun
record-written = Written
record-verified = Verified on the device
record-completed = Completed
record-failed = Stopped
record-quarantined = Set aside
record-confirmed = Confirmed to the CA
record-device-checked = Held against the journal
record-resumed = Scanned again
record-released = Released by a supervisor
record-cancelled = Cancelled by a supervisor
