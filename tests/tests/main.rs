//! The suites that cross crates as one program, which links faster than one for each file. The
//! other programs of this folder are run by their names.

mod access;
mod api;
mod costs;
mod format;
mod http;
mod hung_node;
mod metrics_page;
mod power;
mod processes;
mod purity;
mod report;
mod scenarios;
mod sdk;
mod sqlite;
mod start;
mod store_loss;
mod subscription;
mod wake_ups;
mod web_service;
mod world;
