//! A proxy on loopback that does to connections what networks do.

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

/// What happens to the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// Nothing.
    Pass,
    /// New connections are closed at once.
    Refuse,
    /// Every piece of a request and of a reply waits so long.
    Delay(Duration),
    /// Requests arrive and are applied, their replies are lost. A connection that lost a reply
    /// either closes, or stays open and never gives another: no network loses the middle of a
    /// connection.
    Swallow {
        /// Whether it closes.
        close: bool,
    },
    /// The next reply ends in its middle, and the connection with it.
    CutReply,
    /// The next request ends in its middle, and the connection with it.
    CutRequest,
}

/// A proxy between clients and one server. It ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    control: Option<watch::Sender<Control>>,
    struck: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Control {
    fault: ProxyFault,
    /// Connections of an older generation are closed.
    generation: u64,
}

impl Proxy {
    /// A proxy in front of a server, such as `127.0.0.1:6379`, that passes everything.
    ///
    /// # Panics
    ///
    /// When the address cannot be read or no port can be had.
    pub fn before(server: &str) -> Self {
        let server: SocketAddr = server.parse().expect("an address with a port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (control, seen) = watch::channel(Control { fault: ProxyFault::Pass, generation: 0 });
        let struck = Arc::new(AtomicU64::new(0));
        let line = Line { server, control: seen, struck: struck.clone() };
        // A thread of its own: tests that block, and tests whose clock is paused, can both use it.
        let thread = std::thread::spawn(move || runtime.block_on(accept(listener, line)));
        Self { address, control: Some(control), struck, thread: Some(thread) }
    }

    /// Where programs find it.
    pub fn url(&self) -> String {
        format!("valkey://{}", self.address)
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what happens to the traffic from now on, on all connections.
    pub fn set(&self, fault: ProxyFault) {
        self.change(|control| control.fault = fault);
    }

    /// Closes every connection that there is.
    pub fn drop_connections(&self) {
        self.change(|control| control.generation += 1);
    }

    /// How many connections were dropped, refused or cut, and replies swallowed or pieces delayed.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Control)) {
        if let Some(control) = &self.control {
            control.send_modify(change);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Everybody in the thread ends when the control is gone.
        self.control = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What each connection knows.
#[derive(Clone)]
struct Line {
    server: SocketAddr,
    control: watch::Receiver<Control>,
    struck: Arc<AtomicU64>,
}

impl Line {
    fn fault(&self) -> ProxyFault {
        self.control.borrow().fault
    }

    fn strike(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, line: Line) {
    let mut control = line.control.clone();
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
                if line.fault() == ProxyFault::Refuse {
                    line.strike();
                } else {
                    tokio::spawn(carry(client, line.clone()));
                }
            }
        }
    }
}

/// Carries one connection; both its ends close when this returns.
async fn carry(client: TcpStream, line: Line) {
    let generation = line.control.borrow().generation;
    let Ok(server) = TcpStream::connect(line.server).await else { return };
    // Small requests leave at once, as they would without a proxy.
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::select! {
        biased;
        () = closed(line.clone(), generation) => {}
        _ = requests(client_reads, server_writes, line.clone()) => {}
        _ = replies(server_reads, client_writes, line.clone()) => {}
    }
}

async fn closed(mut line: Line, generation: u64) {
    let newer = line.control.wait_for(|control| control.generation > generation).await;
    if newer.is_ok() {
        line.struck.fetch_add(1, Ordering::Relaxed);
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        match line.fault() {
            ProxyFault::CutRequest => {
                line.strike();
                return to.write_all(&buffer[..count / 2]).await;
            }
            ProxyFault::Delay(delay) => {
                line.strike();
                tokio::time::sleep(delay).await;
            }
            ProxyFault::Pass
            | ProxyFault::Refuse
            | ProxyFault::Swallow { .. }
            | ProxyFault::CutReply => {}
        }
        to.write_all(&buffer[..count]).await?;
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1_024];
    let mut has_lost = false;
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        match line.fault() {
            _ if has_lost => continue,
            ProxyFault::Swallow { close } => {
                line.strike();
                if close {
                    return Ok(());
                }
                has_lost = true;
                continue;
            }
            ProxyFault::CutReply => {
                line.strike();
                return to.write_all(&buffer[..count / 2]).await;
            }
            ProxyFault::Delay(delay) => {
                line.strike();
                tokio::time::sleep(delay).await;
            }
            ProxyFault::Pass | ProxyFault::Refuse | ProxyFault::CutRequest => {}
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

    fn ground() -> (Server, Proxy, redis::Connection) {
        let server = Server::valkey();
        let proxy = Proxy::before(&server.address());
        let mut connection = connect(&proxy).unwrap();
        assert_eq!(add(&mut connection).unwrap(), 1);
        assert_eq!(proxy.struck(), 0);
        (server, proxy, connection)
    }

    #[test]
    fn dropped_connections_end_and_new_ones_work() {
        let (_server, proxy, mut connection) = ground();
        proxy.drop_connections();
        assert!(add(&mut connection).is_err());
        assert_eq!(add(&mut connect(&proxy).unwrap()).unwrap(), 2);
        assert_eq!(proxy.struck(), 1);
    }

    #[test]
    fn new_connections_can_be_refused() {
        let (_server, proxy, mut connection) = ground();
        proxy.set(ProxyFault::Refuse);
        assert!(connect(&proxy).and_then(|mut new| add(&mut new)).is_err());
        assert_eq!(add(&mut connection).unwrap(), 2);
        proxy.set(ProxyFault::Pass);
        assert_eq!(add(&mut connect(&proxy).unwrap()).unwrap(), 3);
    }

    #[test]
    fn a_delayed_reply_comes_late() {
        let (_server, proxy, mut connection) = ground();
        proxy.set(ProxyFault::Delay(Duration::from_millis(40)));
        let start = Instant::now();
        assert_eq!(add(&mut connection).unwrap(), 2);
        assert!(start.elapsed() >= Duration::from_millis(80), "request and reply wait");
        assert_eq!(proxy.struck(), 2);
    }

    /// Goal: the command is applied, its reply never comes; closed or open, as was asked for.
    #[test]
    fn a_swallowed_reply_is_of_a_command_that_was_applied() {
        for close in [true, false] {
            let (server, proxy, mut connection) = ground();
            proxy.set(ProxyFault::Swallow { close });
            let start = Instant::now();
            let error = add(&mut connection).unwrap_err();
            assert_eq!(error.is_timeout(), !close, "{error}");
            assert_eq!(start.elapsed() >= Duration::from_millis(300), !close);
            assert_eq!(count(&server), 2);
            // This connection has lost a reply; another has not.
            proxy.set(ProxyFault::Pass);
            assert!(add(&mut connection).is_err());
            wait_for("a connection", || add(&mut connect(&proxy).ok()?).ok());
        }
    }

    #[test]
    fn a_cut_reply_is_of_a_command_that_was_applied_and_a_cut_request_is_not() {
        for (fault, applied) in [(ProxyFault::CutReply, 2), (ProxyFault::CutRequest, 1)] {
            let (server, proxy, mut connection) = ground();
            proxy.set(fault);
            let error = add(&mut connection).unwrap_err();
            assert!(!error.is_timeout(), "{error}");
            assert_eq!(count(&server), applied);
            assert_eq!(proxy.struck(), 1);
        }
    }

    #[test]
    fn a_proxy_ends_with_its_handle() {
        let (_server, proxy, mut connection) = ground();
        let address = proxy.address();
        drop(proxy);
        assert!(add(&mut connection).is_err());
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_proxy_serves_many_at_once() {
        let (server, proxy, _connection) = ground();
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
