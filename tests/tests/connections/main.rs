//! How programs find a server, and what they say about one that they cannot use: failovers,
//! sentinels, TLS, unix sockets, and clusters that are not complete.

mod coverage;
mod failover;
mod sentinel;
mod tls;
mod unix;
