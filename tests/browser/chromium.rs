//! Headless Chromium under a real chromedriver, each with directories of its own that go with it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use hsm_sim::child;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A page answers within milliseconds; two busy cores may need more.
const SOON: Duration = Duration::from_secs(30);

/// What keeps Chromium from asking anybody anything but the page.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A running browser. Ended on drop, with all its processes.
pub(crate) struct Chromium {
    pub(crate) client: Client,
    driver: Child,
    profile: TempDir,
}

/// The sizes that operators have: a small touch panel, an ordinary screen, 4K.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub(crate) u32, pub(crate) u32);

pub(crate) const SIZES: [Size; 3] = [Size(1024, 600), Size(1920, 1080), Size(3840, 2160)];

impl Chromium {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Its own temporary files as well go into the directory that goes with us.
        command.env("TMPDIR", profile.path());
        let mut driver = child::spawn(command).expect("chromedriver starts: install chromium-driver");
        let port = port(&mut driver);
        let arguments: Vec<String> = FLAGS
            .iter()
            .map(|flag| (*flag).to_owned())
            .chain([format!("--user-data-dir={}", profile.path().join("profile").display())])
            .collect();
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session");
        let chromium = Self { client, driver, profile };
        // Chromium's own first tab asks for files of its own.
        chromium.client.goto("about:blank").await.expect("an empty page");
        for log in ["browser", "performance"] {
            chromium.command("se/log", json!({ "type": log })).await;
        }
        chromium
    }

    /// Opens a page and waits until it is live.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page");
        self.until("html[data-page=live]").await;
    }

    /// Waits for an element that matches `selector`.
    pub(crate) async fn until(&self, selector: &str) {
        let found = self.client.wait().at_most(SOON).for_element(Locator::Css(selector)).await;
        if let Err(error) = found {
            let page = self.script("return document.body.innerText").await;
            panic!("`{selector}` did not come: {error}\n{page}");
        }
    }

    /// The text of the one element that matches.
    pub(crate) async fn text(&self, selector: &str) -> String {
        // In one step: the page replaces its parts at any time.
        let script = format!("return document.querySelector({})?.innerText", json!(selector));
        self.script(&script).await.as_str().expect(selector).to_owned()
    }

    /// Types as a scanner does: to whatever has the focus, and Enter at the end.
    pub(crate) async fn scan(&self, text: &str) {
        self.keys(&format!("{text}\u{E007}")).await;
    }

    /// Types to whatever has the focus.
    pub(crate) async fn keys(&self, text: &str) {
        self.client.active_element().await.expect("focus").send_keys(text).await.expect("keys");
    }

    pub(crate) async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect(script)
    }

    pub(crate) async fn resize(&self, Size(width, height): Size) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command("goog/cdp/execute", body).await;
    }

    /// How much of the processor the page's main thread took so far, seconds.
    pub(crate) async fn busy_seconds(&self) -> f64 {
        let domain = json!({ "cmd": "Performance.enable", "params": { "timeDomain": "threadTicks" } });
        self.command("goog/cdp/execute", domain).await;
        let body = json!({ "cmd": "Performance.getMetrics", "params": {} });
        let metrics = self.command("goog/cdp/execute", body).await;
        let all = metrics["metrics"].as_array().expect("metrics").clone();
        let task = all.iter().find(|metric| metric["name"] == "TaskDuration").expect("TaskDuration");
        task["value"].as_f64().expect("a number")
    }

    /// From the next page on, none of the page's scripts run.
    pub(crate) async fn scripts_off(&self) {
        let body = json!({ "cmd": "Emulation.setScriptExecutionDisabled", "params": { "value": true } });
        self.command("goog/cdp/execute", body).await;
    }

    /// Writes what is on the screen as PNG, once its fonts and sizes stand.
    pub(crate) async fn picture(&self, file: &Path) {
        self.script("return document.fonts.ready.then(() => new Promise(requestAnimationFrame))").await;
        let picture = self.client.screenshot().await.expect("a picture");
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, picture).expect("written");
    }

    /// Fails when the browser complained of anything, or asked anybody but `origin`, since the last call.
    pub(crate) async fn is_clean(&self, origin: &str) {
        let complaints = self.command("se/log", json!({ "type": "browser" })).await;
        assert_eq!(complaints, json!([]), "the console is silent");
        let network = self.command("se/log", json!({ "type": "performance" })).await;
        let mut asked = Vec::new();
        for entry in network.as_array().expect("entries") {
            let message: Value = serde_json::from_str(entry["message"].as_str().expect("text")).expect("JSON");
            if message["message"]["method"] == "Network.requestWillBeSent" {
                asked.extend(message["message"]["params"]["request"]["url"].as_str().map(str::to_owned));
            }
        }
        assert!(!asked.is_empty(), "the log holds requests");
        let foreign: Vec<_> = asked.iter().filter(|url| !url.starts_with(&format!("{origin}/"))).collect();
        assert!(foreign.is_empty(), "asked others: {foreign:?}");
    }

    async fn command(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Extension { path, body }).await.expect(path)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = child::kill_group(&mut self.driver);
        // Chromium leads groups of its own; what names our directory is ours.
        let ours = self.profile.path().to_string_lossy().into_owned();
        let end = Instant::now() + SOON;
        loop {
            let left = processes_naming(&ours);
            if left.is_empty() || Instant::now() > end {
                break;
            }
            for pid in left {
                let _ = child::end_process(pid, Duration::ZERO);
            }
        }
    }
}

fn processes_naming(text: &str) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

/// What chromedriver says once it listens.
fn port(driver: &mut Child) -> u16 {
    let said = BufReader::new(driver.stdout.take().expect("its output"));
    let line = said.lines().map_while(Result::ok).find_map(|line| {
        line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
    });
    line.expect("chromedriver says its port").parse().expect("a port")
}

/// A command of chromedriver's own.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// Where pictures go that nobody keeps.
pub(crate) fn output(name: &str) -> PathBuf {
    target().join("browser").join(name)
}

/// The target directory, wherever cargo put it.
pub(crate) fn target() -> PathBuf {
    let this_test = std::env::current_exe().expect("this test");
    this_test.ancestors().nth(3).expect("target/debug/deps/browser").to_owned()
}
