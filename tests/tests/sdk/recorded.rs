//! A recorder that keeps what a scenario records. The one of metrics-util resets counters and
//! gauges with each look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ff_sdk::metrics::{ALL, Metric, MetricKind};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// The metrics that were recorded so far.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The values of counters and gauges, by name and labels, such as `ff_running{default,w}`: the
    /// values of the labels are in the order of their declaration. Those that are 0 are left out.
    pub values: BTreeMap<String, f64>,
    /// The samples of histograms.
    pub samples: BTreeMap<String, Vec<f64>>,
}

impl Recorded {
    /// The value of a counter or gauge.
    pub fn value(&self, key: &str) -> f64 {
        self.values.get(key).copied().unwrap_or(0.0)
    }

    /// The values of one metric, by its labels.
    pub fn of(&self, name: &str) -> BTreeMap<&str, f64> {
        let of = self.values.iter().filter(|(key, _)| key.split('{').next() == Some(name));
        of.map(|(key, value)| (key[name.len()..].trim_matches(['{', '}']), *value)).collect()
    }
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

/// Keeps all metrics. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Metrics>>);

#[derive(Default)]
struct Metrics {
    counters: BTreeMap<String, Arc<AtomicU64>>,
    gauges: BTreeMap<String, Arc<AtomicU64>>,
    samples: BTreeMap<String, Arc<Samples>>,
    described: BTreeSet<String>,
}

/// The declaration of a metric, of this kind.
fn declared(name: &str, kind: MetricKind) -> &'static Metric {
    let declared = ALL.iter().find(|metric| metric.name == name);
    let declared = declared.unwrap_or_else(|| panic!("{name} is not declared"));
    assert_eq!(declared.kind, kind, "{name}");
    declared
}

/// The name and the values of the labels, which must be the declared ones.
fn full(key: &Key, kind: MetricKind) -> String {
    let declared = declared(key.name(), kind);
    let names: Vec<&str> = key.labels().map(|label| label.key()).collect();
    assert_eq!(names, declared.labels, "the labels of {}", key.name());
    let values: Vec<&str> = key.labels().map(|label| label.value()).collect();
    format!("{}{{{}}}", key.name(), values.join(","))
}

/// Runs a scenario in paused time, on one thread whose metrics are kept.
pub fn recording<F: Future<Output = ()>>(scenario: impl FnOnce(Recording) -> F) {
    let recording = Recording::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let scenario = scenario(recording.clone());
    metrics::with_local_recorder(&recording, || runtime.block_on(scenario));
}

impl Recording {
    /// Reads all metrics.
    pub fn read(&self) -> Recorded {
        let metrics = self.0.lock().unwrap();
        let counters = metrics.counters.iter().map(|(key, counter)| {
            let count = counter.load(Ordering::Relaxed);
            (key.clone(), count as f64)
        });
        let gauges = metrics.gauges.iter().map(|(key, gauge)| {
            let value = f64::from_bits(gauge.load(Ordering::Relaxed));
            (key.clone(), value)
        });
        let values = counters.chain(gauges).filter(|(_, value)| *value != 0.0).collect();
        let samples = metrics.samples.iter();
        let samples =
            samples.map(|(key, samples)| (key.clone(), samples.0.lock().unwrap().clone()));
        Recorded { values, samples: samples.collect() }
    }

    /// The names of the metrics that were registered, and of those that were described.
    pub fn names(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let metrics = self.0.lock().unwrap();
        let Metrics { counters, gauges, samples, described } = &*metrics;
        let keys = counters.keys().chain(gauges.keys()).chain(samples.keys());
        let names = keys.filter_map(|key| key.split('{').next()).map(str::to_owned);
        (names.collect(), described.clone())
    }

    fn describe(
        &self,
        key: &KeyName,
        kind: MetricKind,
        unit: Option<Unit>,
        meaning: &SharedString,
    ) {
        let declared = declared(key.as_str(), kind);
        let unit = unit.map(|unit| unit.as_str());
        assert_eq!(unit, Some(declared.unit.as_str()), "{}", declared.name);
        assert_eq!(&**meaning, declared.meaning, "{}", declared.name);
        self.0.lock().unwrap().described.insert(declared.name.to_owned());
    }
}

impl Recorder for Recording {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.describe(&key, MetricKind::Counter, unit, &meaning);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.describe(&key, MetricKind::Gauge, unit, &meaning);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.describe(&key, MetricKind::Histogram, unit, &meaning);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut metrics = self.0.lock().unwrap();
        Counter::from_arc(
            metrics.counters.entry(full(key, MetricKind::Counter)).or_default().clone(),
        )
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut metrics = self.0.lock().unwrap();
        Gauge::from_arc(metrics.gauges.entry(full(key, MetricKind::Gauge)).or_default().clone())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut metrics = self.0.lock().unwrap();
        Histogram::from_arc(
            metrics.samples.entry(full(key, MetricKind::Histogram)).or_default().clone(),
        )
    }
}
