//! The service in this process, and a client that checks each answer against the document.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use ff_sdk::{EngineBackend, MemoryBackend};
use ff_server::{NewToken, Role, Server, Settings};
use ff_tests::watchdog::Watchdog;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The namespace of the tests.
pub const NAMESPACE: &str = "demo";

/// The document of the routes.
pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(ff_server::document()).expect("the document is JSON"));

/// A running service.
pub struct Service {
    pub address: SocketAddr,
    tokens: BTreeMap<&'static str, String>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
    _watchdog: Watchdog,
}

impl Service {
    /// A service with a new store in memory.
    pub async fn start() -> Self {
        Self::on(Arc::new(MemoryBackend::new()), |_| {}).await
    }

    /// A service with this store and these settings. It has a token for each role in [`NAMESPACE`],
    /// `root` for all namespaces, `other` for another namespace, and `slow` with a limit.
    pub async fn on(backend: Arc<dyn EngineBackend>, set_up: impl FnOnce(&mut Settings)) -> Self {
        let _watchdog = Watchdog::start();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let (mut tokens, mut file) = (BTreeMap::new(), String::new());
        let one = NonZeroU32::new(1);
        for (number, (name, role, namespace, per_second)) in [
            ("submit", Role::Submit, NAMESPACE, None),
            ("work", Role::Work, NAMESPACE, None),
            ("operate", Role::Operate, NAMESPACE, None),
            ("admin", Role::Admin, NAMESPACE, None),
            ("root", Role::Admin, "*", None),
            ("other", Role::Admin, "other", None),
            ("slow", Role::Admin, NAMESPACE, one),
        ]
        .into_iter()
        .enumerate()
        {
            let random = [u8::try_from(number).expect("few tokens"); 32];
            let token = NewToken::new(random, name, role, &[namespace.to_owned()], per_second);
            let token = token.expect("a valid token");
            file.push_str(&token.entry());
            tokens.insert(name, token.token);
        }
        std::fs::write(&path, file).expect("the file of tokens is written");
        let mut settings = Settings::default();
        settings.tokens = Some(path);
        set_up(&mut settings);
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(address, backend, settings).await.expect("the service starts");
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run_until(async { stopped.await.unwrap_or_default() }));
        Self { address, tokens, stop: Some(stop), running, _folder: folder, _watchdog }
    }

    /// Requests shutdown.
    pub fn request_stop(&mut self) {
        let stop = self.stop.take().expect("it is stopped once");
        stop.send(()).expect("the service runs");
    }

    /// Waits until the service has ended.
    pub async fn ended(self) {
        self.running.await.expect("the service does not panic");
    }

    /// Stops the service, and waits until it has ended.
    pub async fn stop(mut self) {
        self.request_stop();
        self.ended().await;
    }

    /// A call of a route, such as `GET /v1/executions/{id}`, with the token `root`.
    pub fn call(&self, route: &str) -> Call {
        let (method, template) = route.split_once(' ').expect("METHOD PATH");
        Call {
            address: self.address,
            tokens: self.tokens.clone(),
            method: method.to_owned(),
            template: template.to_owned(),
            path: template.to_owned(),
            query: vec![format!("namespace={NAMESPACE}")],
            headers: BTreeMap::new(),
            body: None,
        }
        .token("root")
    }

    /// Calls a route with a body, and returns the body of the answer, which is a success.
    #[track_caller]
    pub fn done(&self, call: Call) -> impl Future<Output = Value> + use<> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = call.send().await;
            assert!(answer.status < 300, "{caller}: {} {}", answer.status, answer.text);
            answer.json
        }
    }

    /// Submits an execution to this lane, and returns its id in the form for URLs.
    pub async fn submit(&self, lane: &str) -> String {
        let body = json!({"kind": "work", "lane": lane, "payload": {"n": 1}});
        let made = self.done(self.call("POST /v1/executions").body(body)).await;
        made["url_id"].as_str().expect("an id").to_owned()
    }

    /// Claims an execution of this lane.
    pub async fn claim(&self, lane: &str) -> Held {
        let body = json!({"instance": "w-1", "lanes": [lane], "wait_ms": 30_000});
        let call = self.call("POST /v1/workers/{worker}/claims").path("worker", "w").body(body);
        let mut claims = self.done(call).await;
        Held(claims["tasks"][0].take())
    }

    /// Submits an execution, and claims it.
    pub async fn held(&self, lane: &str) -> Held {
        self.submit(lane).await;
        self.claim(lane).await
    }

    /// A call about a lease, with its fence and these fields.
    pub fn by_holder(&self, held: &Held, action: &str, fields: Value) -> Call {
        let call = self.call(&format!("POST /v1/leases/{{lease_id}}/{action}"));
        call.path("lease_id", held.lease()).body(held.fenced(fields))
    }

    /// The state of an execution, in one word.
    pub async fn state(&self, id: &str) -> String {
        let call = self.call("GET /v1/executions/{id}/state").path("id", id);
        let state = self.done(call).await;
        state["state"]["public_state"].as_str().expect("a state").to_owned()
    }
}

