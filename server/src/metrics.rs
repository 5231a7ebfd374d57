//! Metrics in the text format of Prometheus.
//!
//! The exporter that is written for the crate `metrics` brings second versions of four
//! dependencies; this is the part of it that the service needs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_sdk::metrics::{ALL, MetricKind};
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SetRecorderError, SharedString, Unit,
};

/// The requests that were answered.
const REQUESTS: &str = "ff_http_requests_total";
/// How long requests took.
const SECONDS: &str = "ff_http_request_seconds";
/// The upper bounds of the buckets of a histogram that declares none.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of this program, as `/metrics` shows them. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Registry>);

#[derive(Default)]
struct Registry {
    counters: Mutex<BTreeMap<Key, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<Key, Arc<Number>>>,
    histograms: Mutex<BTreeMap<Key, Arc<Distribution>>>,
    /// The meaning of each metric, by its name.
    meanings: Mutex<BTreeMap<String, String>>,
}

/// A number that goes up and down.
#[derive(Default)]
struct Number(Mutex<f64>);

impl GaugeFn for Number {
    fn increment(&self, value: f64) {
        *lock(&self.0) += value;
    }

    fn decrement(&self, value: f64) {
        *lock(&self.0) -= value;
    }

    fn set(&self, value: f64) {
        *lock(&self.0) = value;
    }
}

/// How often values fell into each bucket.
struct Distribution {
    bounds: &'static [f64],
    /// The numbers by bucket, the last one without a bound.
    counts: Vec<AtomicU64>,
    sum: Mutex<f64>,
}

impl HistogramFn for Distribution {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        *lock(&self.sum) += value;
    }
}

impl Metrics {
    /// Begins to record the metrics of this program: of the service, its store calls, clients and
    /// workers. Call it before they connect.
    ///
    /// # Errors
    ///
    /// [`SetRecorderError`] if the program has a recorder already.
    pub fn install() -> Result<Self, SetRecorderError<Self>> {
        let metrics = Self::default();
        metrics::set_global_recorder(metrics.clone())?;
        ff_sdk::metrics::describe();
        metrics::describe_counter!(REQUESTS, "Requests, by method, route and status.");
        metrics::describe_histogram!(SECONDS, "How long requests took to their answer, by route.");
        Ok(metrics)
    }

    /// The metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let meanings = lock(&self.0.meanings);
        let mut head = Head { meanings: &meanings, name: String::new() };
        for (key, counter) in &*lock(&self.0.counters) {
            head.write(&mut text, key.name(), "counter");
            line(&mut text, key.name(), key, None, counter.load(Ordering::Relaxed) as f64);
        }
        for (key, gauge) in &*lock(&self.0.gauges) {
            head.write(&mut text, key.name(), "gauge");
            line(&mut text, key.name(), key, None, *lock(&gauge.0));
        }
        for (key, histogram) in &*lock(&self.0.histograms) {
            head.write(&mut text, key.name(), "histogram");
            let (bucket, mut count) = (format!("{}_bucket", key.name()), 0);
            for (number, in_bucket) in histogram.counts.iter().enumerate() {
                count += in_bucket.load(Ordering::Relaxed);
                let bound = histogram.bounds.get(number).copied().unwrap_or(f64::INFINITY);
                line(&mut text, &bucket, key, Some(bound), count as f64);
            }
            line(&mut text, &format!("{}_sum", key.name()), key, None, *lock(&histogram.sum));
            line(&mut text, &format!("{}_count", key.name()), key, None, count as f64);
        }
        text
    }

    fn describe(&self, name: &KeyName, meaning: &SharedString) {
        lock(&self.0.meanings).insert(name.as_str().to_owned(), meaning.to_string());
    }
}

/// Records a request that was answered.
pub(crate) fn answered(method: &str, route: &str, status: u16, took: Duration) {
    let (method, route) = (method.to_owned(), route.to_owned());
    metrics::counter!(REQUESTS, "method" => method, "route" => route.clone(),
        "status" => status.to_string())
    .increment(1);
    metrics::histogram!(SECONDS, "route" => route).record(took.as_secs_f64());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The description of a metric, written once before its lines.
struct Head<'m> {
    meanings: &'m BTreeMap<String, String>,
    name: String,
}

impl Head<'_> {
    fn write(&mut self, text: &mut String, name: &str, kind: &str) {
        if self.name == name {
            return;
        }
        name.clone_into(&mut self.name);
        if let Some(meaning) = self.meanings.get(name) {
            let meaning = meaning.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(text, "# HELP {name} {meaning}");
        }
        let _ = writeln!(text, "# TYPE {name} {kind}");
    }
}

fn line(text: &mut String, name: &str, key: &Key, bound: Option<f64>, value: f64) {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels =
        key.labels().map(|label| format!("{}=\"{}\"", label.key(), escaped(label.value())));
    let bound = bound.map(|bound| match bound.is_finite() {
        true => format!("le=\"{bound}\""),
        false => "le=\"+Inf\"".to_owned(),
    });
    let labels: Vec<String> = labels.chain(bound).collect();
    match labels.is_empty() {
        true => writeln!(text, "{name} {value}"),
        false => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
    }
    .expect("writing to a String never fails");
}

impl Recorder for Metrics {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.describe(&name, &meaning);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.describe(&name, &meaning);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.describe(&name, &meaning);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(lock(&self.0.counters).entry(key.clone()).or_default().clone())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(lock(&self.0.gauges).entry(key.clone()).or_default().clone())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let declared = ALL
            .iter()
            .find(|metric| metric.kind == MetricKind::Histogram && metric.name == key.name());
        let bounds = declared.map_or(BUCKETS, |metric| metric.buckets);
        let counts = || (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let new = || Arc::new(Distribution { bounds, counts: counts(), sum: Mutex::default() });
        Histogram::from_arc(lock(&self.0.histograms).entry(key.clone()).or_insert_with(new).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_shown_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics::with_local_recorder(&metrics, || {
            metrics::describe_counter!("calls_total", "Calls.");
            metrics::counter!("calls_total", "lane" => "a\"b\\c\nd").increment(2);
            metrics::counter!("calls_total", "lane" => "x").increment(1);
            metrics::gauge!("depth").set(2.5);
            let took = metrics::histogram!(SECONDS, "route" => "/v1");
            for value in [0.001, 0.002, 60.0] {
                took.record(value);
            }
        });
        let text = metrics.render();
        let head = "# HELP calls_total Calls.\n# TYPE calls_total counter\n";
        assert!(text.starts_with(head), "{text}");
        for wanted in [
            "calls_total{lane=\"a\\\"b\\\\c\\nd\"} 2\n",
            "calls_total{lane=\"x\"} 1\n",
            "# TYPE depth gauge\ndepth 2.5\n",
            "ff_http_request_seconds_bucket{route=\"/v1\",le=\"0.001\"} 1\n",
            "ff_http_request_seconds_bucket{route=\"/v1\",le=\"0.0025\"} 2\n",
            "ff_http_request_seconds_bucket{route=\"/v1\",le=\"30\"} 2\n",
            "ff_http_request_seconds_bucket{route=\"/v1\",le=\"+Inf\"} 3\n",
            "ff_http_request_seconds_sum{route=\"/v1\"} 60.003\n",
            "ff_http_request_seconds_count{route=\"/v1\"} 3\n",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
        }
        assert_eq!(text.matches("# TYPE calls_total").count(), 1);
    }
}
