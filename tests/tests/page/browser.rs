//! Chromium without a window, driven through its own driver.

use std::fs::File;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ff_tests::server::{Process, wait_for};
use futures_util::FutureExt;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::webdriver::{Element, WebDriver};

/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the browser is asked for an element that is not there yet.
const EVERY: Duration = Duration::from_millis(50);

/// The driver, which ends its browsers when it ends.
struct Driver {
    process: Process,
    _folder: TempDir,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("driver.log");
        let log = File::create(&path).expect("the folder can be written to");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", folder.path()).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a file can be shared")).stdout(log);
        let process = Process::start(&mut command).unwrap_or_else(|error| {
            panic!("cannot run chromedriver: {error}; install it with scripts/setup")
        });
        let port = wait_for("the driver of the browser", || {
            let log = std::fs::read_to_string(&path).expect("the log can be read");
            let (_, port) = log.split_once("started successfully on port ")?;
            port.split_once('.')?.0.parse().ok()
        });
        Self { process, _folder: folder, port }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.ended_by(Instant::now() + Duration::from_secs(10));
    }
}

/// A tab of a browser, at a service.
pub struct Browser {
    pub driver: WebDriver,
    pub base: String,
}

/// Runs a test in a new browser, which ends with it.
pub async fn with_browser(base: &str, test: impl AsyncFnOnce(&Browser)) {
    let process = Driver::start();
    // The browser opens pages of the tests only.
    let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
    let driver = WebDriver::begin(process.port, &arguments).await;
    let browser = Browser { driver, base: base.to_owned() };
    let outcome = AssertUnwindSafe(test(&browser)).catch_unwind().await;
    if outcome.is_err() {
        eprintln!("the page at the failure:\n{}", browser.driver.source().await);
    }
    browser.driver.quit().await;
    drop(process);
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

impl Browser {
    /// Opens a page of the service.
    pub async fn open(&self, path: &str) {
        self.driver.goto(&format!("{}{path}", self.base)).await;
    }

    /// Waits for an element.
    async fn wait_for(&self, using: &str, value: &str) -> Element {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.driver.find(using, value).await {
                Ok(found) => return found,
                Err(error) => assert!(Instant::now() < deadline, "{value}: {error}"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> Element {
        self.wait_for("css selector", css).await
    }

    /// Waits until the page has a text.
    pub async fn sees(&self, text: &str) {
        let path = format!("//body[contains(normalize-space(.), \"{text}\")]");
        self.wait_for("xpath", &path).await;
    }

    /// The text of the page now.
    pub async fn text(&self) -> String {
        let body = self.find("body").await;
        self.driver.text(&body).await.expect("the page has a text")
    }

    /// Clicks on an element. A live update can replace it between two steps: then the new one is
    /// clicked.
    pub async fn click(&self, css: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.find(css).await;
            let Err(error) = self.driver.click(&element).await else { return };
            let is_replaced = error.kind == "stale element reference";
            assert!(is_replaced && Instant::now() < deadline, "{css}: {error}");
        }
    }

    /// Follows a link by its text.
    pub async fn follow(&self, text: &str) {
        let link = self.wait_for("link text", text).await;
        self.driver.click(&link).await.expect("the link can be clicked");
    }

    /// Types a text into an empty field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        self.driver.fill(&field, text).await.expect("a text is typed");
    }

    /// The path of the page.
    pub async fn path(&self) -> String {
        let url = self.driver.url().await;
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        format!("/{}", path.split(['?', '#']).next().unwrap_or_default())
    }

    /// Runs a script in the page, which passes its result to `done`.
    pub async fn script(&self, script: &str) -> serde_json::Value {
        self.driver.script(&format!("const done = arguments[0]; {script}")).await
    }

    /// The messages of the browser's console, such as violations of the policy of a page.
    pub async fn complaints(&self) -> Vec<String> {
        self.driver.console().await
    }
}
