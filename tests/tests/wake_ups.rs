//! The wake-ups of a Valkey server: one connection for all subscribers of a process, which is slow,
//! breaks, or ends together with the tokio runtime that opened it.

use std::time::Duration;

use ff_sdk::ValkeyBackend;
use ff_sdk::core::backend::{EngineBackend, WakeUps};
use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{Topic, Wake};
use ff_tests::kit::{ms, secs};
use ff_tests::server::{Proxy, ProxyFault, Server};
use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// The longest time in which a wake-up arrives. It is shorter than the time limit of a call to
/// subscribe, which is 5 s.
const SOON: Duration = secs(2);

fn topic(number: u16) -> Topic {
    Topic::Journal(Partition::flow(number))
}

fn subscribe(backend: &ValkeyBackend, number: u16) -> Box<dyn WakeUps> {
    backend.subscribe(vec![topic(number)]).expect("a server has wake-ups")
}

/// The next wake-up, which must arrive soon.
async fn next(wakes: &mut Box<dyn WakeUps>) -> Option<Wake> {
    timeout(SOON, wakes.next()).await.expect("a wake-up").expect("the stream goes on")
}

/// Sends a wake-up.
fn ring(server: &Server, number: u16) {
    let (channel, partition) = (topic(number).channel(), Partition::flow(number).to_string());
    server.expect(&[b"PUBLISH".as_slice(), &channel, partition.as_bytes()]);
}

/// The subscriber gets a wake-up that is sent now. After one without a partition, which means that
/// others were missed, it is sent again.
async fn hears(server: &Server, wakes: &mut Box<dyn WakeUps>, number: u16) {
    ring(server, number);
    while next(wakes).await != Some(wake_of(number)) {
        ring(server, number);
    }
}

fn wake_of(number: u16) -> Wake {
    Wake { topic: topic(number), partition: Partition::flow(number), first: None }
}

/// A server, a proxy before it, and a backend behind the proxy.
async fn proxied() -> (Server, Proxy, ValkeyBackend) {
    let server = Server::valkey();
    let address = server.address();
    let proxy = tokio::task::spawn_blocking(move || Proxy::before(&address)).await.unwrap();
    let backend = ValkeyBackend::connect(&proxy.url()).await.unwrap();
    (server, proxy, backend)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Wake-ups of other channels arrive while the server does not confirm a subscription. The new
/// subscriber gets its first wake-up after the confirmation, since it missed all before.
#[tokio::test]
async fn wake_ups_do_not_wait_for_the_confirmation_of_a_subscription() {
    let (server, proxy, backend) = proxied().await;
    let mut early = subscribe(&backend, 0);
    assert_eq!(next(&mut early).await, None);
    hears(&server, &mut early, 0).await;
    proxy.set(ProxyFault::HoldRequests);
    let mut late = subscribe(&backend, 1);
    while proxy.effects() == 0 {
        sleep(ms(1)).await;
    }
    for _ in 0..3 {
        hears(&server, &mut early, 0).await;
    }
    assert!(late.next().now_or_never().is_none(), "its channel is not subscribed yet");
    proxy.set(ProxyFault::Pass);
    assert_eq!(next(&mut late).await, None);
    hears(&server, &mut late, 1).await;
    assert!(early.next().now_or_never().is_none(), "nothing was missed");
}

/// A subscriber that leaves and comes back while its first subscription is not confirmed, gets
/// wake-ups.
#[tokio::test]
async fn a_channel_that_is_left_and_entered_again_is_subscribed() {
    let (server, proxy, backend) = proxied().await;
    let mut other = subscribe(&backend, 0);
    assert_eq!(next(&mut other).await, None);
    for leaves in 0..4 {
        proxy.set(ProxyFault::HoldRequests);
        let held = proxy.effects();
        let mut again = subscribe(&backend, 1);
        while proxy.effects() == held {
            sleep(ms(1)).await;
        }
        for _ in 0..leaves {
            drop(again);
            tokio::task::yield_now().await;
            again = subscribe(&backend, 1);
        }
        proxy.set(ProxyFault::Pass);
        assert_eq!(next(&mut again).await, None);
        hears(&server, &mut again, 1).await;
        drop(again);
        // Its channel is left before the next turn.
        hears(&server, &mut other, 0).await;
    }
}

/// A subscription that is made while no connection can be opened is served by the next one.
#[tokio::test]
async fn a_subscription_without_a_connection_is_noted() {
    let (server, proxy, backend) = proxied().await;
    let mut early = subscribe(&backend, 0);
    assert_eq!(next(&mut early).await, None);
    proxy.set(ProxyFault::Refuse);
    proxy.drop_connections();
    while proxy.effects() < 4 {
        sleep(ms(1)).await;
    }
    let mut late = subscribe(&backend, 1);
    assert!(late.next().now_or_never().is_none(), "its channel is not subscribed yet");
    proxy.set(ProxyFault::Pass);
    for (wakes, number) in [(&mut early, 0), (&mut late, 1)] {
        assert_eq!(next(wakes).await, None);
        hears(&server, wakes, number).await;
    }
}

/// A backend on the current runtime with a subscriber that has received a wake-up.
async fn subscriber(server: &Server) -> (ValkeyBackend, Box<dyn WakeUps>) {
    let backend = ValkeyBackend::connect(&server.url()).await.unwrap();
    let mut early = subscribe(&backend, 0);
    assert_eq!(next(&mut early).await, None);
    hears(server, &mut early, 0).await;
    (backend, early)
}

/// A subscriber on another runtime gets wake-ups after the runtime of the first one has ended.
#[test]
fn a_later_subscriber_gets_wake_ups_after_the_end_of_the_first_runtime() {
    let server = Server::valkey();
    let first = runtime();
    let (backend, mut early) = first.block_on(subscriber(&server));
    drop(first);
    runtime().block_on(async {
        let mut late = subscribe(&backend, 1);
        for (wakes, number) in [(&mut late, 1), (&mut early, 0)] {
            assert_eq!(next(wakes).await, None);
            hears(&server, wakes, number).await;
        }
    });
}

/// A subscriber on another runtime than the first one goes on after the end of that one.
#[test]
fn a_subscriber_gets_wake_ups_after_the_end_of_the_first_runtime() {
    let server = Server::valkey();
    let (first, second) = (runtime(), runtime());
    let (backend, _early) = first.block_on(subscriber(&server));
    let mut late = second.block_on(async {
        let mut late = subscribe(&backend, 1);
        assert_eq!(next(&mut late).await, None);
        hears(&server, &mut late, 1).await;
        late
    });
    let waiting = second.spawn(async move {
        assert_eq!(next(&mut late).await, None);
        late
    });
    drop(first);
    second.block_on(async {
        let mut late = waiting.await.unwrap();
        hears(&server, &mut late, 1).await;
    });
}
