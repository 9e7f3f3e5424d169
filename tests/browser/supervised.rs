//! A label that was swapped, and the supervisor who sets it right, on a real line.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use line::{Line, Options};
use proto::station::v1::OpenLotRequest;
use serde_json::json;

use crate::chromium::{Chromium, SIZES, output};

pub(crate) const PIN: &str = "271828";

/// As the administrator makes it: the PIN goes to the command's standard input and nowhere else.
pub(crate) fn supervisors(file: &Path) {
    let binary = std::env::current_exe().expect("this test");
    let binary = binary.ancestors().nth(2).expect("target/debug/deps").join("station-agent");
    let mut pin = Command::new(binary);
    pin.args(["pin", "--badge", "S-1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pin = pin.spawn().expect("station-agent");
    writeln!(pin.stdin.take().expect("its input"), "{PIN}").expect("typed");
    let said = pin.wait_with_output().expect("it ends");
    let line = String::from_utf8(said.stdout).expect("text");
    assert!(said.status.success() && line.starts_with("S-1 $pbkdf2-sha256$") && !line.contains(PIN), "{line}");
    fs::write(file, line).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("private");
}

/// Enters a badge by scan and a PIN by the pad, and confirms.
pub(crate) async fn decide(chromium: &Chromium, badge: &str, pin: &str) {
    chromium.scan(&format!("badge:{badge}")).await;
    chromium.until("#pad button:focus").await;
    for digit in pin.chars() {
        chromium.script(&format!("document.querySelector('#pad button[value=\"{digit}\"]').click()")).await;
    }
    chromium.until("#decide:enabled").await;
    // What an earlier act came to is not this one's answer.
    chromium.script("document.getElementById('notice')?.remove(); document.getElementById('decide').click()").await;
    chromium.until("#notice .notice").await;
}

/// The second label is scanned at the first device: the tile says so, the next scan is held until somebody has taken notice,
/// a scan never lands in the PIN, a wrong PIN is refused, the right one lets it go on; then the device is found by serial, CN
/// and certificate serial, and its files are downloaded. The PIN is in nothing that was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_label_is_set_right_by_a_supervisor() {
    let directory = tempfile::tempdir().expect("a directory");
    supervisors(&directory.path().join("supervisors"));
    let options = Options {
        directory: Some(directory.path().to_owned()),
        tpms: 1,
        tokens: 1,
        station_extra: "\n[supervisors]\nfile = \"supervisors\"\n".into(),
        ..Options::default()
    };
    let mut line = Line::start(options).await.expect("a line");
    let lot = OpenLotRequest { lot: "LOT-1".into(), profile: "device-ca".into(), quantity: 5 };
    line.mes().expect("a client").open_lot(lot).await.expect("a lot");
    let origin = line.page_url().expect("a page");
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[0]).await;
    chromium.open(&origin).await;

    chromium.scan("badge:B-17").await;
    chromium.until("#operator strong").await;
    chromium.scan("fixture:fixture-1").await;
    chromium.until("input[value=fixture-1]:checked").await;
    chromium.scan("SN-1").await;
    chromium.until("#tile-fixture-1[data-kind=ship-it]").await;
    chromium.scan("fixture:fixture-1").await;
    chromium.until("input[value=fixture-1]:checked").await;
    chromium.scan("SN-2").await;
    chromium.until("#tile-fixture-1[data-kind=set-aside].attention").await;
    assert!(chromium.text("#tile-fixture-1").await.contains("Label and device do not belong together"));
    chromium.scan("SN-3").await;
    chromium.until(".notice.bad").await;
    assert!(chromium.text("#notice").await.contains("fixture-1 has a device to set right"));
    chromium.picture(&output("swapped-label.png")).await;
    chromium.script("document.querySelector('#tile-fixture-1 .acknowledge').click()").await;
    chromium.until("#tile-fixture-1:not(.attention)").await;

    chromium.script("document.querySelector('#tile-fixture-1 .supervise').click()").await;
    chromium.until("#supervise").await;
    chromium.until("html[data-page=live]").await;
    // A scanner's digits, with the focus on the pad: they land in the field above, and the PIN stays empty.
    chromium.script("document.querySelector('#pad button').focus()").await;
    chromium.keys("27182").await;
    let landed =
        chromium.script("return [document.getElementById('scanned').value, document.getElementById('pin').value]");
    assert_eq!(landed.await, json!(["27182", ""]));
    chromium.script("document.getElementById('scanned').value = ''").await;
    decide(&chromium, "S-1", "111222").await;
    assert!(chromium.text("#notice").await.contains("the badge or the PIN is wrong"));
    chromium.picture(&output("supervisor.png")).await;
    decide(&chromium, "S-1", PIN).await;
    assert!(chromium.text("#notice").await.contains("Done: Let it go on"), "{}", chromium.text("#notice").await);
    assert!(chromium.text("#content").await.contains("Released by a supervisor"));
    assert!(chromium.text("#content").await.contains("S-1 (through page-1 with the PIN of S-1) let it go on."));

    for wanted in ["SN-1", "SN-1.ca"] {
        chromium.open(&format!("{origin}/find")).await;
        chromium.scan(wanted).await;
        chromium.until("dl").await;
        assert!(chromium.text("#content").await.contains("The story of SN-1"), "{wanted}");
    }
    let serial = chromium.script(
        "return [...document.querySelectorAll('dl div')].find((one) => one.textContent.startsWith('Certificate serial'))
            .querySelector('code').textContent",
    );
    let serial = serial.await.as_str().expect("a certificate serial").to_owned();
    chromium.open(&format!("{origin}/find?wanted={serial}")).await;
    assert!(chromium.text("#content").await.contains("The story of SN-1"), "{serial}");
    assert!(chromium.text("#content").await.contains("B-17"), "who scanned it");
    let written = fs::read_to_string(line.directory().join("devices/SN-1/certificate.pem")).expect("its certificate");
    let downloaded = chromium
        .client
        .execute_async(
            "const done = arguments[0];
             fetch(document.querySelector('a[href$=\"certificate.pem\"]').href).then((one) => one.text()).then(done)",
            Vec::new(),
        )
        .await
        .expect("downloaded");
    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(downloaded.as_str().expect("text")), lines(&written));

    chromium.open(&format!("{origin}/lots")).await;
    assert!(chromium.text("#content").await.contains("1 of 5 done"));
    chromium.open(&format!("{origin}/station")).await;
    let station = chromium.text("#content").await;
    assert!(station.contains("The CA answers") && station.contains("GB") && station.contains("in "), "{station}");
    assert!(station.contains("Demo Device CA") && station.contains("agrees"), "{station}");
    chromium.is_clean(&origin).await;
    line.stop().expect("all ends in order");

    let mut places = vec![directory.path().join("logs"), directory.path().join("journal")];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(&place).expect("listed").map(|entry| entry.expect("an entry").path()));
        } else {
            let octets = fs::read(&place).expect("read");
            let found = octets.windows(PIN.len()).any(|window| window == PIN.as_bytes());
            assert!(!found, "the PIN stands in {}", place.display());
        }
    }
}
