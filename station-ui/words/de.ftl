# Was die Seite sagt, auf Deutsch.

language = Deutsch

## Der Rahmen.

station = Station
scan = Gerät scannen
start = Start
lot = Los
choose-lot = Los wählen
no-lot = Kein Los ist offen
    .next = Ein Los öffnen lassen.
lot-progress = { $completed } von { $quantity } fertig
lot-choice = { $lot }: { $completed } von { $quantity } fertig
fixture = Platz
any-fixture = Automatisch
chosen = Nächster Scan
fixtures = Plätze
no-fixtures = Diese Station hat keine Plätze. Dem Administrator melden.
live = Verbunden
reconnecting = Verbinde neu
choose-language = Sprache
change = Wechseln
sound = Ton
on = an
off = aus
no-script = Skripte sind in diesem Browser aus: Die Anzeige erneuert sich alle zehn Sekunden.

## Eine Kachel: Überschrift und was zu tun ist.

ready = Bereit
    .next = Gerät einlegen und scannen.
not-ready = Nicht bereit
    .next = Warten: Die Station steht.
working = In Arbeit
    .next = Gerät liegen lassen.
ship-it = Fertig
    .next = Herausnehmen und ausliefern.
waits = Wartet auf CA
    .next = Ins Regal legen. Wieder scannen, wenn die CA zurück ist.
scan-again = Neu scannen
    .next = Das Zertifikat ist da: Gerät einlegen und wieder scannen.
stopped = Angehalten
    .next = Wieder scannen; hält es erneut an, beiseitelegen.
set-aside = Beiseitelegen
    .next = Für die Schichtleitung beiseitelegen.
unknown = Unbekannt
    .next = Diese Anzeige ist älter als die Station: Administrator rufen.
not-current = Verbinde neu
    .next = Warten. Nicht nach dieser Anzeige ausliefern.
last-known = Zuletzt: { $headline }
acknowledge = Verstanden
    .label = Verstanden: { $fixture }, { $headline }
support = Für den Support: { $reason }
step-of = Schritt { $step } von { $steps }
preparing = Beginnt
took-seconds = { $seconds } s
lasting = seit

## Die Schritte.

step-requested = Gerät wird erkannt
step-device-identified = Schlüssel wird gesucht
step-key-generation-started = Schlüssel wird erzeugt
step-key-generated = Ort des Schlüssels wird bewiesen
step-residency-proven = Antrag wird signiert
step-request-signed = Antrag wird eingereiht
step-submitted = Die CA signiert
step-issued = Zertifikat wird geprüft
step-write-started = Zertifikat wird geschrieben
step-written = Zertifikat wird zurückgelesen
step-verified = Wird abgeschlossen

## Warum ein Gerät anhielt, und was zu tun ist.

fault-DEVICE_ABSENT = Im Platz antwortet kein Gerät.
    .next = Gerät einlegen und wieder scannen.
fault-LINK_LOST = Das Gerät antwortet nicht mehr.
    .next = Neu einsetzen und wieder scannen.
fault-DEADLINE_EXCEEDED = Das Gerät antwortete nicht rechtzeitig.
    .next = Neu einsetzen und wieder scannen.
fault-WORKER_CRASHED = Der Treiber des Geräts brach ab.
    .next = Gerät neu einsetzen und wieder scannen.
fault-DEVICE_BUSY = Das Gerät bleibt beschäftigt.
    .next = Eine Minute warten und wieder scannen.
fault-SESSION_LOST = Das Gerät verlor seine Sitzung.
    .next = Eine Minute warten und wieder scannen.
fault-PIN_REJECTED = Das Gerät wies die PIN ab. Sie wird nicht noch einmal versucht.
    .next = Administrator rufen.
fault-PIN_LOCKED = Die PIN des Geräts ist gesperrt oder vor dem letzten Versuch.
    .next = Administrator rufen.
