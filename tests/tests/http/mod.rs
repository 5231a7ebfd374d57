//! The HTTP service over the memory backend (`docs/spec.md`, 9). Every answer is checked against
//! the document of the routes.

mod conflicts;
mod limits;
mod outages;
mod repeats;
mod routes;
mod service;
mod streams;
mod workers;
