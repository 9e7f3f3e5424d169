//! The page on a real line: devices, CA and station are processes of their own.

use std::{fs, path::Path};

use line::{Line, Options};
use proto::station::v1::OpenLotRequest;

use crate::chromium::{Chromium, Size, output};

/// Records what each tile says, for states that are over before a test could ask.
const RECORD: &str = r#"
    window.said = [];
    new MutationObserver(() => {
      for (const tile of document.querySelectorAll(".tile")) {
        const words = tile.querySelector(".fixture").textContent + " " + tile.dataset.kind;
        if (!window.said.includes(words)) window.said.push(words);
      }
    }).observe(document.getElementById("tiles"), { childList: true, subtree: true });
"#;

/// An operator's hour: two devices are scanned and shipped, a wrong barcode is refused, the CA goes away, the next
/// device waits, the CA comes back, and that device is done without another scan.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_devices_from_scan_to_ship_it() {
    let mut line = Line::start(Options::default()).await.expect("a line");
    let lot = OpenLotRequest { lot: "LOT-2026-118".into(), profile: "device-ca".into(), quantity: 10 };
    line.mes().expect("a client").open_lot(lot).await.expect("a lot");
    let origin = line.page_url().expect("a page");
    let chromium = Chromium::start().await;
    chromium.resize(Size(1280, 720)).await;
    chromium.open(&origin).await;
    chromium.until("#tile-fixture-4[data-kind=ready]").await;
    assert!(chromium.text("#lots").await.contains("0 of 10 done"));
    chromium.script(RECORD).await;

    for (fixture, serial) in [("fixture-1", "SN-2026-000118"), ("fixture-3", "SN-2026-000119")] {
        chromium.scan(&format!("fixture:{fixture}")).await;
        chromium.until(&format!("input[value={fixture}]:checked")).await;
        chromium.scan(serial).await;
        chromium.until(&format!("#tile-{fixture}[data-kind=ship-it]")).await;
        let tile = chromium.text(&format!("#tile-{fixture}")).await;
        assert!(tile.contains("Ship it") && tile.contains(serial) && tile.contains(&format!("{serial}.ca")), "{tile}");
        let said = chromium.script("return window.said").await;
        let said: Vec<&str> = said.as_array().expect("words").iter().filter_map(|words| words.as_str()).collect();
        let place = |kind: &str| said.iter().position(|words| *words == format!("{fixture} {kind}"));
        assert!(place("working").expect("it was seen working") < place("ship-it").expect("it was seen done"));
        for other in ["waits", "scan-again", "stopped", "set-aside", "unknown"] {
            assert_eq!(place(other), None, "a good run is calm: {said:?}");
        }
    }
    chromium.until("#lots progress[value='2']").await;

    // The station checks the serial; its words stand beside what was scanned, until the next scan.
    chromium.scan("fixture:fixture-2").await;
    chromium.until("input[value=fixture-2]:checked").await;
    chromium.scan("SN 2026").await;
    chromium.until(".notice.bad").await;
    let notice = chromium.text("#notice").await;
    assert!(
        notice.contains("SN 2026") && notice.contains("Not started") && notice.contains("device_serial"),
        "{notice}"
    );
    chromium.picture(&output("refused.png")).await;

    line.stop_ca().expect("the CA stops");
    chromium.scan("SN-2026-000120").await;
    chromium.until("#tile-fixture-2[data-kind=waits]").await;
    chromium.until(".alert.away").await;
    assert!(chromium.text("#alerts").await.contains("1 device waits"));
    chromium.until(".notice.good").await;
    let picture = output("page.png");
    chromium.picture(&picture).await;
    if std::env::var_os("UPDATE_PICTURES").is_some_and(|wanted| wanted == "1") {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../station-ui/pictures/page.png");
        fs::create_dir_all(kept.parent().expect("a directory")).expect("a directory");
        fs::copy(picture, kept).expect("kept");
    }

    line.start_ca().await.expect("the CA is back");
    chromium.until("#tile-fixture-2[data-kind=ship-it]").await;
    chromium.until("#alerts:not(:has(.away))").await;
    chromium.is_clean(&origin).await;

    // The station goes and comes back under the page.
    line.kill_station().expect("killed");
    chromium.until("#tile-fixture-2.stale").await;
    line.start_station().await.expect("the station is back");
    chromium.until("#station[data-link=live]").await;
    line.stop().expect("all ends in order");
}
