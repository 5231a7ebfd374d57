//! A service in this process, with a store in memory.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::{
    ClaimedTask, Client, EngineBackend, ExecutionId, FlowFabricWorker, MemoryBackend, Submission,
    WorkerConfig,
};
use ff_server::{NewToken, Role, Server, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A service that runs.
pub struct Service {
    pub backend: Arc<dyn EngineBackend>,
    pub address: SocketAddr,
    settings: Settings,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Service {
    /// A service without tokens.
    pub async fn start() -> Self {
        Self::on(Arc::new(MemoryBackend::new())).await
    }

    /// A service over a store.
    pub async fn on(backend: Arc<dyn EngineBackend>) -> Self {
        Self::with(backend, Settings::default()).await
    }

    /// A service with the tokens of a file.
    pub async fn with_tokens(path: &Path) -> Self {
        let mut settings = Settings::default();
        settings.tokens = Some(path.to_owned());
        Self::with(Arc::new(MemoryBackend::new()), settings).await
    }

    async fn with(backend: Arc<dyn EngineBackend>, settings: Settings) -> Self {
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut service = Self { backend, address, settings, running: None };
        service.run().await;
        service
    }

    /// Starts it, on its address from before.
    pub async fn run(&mut self) {
        let (backend, settings) = (self.backend.clone(), self.settings.clone());
        let server = Server::bind(self.address, backend, settings).await;
        let server = server.expect("the service starts");
        self.address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run_until(async {
            stopped.await.ok();
        }));
        self.running = Some((stop, task));
    }

    /// Stops it.
    pub async fn stop(&mut self) {
        let (stop, task) = self.running.take().expect("it runs");
        stop.send(()).expect("it waits for this");
        task.await.expect("it ends");
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn client(&self, namespace: &str) -> Client {
        Client::connect_with(self.backend.clone(), namespace).await.expect("a client")
    }

    /// A worker for all kinds of a lane.
    pub async fn worker(&self, name: &str, lane: &str) -> FlowFabricWorker {
        let config = WorkerConfig::builder(name, "ff").instance(name).lanes([lane]).build();
        let config = config.expect("a worker");
        let worker = FlowFabricWorker::connect_with(config, self.backend.clone(), None).await;
        worker.expect("a worker")
    }

    /// Sends a request as a program does, and returns the status and the body.
    pub async fn call(&self, call: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request = format!("{call} HTTP/1.1\r\nconnection: close\r\n");
        let mut add = |name: &str, value: &str| request += &format!("{name}: {value}\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            add("host", &self.address.to_string());
        }
        headers.iter().for_each(|(name, value)| add(name, value));
        add("content-length", &body.len().to_string());
        let (request, address) = (format!("{request}\r\n{body}"), self.address);
        let reply = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).expect("the service listens");
            stream.write_all(request.as_bytes()).expect("the request is sent");
            let mut reply = String::new();
            stream.read_to_string(&mut reply).expect("an answer");
            reply
        });
        let reply = reply.await.expect("the call ends");
        let status = reply.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, reply)
    }
}

/// Submits an execution.
pub async fn submit(client: &Client, submission: Submission) -> ExecutionId {
    client.submit(submission).await.expect("it is submitted").id()
}

/// Claims an execution that waits.
pub async fn claim(worker: &FlowFabricWorker) -> ClaimedTask {
    let claimed = async {
        loop {
            if let Some(task) = worker.claim_next().await.expect("the store answers") {
                return task;
            }
            worker.wait_for_work().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), claimed).await.expect("an execution waits")
}

/// Writes output.
pub async fn write(task: &ClaimedTask, text: &str) {
    task.append_frame("log", text, BTreeMap::new()).await.expect("the output is written");
}

/// Makes a token, and adds it to a file.
pub fn add_token(path: &Path, seed: u8, role: Role, namespace: &str) -> String {
    let name = format!("{}-{seed}", role.name());
    let token = NewToken::new([seed; 32], &name, role, &[namespace.to_owned()], None);
    let token = token.expect("a token");
    let before = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, format!("{before}\n{}", token.entry())).expect("the file is written");
    token.token
}