/// An execution that is held by a worker, as the answer to its claim has it.
#[derive(Clone, Debug)]
pub struct Held(pub Value);

impl Held {
    pub fn id(&self) -> &str {
        self.0["execution_id"].as_str().expect("an id")
    }

    pub fn lease(&self) -> &str {
        self.0["lease_id"].as_str().expect("a lease")
    }

    /// These fields with the fence of the lease.
    pub fn fenced(&self, mut fields: Value) -> Value {
        for name in ["execution_id", "lease_epoch", "attempt_id"] {
            fields[name] = self.0[name].clone();
        }
        fields
    }
}

/// A call of a route.
#[derive(Clone, Debug)]
pub struct Call {
    address: SocketAddr,
    tokens: BTreeMap<&'static str, String>,
    pub method: String,
    pub template: String,
    path: String,
    query: Vec<String>,
    headers: BTreeMap<&'static str, String>,
    pub body: Option<Vec<u8>>,
}

impl Call {
    /// Fills a part of the path, percent-encoded.
    pub fn path(self, name: &str, value: &str) -> Self {
        let encode = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        };
        let encoded: String = value.bytes().map(encode).collect();
        self.raw_path(name, &encoded)
    }

    /// Fills a part of the path with text that is encoded already.
    pub fn raw_path(self, name: &str, encoded: &str) -> Self {
        let path = self.path.replace(&format!("{{{name}}}"), encoded);
        Self { path, ..self }
    }

    /// Whether the path has this part.
    pub fn has(&self, name: &str) -> bool {
        self.template.contains(&format!("{{{name}}}"))
    }

    /// The same call with another value in its path.
    pub fn replaced(&self, name: &str, encoded: &str) -> Self {
        let part = format!("{{{name}}}");
        let both = self.template.split('/').zip(self.path.split('/'));
        let parts = both.map(|(of, now)| if of == part { encoded } else { now });
        Self { path: parts.collect::<Vec<_>>().join("/"), ..self.clone() }
    }

    pub fn query(mut self, query: &str) -> Self {
        self.query.push(query.to_owned());
        self
    }

    /// Without the namespace in the query.
    pub fn without_namespace(mut self) -> Self {
        self.query.retain(|part| !part.starts_with("namespace="));
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.to_owned());
        self
    }

    /// With the token of this name.
    pub fn token(self, name: &str) -> Self {
        let token = format!("Bearer {}", self.tokens[name]);
        self.header("authorization", &token)
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub fn body(self, body: Value) -> Self {
        self.bytes(body.to_string()).header("content-type", "application/json")
    }

    pub fn bytes(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// With another method, which the route does not have.
    pub fn method(self, method: &str) -> Self {
        Self { method: method.to_owned(), ..self }
    }

    /// Sends the call, and returns its answer without waiting for the body.
    pub async fn open(&self) -> Response<Body> {
        let stream = TcpStream::connect(self.address).await.expect("the service listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        // It ends with the body of the answer. If this future is dropped, so is the sender.
        tokio::spawn(connection);
        let uri = match self.query.is_empty() {
            true => self.path.clone(),
            false => format!("{}?{}", self.path, self.query.join("&")),
        };
        let mut request = Request::builder().method(&*self.method).uri(uri).header("host", "test");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = self.body.clone().map_or_else(Body::empty, Body::from);
        let response = sender.send_request(request.body(body).expect("a request")).await;
        response.expect("an answer").map(Body::new)
    }

    /// Sends the call, and checks its answer. The body of one that follows something is not read.
    pub async fn send(&self) -> Answer {
        let response = self.open().await;
        let (head, body) = response.into_parts();
        let content = head.headers.get("content-type").map(|value| value.to_str().expect("text"));
        let content = content.map(str::to_owned);
        let bytes = match content.as_deref() {
            Some("text/event-stream") => Default::default(),
            _ => to_bytes(body, usize::MAX).await.expect("a body"),
        };
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let json = serde_json::from_str(&text).unwrap_or_default();
        let answer =
            Answer { status: head.status.as_u16(), headers: head.headers, content, text, json };
        answer.check(self);
        answer
    }

    /// Sends the call, which is refused with this status and kind.
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str) -> impl Future<Output = Answer> {
        let (caller, kind) = (std::panic::Location::caller(), kind.to_owned());
        async move {
            let answer = self.send().await;
            let found = answer.json["error"]["kind"].as_str().unwrap_or("none");
            let shown = format!("{caller}: {} {}: {}", self.method, self.path, answer.text);
            assert_eq!((answer.status, found), (status, &*kind), "{shown}");
            answer
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    content: Option<String>,
    pub text: String,
    pub json: Value,
}

impl Answer {
    /// Checks the answer against the description of its route, if the route has this method.
    fn check(&self, call: &Call) {
        let shown = format!("{} {}: {} {}", call.method, call.path, self.status, self.text);
        let id = self.headers["x-request-id"].to_str().expect("text");
        assert!(Uuid::parse_str(id).is_ok(), "{shown}");
        if self.status >= 400 {
            fits(&json!({"$ref": "#/components/schemas/Problem"}), &self.json, &shown);
            let error = self.json["error"].as_object().expect("an object");
            assert!(error.len() <= 4 && error["kind"] != "bug", "{shown}");
        }
        let operation = &DOCUMENT["paths"][&call.template][call.method.to_lowercase()];
        if operation.is_null() {
            return;
        }
        let response = &operation["responses"][self.status.to_string()];
        assert!(response.is_object(), "the status is not declared: {shown}");
        match response["content"].as_object() {
            None => assert_eq!((self.content.as_ref(), &*self.text), (None, ""), "{shown}"),
            Some(contents) => {
                let content = self.content.as_ref().unwrap_or_else(|| panic!("no type: {shown}"));
                let described = contents.get(content).unwrap_or_else(|| panic!("{shown}"));
                if content == "application/json" {
                    fits(&described["schema"], &self.json, &shown);
                }
            }
        }
    }
}

/// Checks a value against the parts of a schema that the document uses.
fn fits(schema: &Value, value: &Value, shown: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        let schema = DOCUMENT.pointer(pointer).expect("the reference leads somewhere");
        return fits(schema, value, shown);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        kind => panic!("the type {kind}"),
    };
    assert!(types.is_empty() || types.iter().any(is), "{value} is not {types:?}: {shown}");
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        assert!(value.get(name).is_some(), "{name} is missing: {shown}");
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            fits(schema, value, shown);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(&schema["items"], item, shown);
    }
}
