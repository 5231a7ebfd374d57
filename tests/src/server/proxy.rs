//! A proxy on loopback that injects network faults.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::spoiler::{Spoilage, Spoiler};

/// A fault of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// None.
    Pass,
    /// New connections are closed immediately.
    Refuse,
    /// Every piece of a request and of a reply is delayed by this time.
    Delay(Duration),
    /// Requests arrive and are applied, and their replies are lost. A connection that lost a reply
    /// either closes, or stays open and delivers no other: no network loses the middle of a
    /// connection.
    Swallow {
        /// Whether the connection closes.
        close: bool,
    },
    /// The next reply is cut in its middle, and the connection closed.
    CutReply,
    /// The next request is cut in its middle, and the connection closed.
    CutRequest,
    /// Requests wait until there is another fault or none. What the server sends passes.
    HoldRequests,
    /// One reply of eight is spoilt, and the connection stays open.
    Spoil(Spoilage),
}

/// A proxy between clients and one server. It ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    control: Option<watch::Sender<Control>>,
    effects: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Control {
    fault: ProxyFault,
    /// The server of new connections.
    server: SocketAddr,
    /// Connections of an older generation are closed.
    generation: u64,
}

impl Proxy {
    /// Starts a proxy to a server, such as `127.0.0.1:6379`, without a fault.
    ///
    /// # Panics
    ///
    /// When the address is invalid or no port is free.
    pub fn before(server: &str) -> Self {
        let server: SocketAddr = server.parse().expect("an address with a port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (control, seen) =
            watch::channel(Control { fault: ProxyFault::Pass, server, generation: 0 });
        let effects = Arc::new(AtomicU64::new(0));
        let shared = Shared { control: seen, effects: effects.clone() };
        // In its own thread, so that tests that block and tests with paused time can both use it.
        let thread = std::thread::spawn(move || runtime.block_on(accept(listener, shared)));
        Self { address, control: Some(control), effects, thread: Some(thread) }
    }

    /// Its store URL.
    pub fn url(&self) -> String {
        format!("valkey://{}", self.address)
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets the fault of all connections from now on.
    pub fn set(&self, fault: ProxyFault) {
        self.change(|control| control.fault = fault);
    }

    /// Forwards new connections to another server, like a name that gets another address. The
    /// connections of before stay where they are.
    ///
    /// # Panics
    ///
    /// When the address is invalid.
    pub fn point_to(&self, server: &str) {
        let server = server.parse().expect("an address with a port");
        self.change(|control| control.server = server);
    }

    /// Closes all connections.
    pub fn drop_connections(&self) {
        self.change(|control| control.generation += 1);
    }

    /// The number of effects so far: connections dropped, refused or cut, replies swallowed, and
    /// pieces delayed or held.
    pub fn effects(&self) -> u64 {
        self.effects.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Control)) {
        if let Some(control) = &self.control {
            control.send_modify(change);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // All tasks of the thread end when the control is dropped.
        self.control = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The state that all connections share.
#[derive(Clone)]
struct Shared {
    control: watch::Receiver<Control>,
    effects: Arc<AtomicU64>,
}

impl Shared {
    fn fault(&self) -> ProxyFault {
        self.control.borrow().fault
    }

    fn count_effect(&self) {
        self.effects.fetch_add(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    let mut control = shared.control.clone();
    loop {
        tokio::select! {
            biased;
            changed = control.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if shared.fault() == ProxyFault::Refuse {
                    shared.count_effect();
                } else {
                    tokio::spawn(forward(client, shared.clone()));
                }
            }
        }
    }
}

/// Forwards one connection; both its ends close when this returns.
async fn forward(client: TcpStream, shared: Shared) {
    let Control { generation, server, .. } = *shared.control.borrow();
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Small requests are sent immediately, as without a proxy.
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::select! {
        biased;
        () = closed(shared.clone(), generation) => {}
        _ = requests(client_reads, server_writes, shared.clone()) => {}
        _ = replies(server_reads, client_writes, shared.clone()) => {}
    }
}

async fn closed(mut shared: Shared, generation: u64) {
    let newer = shared.control.wait_for(|control| control.generation > generation).await;
    if newer.is_ok() {
        shared.effects.fetch_add(1, Ordering::Relaxed);
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        match shared.fault() {
            ProxyFault::CutRequest => {
                shared.count_effect();
                return to.write_all(&buffer[..count / 2]).await;
            }
            ProxyFault::Delay(delay) => {
                shared.count_effect();
                tokio::time::sleep(delay).await;
            }
            ProxyFault::HoldRequests => {
                shared.count_effect();
                let mut control = shared.control.clone();
                let is_over = |control: &Control| control.fault != ProxyFault::HoldRequests;
                let _ = control.wait_for(is_over).await;
            }
            ProxyFault::Pass
            | ProxyFault::Refuse
            | ProxyFault::Swallow { .. }
            | ProxyFault::Spoil(_)
            | ProxyFault::CutReply => {}
        }
        to.write_all(&buffer[..count]).await?;
    }
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1_024];
    let mut has_lost = false;
    let mut spoiler = Spoiler::default();
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let fault = shared.fault();
        if matches!(fault, ProxyFault::Spoil(_)) || spoiler.is_inside() {
            let spoilage =
                if let ProxyFault::Spoil(spoilage) = fault { Some(spoilage) } else { None };
            let (bytes, spoilt) = spoiler.pass(&buffer[..count], spoilage);
            shared.effects.fetch_add(spoilt, Ordering::Relaxed);
            to.write_all(&bytes).await?;
            continue;
        }
        match fault {
            _ if has_lost => continue,
            ProxyFault::Swallow { close } => {
                shared.count_effect();
                if close {
                    return Ok(());
                }
                has_lost = true;
                continue;
            }
            ProxyFault::CutReply => {
                shared.count_effect();
                return to.write_all(&buffer[..count / 2]).await;
            }
            ProxyFault::Delay(delay) => {
                shared.count_effect();
                tokio::time::sleep(delay).await;
            }
            ProxyFault::Pass
            | ProxyFault::Refuse
            | ProxyFault::CutRequest
            | ProxyFault::HoldRequests
            | ProxyFault::Spoil(_) => {}
        }
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Server, text, wait_for};
    use redis::{RedisResult, Value};
    use std::time::Instant;

    /// A connection through the proxy that gives up after a second.
    fn connect(proxy: &Proxy) -> RedisResult<redis::Connection> {
        let client = redis::Client::open(format!("redis://{}", proxy.address()))?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_millis(300)))?;
        Ok(connection)
    }

    fn add(connection: &mut redis::Connection) -> RedisResult<u64> {
        redis::cmd("INCR").arg("count").query(connection)
    }

    fn count(server: &Server) -> u64 {
        text(&server.expect(&["GET", "count"])).map_or(0, |count| count.parse().unwrap())
    }

    fn fixture() -> (Server, Proxy, redis::Connection) {
        let server = Server::valkey();
        let proxy = Proxy::before(&server.address());
        let mut connection = connect(&proxy).unwrap();
        assert_eq!(add(&mut connection).unwrap(), 1);
        assert_eq!(proxy.effects(), 0);
        (server, proxy, connection)
    }

    #[test]
    fn dropped_connections_end_and_new_ones_work() {
        let (_server, proxy, mut connection) = fixture();
        proxy.drop_connections();
        assert!(add(&mut connection).is_err());
        assert_eq!(add(&mut connect(&proxy).unwrap()).unwrap(), 2);
        assert_eq!(proxy.effects(), 1);
    }

    #[test]
    fn new_connections_can_be_refused() {
        let (_server, proxy, mut connection) = fixture();
        proxy.set(ProxyFault::Refuse);
        assert!(connect(&proxy).and_then(|mut new| add(&mut new)).is_err());
        assert_eq!(add(&mut connection).unwrap(), 2);
        proxy.set(ProxyFault::Pass);
        assert_eq!(add(&mut connect(&proxy).unwrap()).unwrap(), 3);
    }

    #[test]
    fn a_delayed_reply_arrives_late() {
        let (_server, proxy, mut connection) = fixture();
        proxy.set(ProxyFault::Delay(Duration::from_millis(40)));
        let start = Instant::now();
        assert_eq!(add(&mut connection).unwrap(), 2);
        assert!(start.elapsed() >= Duration::from_millis(80), "request and reply wait");
        assert_eq!(proxy.effects(), 2);
    }

    /// The command is applied and its reply lost; the connection closes, or stays open.
    #[test]
    fn the_command_of_a_swallowed_reply_is_applied() {
        for close in [true, false] {
            let (server, proxy, mut connection) = fixture();
            proxy.set(ProxyFault::Swallow { close });
            let start = Instant::now();
            let error = add(&mut connection).unwrap_err();
            assert_eq!(error.is_timeout(), !close, "{error}");
            assert_eq!(start.elapsed() >= Duration::from_millis(300), !close);
            assert_eq!(count(&server), 2);
            // This connection delivers no replies any more; a new one does.
            proxy.set(ProxyFault::Pass);
            assert!(add(&mut connection).is_err());
            wait_for("a connection", || add(&mut connect(&proxy).ok()?).ok());
        }
    }

    #[test]
    fn the_command_of_a_cut_reply_is_applied_and_that_of_a_cut_request_is_not() {
        for (fault, applied) in [(ProxyFault::CutReply, 2), (ProxyFault::CutRequest, 1)] {
            let (server, proxy, mut connection) = fixture();
            proxy.set(fault);
            let error = add(&mut connection).unwrap_err();
            assert!(!error.is_timeout(), "{error}");
            assert_eq!(count(&server), applied);
            assert_eq!(proxy.effects(), 1);
        }
    }

    #[test]
    fn a_proxy_ends_with_its_handle() {
        let (_server, proxy, mut connection) = fixture();
        let address = proxy.address();
        drop(proxy);
        assert!(add(&mut connection).is_err());
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_proxy_serves_many_connections() {
        let (server, proxy, _connection) = fixture();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut connection = connect(&proxy).unwrap();
                    (0..100).for_each(|_| assert!(add(&mut connection).unwrap() > 1));
                });
            }
        });
        assert_eq!(server.expect(&["GET", "count"]), Value::BulkString(b"801".to_vec()));
    }
}