fault-DICTIONARY_ATTACK_LOCKOUT = Das TPM ist nach falschen Versuchen gesperrt.
    .next = Zehn Minuten am Strom lassen und wieder scannen.
fault-STORAGE_FULL = Der Speicher des Geräts ist voll.
    .next = Beiseitelegen.
fault-LOCATION_OCCUPIED = Das Gerät hat an dieser Stelle schon etwas.
    .next = Für die Schichtleitung beiseitelegen.
    .supervisor = Die Station entfernt nur, was sie selbst gemacht hat. Das Gerät löschen oder seinen Schlüssel entfernen lassen und wieder scannen; oder aussondern.
fault-NOT_FOUND = Was auf diesem Gerät war, ist nicht mehr da.
    .next = Für die Schichtleitung beiseitelegen.
fault-NOT_SAME_DEVICE = Etikett und Gerät gehören nicht zusammen: Eines davon wurde früher mit einem anderen gescannt.
    .next = Für die Schichtleitung beiseitelegen.
    .supervisor = Ein falsches Etikett wurde gescannt? Weiterlaufen lassen und das richtige Gerät scannen. Platine oder Etikett sind dauerhaft getauscht? Dann diese Hardware künftig als dieses Gerät führen.
fault-UNSUPPORTED = Das Gerät kann nicht, was das Profil verlangt.
    .next = Für die Schichtleitung beiseitelegen.
fault-HARDWARE_FAILURE = Das Gerät meldet, dass es defekt ist.
    .next = Beiseitelegen.
fault-MISMATCH = Die Antworten des Geräts passen nicht zusammen.
    .next = Für die Schichtleitung beiseitelegen.
fault-RESIDENCY_UNPROVEN = Es ist nicht bewiesen, dass der Schlüssel im Gerät liegt.
    .next = Für die Schichtleitung beiseitelegen.
fault-MISCONFIGURED = Der Platz ist nicht richtig eingerichtet.
    .next = Administrator rufen.
fault-CERTIFICATE_REJECTED = Das Zertifikat der CA ist nicht das verlangte.
    .next = Gerät beiseitelegen und Administrator rufen.
fault-REQUEST_REFUSED = Die CA lehnte dieses Gerät ab.
    .next = Für die Schichtleitung beiseitelegen.
fault-FILE_WRITE_FAILED = Die Station konnte die Dateien des Geräts nicht schreiben.
    .next = Administrator rufen.
fault-JOURNAL_FAILED = Die Station kann nichts aufzeichnen.
    .next = Administrator rufen.
fault-ANSWER_TOO_LARGE = Die Antwort der CA ist zu groß.
    .next = Für die Schichtleitung beiseitelegen.
fault-ANSWER_ALTERED = Eine Antwort des Geräts wurde unterwegs verändert.
    .next = Für die Schichtleitung beiseitelegen.
fault-IN_DOUBT = Die CA hat vielleicht ein Zertifikat ausgestellt, das nicht ankam.
    .next = Für die Schichtleitung beiseitelegen.
fault-CANCELLED = Die Schichtleitung brach es ab.
    .next = Gerät wieder scannen, um neu zu beginnen.
fault-SCRAPPED = Die Schichtleitung hat dieses Gerät ausgesondert.
    .next = Nicht ausliefern: zum Ausschuss geben.

## Was alle Plätze betrifft.

page-lost = Diese Anzeige verlor ihre Verbindung: verbinde neu
    .next = Was sie zeigt, kann alt sein. Warten; bleibt es so, Administrator rufen.
searching = Suche die Station
    .next = Warten. Bleibt es so, Administrator rufen.
station-lost = Die Station antwortet nicht: verbinde neu
    .next = Warten und Geräte liegen lassen. Nichts Begonnenes geht verloren.
halted = Die Station steht
    .next = Geräte liegen lassen und Administrator rufen.
