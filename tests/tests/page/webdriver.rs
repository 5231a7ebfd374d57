//! The few calls of the WebDriver protocol that the tests make. The libraries for it change the
//! features of `serde_json` for the whole workspace, and with them the order of fields in JSON.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// The name of an element's id in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A session of a browser.
pub struct WebDriver {
    port: u16,
    session: String,
}

/// An error of the driver.
#[derive(Debug)]
pub struct DriverError {
    /// Its kind, such as `no such element`.
    pub kind: String,
    pub message: String,
}

impl std::fmt::Display for DriverError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

type Answer<T> = Result<T, DriverError>;

/// An element of a page.
pub struct Element(String);

impl WebDriver {
    /// Begins a session of Chromium with these arguments.
    pub async fn begin(port: u16, arguments: &[&str]) -> Self {
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let begun = call(port, "POST", "/session", wanted).await.expect("chromium starts");
        let session = begun["sessionId"].as_str().expect("a session").to_owned();
        Self { port, session }
    }

    async fn get(&self, path: &str) -> Answer<Value> {
        let path = format!("/session/{}{path}", self.session);
        call(self.port, "GET", &path, Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer<Value> {
        let path = format!("/session/{}{path}", self.session);
        call(self.port, "POST", &path, body).await
    }

    /// Opens a page.
    pub async fn goto(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await.expect("the page is opened");
    }

    /// The URL of the page.
    pub async fn url(&self) -> String {
        text(&self.get("/url").await.expect("a page is open"))
    }

    /// The source of the page.
    pub async fn source(&self) -> String {
        self.get("/source").await.map_or_else(|error| error.to_string(), |source| text(&source))
    }

    /// Finds an element by `css selector`, `xpath` or `link text`.
    pub async fn find(&self, using: &str, value: &str) -> Answer<Element> {
        let found = self.post("/element", json!({ "using": using, "value": value })).await?;
        Ok(Element(text(&found[ELEMENT])))
    }

    /// Clicks on an element.
    pub async fn click(&self, element: &Element) -> Answer<()> {
        self.post(&format!("/element/{}/click", element.0), json!({})).await.map(drop)
    }

    /// Replaces the text of a field.
    pub async fn fill(&self, element: &Element, value: &str) -> Answer<()> {
        self.post(&format!("/element/{}/clear", element.0), json!({})).await?;
        let keys = json!({ "text": value });
        self.post(&format!("/element/{}/value", element.0), keys).await.map(drop)
    }

    /// The text of an element, as it is shown.
    pub async fn text(&self, element: &Element) -> Answer<String> {
        Ok(text(&self.get(&format!("/element/{}/text", element.0)).await?))
    }

    /// Runs a script, which passes its result to its last argument.
    pub async fn script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.post("/execute/async", body).await.expect("the script ends")
    }

    /// The messages of the console since the last call.
    pub async fn console(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        let log = log.expect("the browser has a log");
        let entries = log.as_array().into_iter().flatten();
        entries.map(|entry| text(&entry["message"])).collect()
    }

    /// The values of all cookies.
    pub async fn cookies(&self) -> Vec<String> {
        let cookies = self.get("/cookie").await.expect("the browser has cookies");
        cookies.as_array().into_iter().flatten().map(|cookie| text(&cookie["value"])).collect()
    }

    /// A picture of the window, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let encoded = text(&self.get("/screenshot").await.expect("a picture"));
        BASE64_STANDARD.decode(encoded).expect("base64")
    }

    /// Sets the size of the window.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "x": 0, "y": 0, "width": width, "height": height });
        self.post("/window/rect", size).await.expect("a size");
    }

    /// Sends a command of the browser's own protocol.
    pub async fn command(&self, name: &str, parameters: Value) {
        let body = json!({ "cmd": name, "params": parameters });
        self.post("/goog/cdp/execute", body).await.expect("the browser knows the command");
    }

    /// Ends the browser.
    pub async fn quit(self) {
        let path = format!("/session/{}", self.session);
        call(self.port, "DELETE", &path, Value::Null).await.expect("the browser ends");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Makes a call to the driver, and returns its value.
async fn call(port: u16, method: &'static str, path: &str, body: Value) -> Answer<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the driver listens");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        answer(BufReader::new(stream)).expect("an answer of HTTP")
    });
    let (status, body) = answer.await.expect("the call ends");
    let value: Value = serde_json::from_slice(&body).expect("an answer in JSON");
    let value = value["value"].clone();
    match &*status {
        "200" => Ok(value),
        _ => Err(DriverError { kind: text(&value["error"]), message: text(&value["message"]) }),
    }
}

/// Reads an answer: its status and its body. The driver keeps the connection open.
fn answer(mut stream: impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        status = status.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status.unwrap_or_default(), body))
}
