//! Counters and latencies for Prometheus.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::pipeline::Spent;

/// Upper bounds of latencies, in seconds.
const BOUNDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0];

/// What is counted.
pub struct Counters {
    registry: Registry,
    /// Requests by path and status.
    pub requests: Family<Request, Counter>,
    /// Users that were answered.
    pub users: Counter,
    /// Requests that are being answered.
    pub in_flight: Gauge,
    /// Loads after the first.
    pub reloads: Counter,
    seconds: Histogram,
    stages: Family<Stage, Histogram>,
}

/// A kind of request and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// Where it went.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: StageName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum StageName {
    #[allow(non_camel_case_types)]
    vectors,
    #[allow(non_camel_case_types)]
    search,
    #[allow(non_camel_case_types)]
    ranking,
}

impl Default for Counters {
    /// All at 0.
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rec");
        let (requests, users, in_flight, reloads) =
            (Family::<Request, Counter>::default(), Counter::default(), Gauge::default(), Counter::default());
        let seconds = Histogram::new(BOUNDS);
        let stages = Family::<Stage, Histogram>::new_with_constructor(|| Histogram::new(BOUNDS));
        registry.register("requests", "Requests by path and status", requests.clone());
        registry.register("users", "Users answered", users.clone());
        registry.register("in_flight", "Requests being answered", in_flight.clone());
        registry.register("reloads", "Loads after the first", reloads.clone());
        registry.register("request_seconds", "Seconds from a request's arrival to its answer", seconds.clone());
        registry.register("stage_seconds", "Seconds that a stage took for a batch", stages.clone());
        Self { registry, requests, users, in_flight, reloads, seconds, stages }
    }
}

impl Counters {
    /// A request to `path` was answered.
    pub fn answered(&self, path: &str, status: u16, seconds: f64) {
        self.requests.get_or_create(&Request { path: path.to_owned(), status }).inc();
        self.seconds.observe(seconds);
    }

    /// A batch of requests went through the stages.
    pub fn went_through(&self, spent: &Spent) {
        for (stage, seconds) in
            [(StageName::vectors, spent.vectors), (StageName::search, spent.search), (StageName::ranking, spent.ranking)]
        {
            self.stages.get_or_create(&Stage { stage }).observe(seconds);
        }
    }

    /// Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes any text");
        text
    }
}