authority-away = { $waiting ->
        [0] Die CA ist weg: kein Gerät wartet
        [one] Die CA ist weg: 1 Gerät wartet
       *[other] Die CA ist weg: { $waiting } Geräte warten
    }
    .next = Weiter scannen. Wartende Geräte ins Regal legen; wieder scannen, wenn die CA zurück ist.
    .full = Keine neuen Geräte beginnen: Die Warteschlange ist voll. Wartende Geräte ins Regal legen; wieder scannen, wenn die CA zurück ist.
drain-seconds = { $seconds ->
        [one] Ist sie zurück, dauert es noch etwa 1 Sekunde.
       *[other] Ist sie zurück, dauert es noch etwa { $seconds } Sekunden.
    }
drain-minutes = { $minutes ->
        [one] Ist sie zurück, dauert es noch etwa 1 Minute.
       *[other] Ist sie zurück, dauert es noch etwa { $minutes } Minuten.
    }

## Was aus einem Scan wurde.

nothing = (nichts)
unsent = Niemand antwortete: wieder scannen, sobald die Anzeige verbunden ist
started = Begonnen
started-in = Begonnen in { $fixture }
already = { $headline }: Dieses Gerät wurde früher begonnen
fixture-chosen = { $fixture } ist gewählt: Gerät scannen
fixture-unknown = Diese Station hat keinen Platz { $fixture }: eine Kachel wählen
lot-missing = Nicht begonnen: Kein Los ist offen. Eines öffnen lassen, dann wieder scannen
lot-not-chosen = Nicht begonnen: Los wählen, dann wieder scannen
not-connected = Nicht begonnen: Die Station antwortet nicht. Wieder scannen, sobald die Anzeige verbunden ist
form-expired = Nicht getan: Die Anzeige wurde neu gestartet. Wieder scannen
acknowledge-first = Nicht begonnen: In { $fixture } ist noch ein Gerät zu klären. Dort „Verstanden“ tippen oder den Platz scannen, dann wieder scannen
acknowledged = { $fixture }: verstanden

## Ausweise.

badge-empty = Der Ausweis ist leer: wieder scannen
badge-wrong = Das ist kein Ausweis dieser Linie: 1 bis 64 Buchstaben und Ziffern
signed-in = Angemeldet: { $badge }
sign-out = Abmelden
sign-in-first = Nicht begonnen: erst den Ausweis scannen, dann das Gerät
operator = Bedienung
scan-badge = Ausweis scannen

## Warum die Station ein Gerät nicht begann.

refused-NO_DEVICE = Nicht begonnen: In keinem freien Platz ist ein neues Gerät
    .next = Gerät einlegen und wieder scannen.
refused-FIXTURE_AMBIGUOUS = Welcher Platz? In { $fixtures } sind neue Geräte
    .next = Barcode des Platzes scannen oder Kachel antippen, dann das Gerät wieder scannen.
refused-FIXTURE_BUSY = Nicht begonnen: { $fixture } arbeitet
    .next = Warten, bis er fertig ist, oder einen anderen Platz nehmen.
refused-UNKNOWN_FIXTURE = Nicht begonnen: Diesen Platz hat die Station nicht
    .next = Eine Kachel antippen, dann wieder scannen.
refused-LOT_CLOSED = Nicht begonnen: Das Los { $lot } ist geschlossen
    .next = Ein anderes Los wählen oder eines öffnen lassen.
refused-LOT_USED_UP = Nicht begonnen: Das Los { $lot } ist voll, { $started } von { $quantity } Geräten wurden begonnen
    .next = Dieses Gerät zurücklegen: Es gehört nicht zu diesem Los.
refused-WRONG_PROFILE = Nicht begonnen: Das Los { $lot } ist für das Profil { $profile }, nicht für { $asked }
    .next = Das richtige Los wählen, dann wieder scannen.
refused-COMMON_NAME_TAKEN = Nicht begonnen: { $device_serial } wurde früher zertifiziert, im Los { $lot }
    .next = Gerät beiseitelegen: Ein Etikett ist vielleicht doppelt. Die Schichtleitung kann es neu zertifizieren lassen.
