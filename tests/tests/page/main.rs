//! The page of `ff serve`, in a browser: what people do there, and what it refuses.

mod browser;
mod journeys;
mod looks;
mod output;
mod safety;
mod service;
mod updates;
mod webdriver;
