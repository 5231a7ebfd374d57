//! Chromium without a window, driven through its own driver.

use std::fs::File;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_tests::server::{Process, wait_for};
use futures_util::FutureExt;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use thirtyfour::error::WebDriverErrorInner;
use thirtyfour::extensions::query::ElementPollerWithTimeout;
use thirtyfour::prelude::*;

/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the browser is asked for an element that is not there yet.
const EVERY: Duration = Duration::from_millis(50);

/// The driver, which ends its browsers when it ends.
struct Driver {
    process: Process,
    _folder: TempDir,
    url: String,
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
            port.split_once('.').map(|(port, _)| port.to_owned())
        });
        Self { process, _folder: folder, url: format!("http://127.0.0.1:{port}") }
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

/// Runs a test in its own browser, which ends with it.
pub async fn with_browser(base: &str, test: impl AsyncFnOnce(&Browser)) {
    let process = Driver::start();
    let mut wanted = DesiredCapabilities::chrome();
    // The browser opens pages of the tests only.
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] {
        wanted.add_arg(argument).expect("an argument");
    }
    let driver = WebDriver::new(&process.url, wanted).await.expect("chromium starts");
    driver.set_poller(Arc::new(ElementPollerWithTimeout::new(PATIENCE, EVERY)));
    let browser = Browser { driver, base: base.to_owned() };
    let outcome = AssertUnwindSafe(test(&browser)).catch_unwind().await;
    if outcome.is_err() {
        let source = browser.driver.source().await.unwrap_or_default();
        eprintln!("the page at the failure:\n{source}");
    }
    browser.driver.quit().await.expect("the browser ends");
    drop(process);
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

impl Browser {
    /// Opens a page of the service.
    pub async fn open(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base)).await.expect("the page is opened");
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> WebElement {
        let found = self.driver.query(By::Css(css)).first().await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    /// Waits until the page has a text.
    pub async fn sees(&self, text: &str) {
        let path = format!("//body[contains(normalize-space(.), \"{text}\")]");
        let found = self.driver.query(By::XPath(path)).first().await;
        found.unwrap_or_else(|error| panic!("the page does not have {text:?}: {error}"));
    }

    /// The text of the page now.
    pub async fn text(&self) -> String {
        self.find("body").await.text().await.expect("the page has a text")
    }

    /// Clicks on an element. A live update can replace it between two steps: then the new one is
    /// clicked.
    pub async fn click(&self, css: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.find(css).await.click().await {
            let is_replaced = matches!(*error, WebDriverErrorInner::StaleElementReference(_));
            assert!(is_replaced && Instant::now() < deadline, "{css}: {error}");
        }
    }

    /// Follows a link by its text.
    pub async fn follow(&self, text: &str) {
        let found = self.driver.query(By::LinkText(text)).first().await;
        let found = found.unwrap_or_else(|error| panic!("the link {text:?}: {error}"));
        found.click().await.expect("the link can be clicked");
    }

    /// Types a text into an empty field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect("a field");
        field.send_keys(text).await.expect("a text is typed");
    }

    /// The path of the page.
    pub async fn path(&self) -> String {
        self.driver.current_url().await.expect("a page is open").path().to_owned()
    }

    /// Runs a script in the page, which passes its result to `done`.
    pub async fn script(&self, script: &str) -> serde_json::Value {
        let script = format!("const done = arguments[0]; {script}");
        let result = self.driver.execute_async(script, Vec::new()).await;
        result.expect("the script ends").json().clone()
    }

    /// The messages of the browser's console, such as violations of the policy of a page.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.expect("the browser has a log");
        log.into_iter().map(|entry| entry.message).collect()
    }
}