refused-REQUEST_ID_REUSED = Nicht begonnen: Diese Anfrage gab es schon mit anderem Inhalt
    .next = Wieder scannen.
refused-QUEUE_FULL = Nicht begonnen: Die Warteschlange ist voll
    .next = Warten, bis die CA zurück ist, dann wieder scannen.
refused-CLOCK_WRONG = Nicht begonnen: Die Uhr der Station geht falsch
    .next = Administrator rufen.
refused-STATION_HALTED = Nicht begonnen: Die Station steht
    .next = Administrator rufen.
refused-JOURNAL_FAILED = Nicht begonnen: Die Station kann nichts aufzeichnen
    .next = Administrator rufen.
refused-ROWS_DAMAGED = Nicht begonnen: Die Station muss neu gestartet werden
    .next = Administrator rufen.
refused-ROLE_NOT_ALLOWED = Nicht getan: Diese Anzeige darf das nicht
    .next = Administrator rufen.
refused-UNKNOWN_CALLER = Nicht getan: Die Station kennt diese Anzeige nicht
    .next = Administrator rufen.
refused-device_serial = Nicht begonnen: Das ist keine Seriennummer dieses Loses
    .next = Den Barcode des Geräts selbst scannen.
refused-lot = Nicht begonnen: Die Station kennt dieses Los nicht
    .next = Los wählen, dann wieder scannen.
refused-profile = Nicht begonnen: Dieses Profil macht die Station nicht
    .next = Administrator rufen.

## Dasselbe nach der Art der Antwort. Die Worte der Station folgen.

code-invalid = Nicht begonnen: Die Station nimmt das nicht an
code-not-found = Nicht begonnen: Die Station kennt das nicht
code-exists = Nicht begonnen: Das gibt es schon mit anderem Inhalt
code-precondition = Nicht begonnen: Erst muss etwas anderes geschehen
code-aborted = Nicht begonnen: Etwas kam dazwischen. Wieder scannen
code-exhausted = Nicht begonnen: Es ist kein Platz mehr. Später versuchen
code-denied = Nicht begonnen: Diese Anzeige darf das nicht. Administrator rufen
code-unimplemented = Nicht begonnen: Anzeige und Station passen nicht zusammen. Administrator rufen
code-internal = Nicht begonnen: Die Station hat einen Fehler. Administrator rufen
code-unavailable = Die Station antwortete nicht. Wieder scannen, sobald die Anzeige verbunden ist
code-late = Die Station antwortete nicht rechtzeitig. Wieder scannen

## Die anderen Seiten.

pages = Seiten
page-board = Tafel
page-lots = Lose
page-find = Suchen
page-station = Station
page-golden = Schichtprüfung
device = Gerät
state = Zustand
not-available = Die Station antwortet nicht: nichts zu zeigen
    .next = Warten, dann diese Seite wieder öffnen.
as-of = Stand { $time } UTC
lots-started = Begonnen
lots-open = offen
lots-closed = geschlossen
lots-yield = Ausbeute
lots-stuck = Hängt
lots-none = Noch kein Los wurde geöffnet.
find-what = Seriennummer, CN oder Zertifikatsnummer
find-none = Nichts gefunden zu { $wanted }
    .next = Barcode des Geräts scannen, oder CN oder Zertifikatsnummer eingeben.
find-some = { $count ->
        [one] 1 gefunden
       *[other] { $count } gefunden
    }
story = Die Geschichte von { $device_serial }
common-name = CN
profile = Profil
key = Schlüssel
certificate-serial = Zertifikatsnummer
certificate-place = Zertifikat in
scanned-by = Gescannt von
asked-by = Über
supersedes = Ersetzt
downloads = Herunterladen
download-certificate = Zertifikat
download-chain = Zertifikat mit Kette
download-records = Aufzeichnungen mit Nachweisen
download-proof = Beweis für die Prüfstelle
steps = Was geschah
time = Zeit
step = Schritt
station-link = Verbindung zur CA
station-link-up = Die CA antwortet
station-link-down = Die CA antwortet nicht
station-link-unknown = Noch nicht gefragt
station-since = seit { $time }
station-waiting = Wartet auf die CA
station-of-room = { $length } von { $bound } Plätzen
station-doubt = { $count } im Zweifel
station-graph = Wartet auf die CA, letzte Stunde
station-fixtures = Hardware
station-idle = frei
station-busy = arbeitet
station-disk = Festplatte
station-disk-free = { $free } GB von { $size } GB frei
station-clock = Uhr
station-clock-same = Die Uhr der Station stimmt mit der dieser Anzeige überein
station-clock-differs = Die Uhr der Station weicht um { $seconds } s von der dieser Anzeige ab
station-troubles = Für die Administration
station-certificates = Zertifikate, die ablaufen
station-days = { $days ->
        [one] in 1 Tag
       *[other] in { $days } Tagen
    }
needs-server = Die Station als Server
needs-client = Die Station gegenüber der CA
needs-issuer = Aussteller der Gerätezertifikate
needs-root = Wurzel der Gerätezertifikate

## Die Schichtprüfung mit dem Referenzgerät.

golden-due = Schichtprüfung fällig
golden-good = Geprüft
golden-bad = Prüfung gescheitert
golden-scan = Referenzgerät scannen
golden-check = Prüfen
golden-unchecked = Diese Station ist für diese Schicht nicht geprüft
    .next = Vor dem ersten Gerät der Schicht mit dem Referenzgerät prüfen.
golden-checked = Diese Station ist für diese Schicht geprüft
    .next = Auf der Tafel weiterscannen.
golden-failed = Die Prüfung ist gescheitert: nicht ausliefern
    .next = Referenzgerät neu einsetzen und noch einmal prüfen. Scheitert es wieder, Administrator rufen.
golden-not-done = Es wurde nicht geprüft
golden-when = { $time } UTC, mit { $device_serial } an { $fixture }
golden-by = von { $operator }
golden-how = So wird geprüft
golden-step-1 = Das Referenzgerät an einen Platz setzen.
golden-step-2 = Automatisch antippen, oder den Platz, an dem es sitzt.
golden-step-3 = Scannen. Es zählt in keinem Los.

## Was die Schichtleitung entscheidet.

supervise = Schichtleitung
act = Was geschehen soll
act-release = Weiterlaufen lassen
act-cancel = Abbrechen
act-rework = Neu zertifizieren, gleicher Schlüssel
act-rework-key = Neu zertifizieren, neuer Schlüssel
act-hardware = Diese Hardware ist ab jetzt dieses Gerät
act-swap = Platine oder Etikett getauscht: andere Hardware als dieses Gerät zertifizieren
act-scrap = Gerät aussondern: sperren und seinen Platz im Los freigeben
reason = Warum
reason-repaired = Der Fehler ist behoben
reason-label = Das Etikett war falsch oder unlesbar
reason-lot = Es war im falschen Los
reason-damaged = Das Gerät ist beschädigt
reason-returned = Das Gerät kam zurück
reason-test = Es war ein Test
reason-board = Die Platine wurde ersetzt
badge-first = 1. Ausweis der Schichtleitung scannen
pin-then = 2. PIN auf dem Tastenfeld eingeben
pin = PIN
pin-digits = { $count } Ziffern eingegeben
pin-clear = Löschen
decide = 3. Bestätigen
decided = Getan: { $act }
badge-missing = Nicht getan: erst den Ausweis der Schichtleitung scannen
refused-SUPERVISOR_WRONG = Nicht getan: Ausweis oder PIN ist falsch
    .next = Ausweis scannen und PIN noch einmal eingeben.
refused-SUPERVISOR_LOCKED = Nicht getan: Dieser Ausweis ist nach zu vielen falschen PINs gesperrt
    .next = Administrator rufen.
refused-SUPERVISOR_WAIT = Nicht getan: zu viele falsche PINs
    .next = Einige Minuten warten, dann wieder versuchen.
refused-SUPERVISOR_UNCOUNTED = Nicht getan: Die Station kann nichts aufzeichnen
    .next = Administrator rufen.
refused-NO_SUPERVISORS = Nicht getan: Diese Station kennt keine Schichtleitung
    .next = Administrator rufen.
refused-NOT_QUARANTINED = Nicht getan: Es liegt nicht mehr beiseite
    .next = Gerät scannen.
refused-ALREADY_ENDED = Nicht getan: Es ist schon fertig oder abgebrochen
    .next = Nichts bleibt zu tun.
refused-NOT_REWORKABLE = Nicht getan: Es hat kein Zertifikat, das ersetzt werden könnte
    .next = Gerät scannen.
refused-ALREADY_SUPERSEDED = Nicht getan: Ein neueres ersetzt es schon
    .next = Gerät suchen und das neueste öffnen.
refused-NEW_KEY_UNSUPPORTED = Nicht getan: Dieses Gerät hält nur einen Schlüssel
    .next = Mit dem gleichen Schlüssel neu zertifizieren.
refused-DEVICE_SCRAPPED = Nicht getan: Dieses Gerät ist ausgesondert
    .next = Zum Ausschuss geben.
refused-NOT_HARDWARE = Nicht getan: Nicht wegen seiner Hardware wurde es beiseitegelegt
    .next = Abbrechen, dann andere Hardware als dieses Gerät zertifizieren.
refused-OTHER_STATION = Nicht getan: Eine andere Station hat das Zertifikat dieses Geräts gemacht
    .next = An jener Station aussondern.
refused-AUTHORITY_AWAY = Nicht getan: Die CA ist weg
    .next = Wieder versuchen, wenn die CA zurück ist.
refused-AUTHORITY_REFUSES_STATION = Nicht getan: Die CA lässt es diese Station nicht tun
    .next = Administrator rufen.
refused-CHECKPOINT_DUE = Noch kein Beweis: Der nächste Prüfpunkt der Station deckt es ab
    .next = In einer Minute wieder versuchen.
refused-NOT_ISSUED = Kein Beweis: Es gibt noch kein Zertifikat
    .next = Wieder versuchen, wenn das Gerät fertig ist.
refused-PROOF_TOO_LARGE = Der Beweis ist zu groß für diese Anzeige
    .next = Administrator rufen.
refused-LOG_UNREADABLE = Kein Beweis: Das Protokoll der Station ist nicht lesbar
    .next = Administrator rufen.

## Was aufgezeichnet wurde, Schritt für Schritt.

record-requested = Angefordert
record-device-identified = Gerät erkannt
record-key-generation-started = Schlüsselerzeugung begonnen
record-key-generated = Schlüssel erzeugt
record-residency-proven = Beweis, dass der Schlüssel im Gerät liegt
record-request-signed = Antrag signiert
record-submitted = Der CA vorgelegt
record-send-started = Senden begonnen
record-not-taken = Von der CA nicht angenommen
record-in-doubt = Im Zweifel
record-resubmitted = Noch einmal vorgelegt
record-surplus = Überzähliges Zertifikat
record-sealed = Von der CA für das Gerät versiegelt
record-issued = Zertifikat ausgestellt
record-refused = Von der CA abgelehnt
record-write-started = Schreiben begonnen
record-written = Geschrieben
record-verified = Auf dem Gerät geprüft
record-completed = Fertig
record-failed = Angehalten
record-quarantined = Beiseitegelegt
record-confirmed = Der CA bestätigt
record-device-checked = Gegen das Journal geprüft
record-resumed = Wieder gescannt
record-released = Von der Schichtleitung freigegeben
record-cancelled = Von der Schichtleitung abgebrochen
