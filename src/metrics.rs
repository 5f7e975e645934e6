//! Metrics for operators, in the OpenMetrics text format, at `/metrics`.
//!
//! Labels have closed sets of values: nothing that a visitor or a model says can create a new series. Models have
//! their configured names.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Counters and gauges of one instance.
pub struct Metrics {
    registry: Registry,
    turns: Family<FinishReasonLabels, Counter>,
    evaluations: Family<StatusLabels, Counter>,
    guard_refusals: Counter,
    upstream_errors: Family<FailedLabels, Counter>,
    chunks: Counter,
    tokens: Family<TokenLabels, Counter>,
    first_chunk: Family<ModelLabels, Histogram>,
    chunk: Histogram,
    open_streams: Gauge,
    too_many_connections: Family<OfLabels, Counter>,
    slow_connections: Family<WaitingLabels, Counter>,
    database_connections: Family<StateLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishReasonLabels {
    finish_reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedLabels {
    model: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLabels {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitingLabels {
    to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("frontdesk"),
            turns: Family::default(),
            evaluations: Family::default(),
            guard_refusals: Counter::default(),
            upstream_errors: Family::default(),
            chunks: Counter::default(),
            tokens: Family::default(),
            first_chunk: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 13))
            }),
            chunk: Histogram::new(exponential_buckets(0.000_01, 4.0, 9)),
            open_streams: Gauge::default(),
            too_many_connections: Family::default(),
            slow_connections: Family::default(),
            database_connections: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// Registers every metric with its name and help text.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "turns",
            "Turns that ended, by finish reason",
            self.turns.clone(),
        );
        let about = "Answers that were judged, by result";
        registry.register("evaluations", about, self.evaluations.clone());
        let about = "Answers that a guard stopped";
        registry.register("guard_refusals", about, self.guard_refusals.clone());
        registry.register(
            "upstream_errors",
            "Calls to models that failed, by model and kind of failure",
            self.upstream_errors.clone(),
        );
        registry.register(
            "chunks",
            "Pieces of answers that were appended to a turn's log",
            self.chunks.clone(),
        );
        let about = "Tokens that models read (input) and wrote (output)";
        registry.register("tokens", about, self.tokens.clone());
        let seconds = Unit::Seconds;
        let about = "Time from a call to a model to the first piece of its answer";
        registry.register_with_unit(
            "first_chunk",
            about,
            seconds.clone(),
            self.first_chunk.clone(),
        );
        let about = "Time from receiving a piece of an answer to having it in the turn's log";
        registry.register_with_unit("chunk", about, seconds, self.chunk.clone());
        registry.register(
            "open_streams",
            "Open event streams and WebSockets",
            self.open_streams.clone(),
        );
        let about =
            "Connections and streams that exceeded a limit: per device, per address, or of all";
        registry.register(
            "too_many_connections",
            about,
            self.too_many_connections.clone(),
        );
        let about = "Connections closed because their client was too slow to send or to read";
        registry.register("slow_connections", about, self.slow_connections.clone());
        let about = "Connections to the database, idle or busy";
        registry.register(
            "database_connections",
            about,
            self.database_connections.clone(),
        );
    }

    /// Counts a turn that has ended.
    pub fn turn(&self, finish_reason: &'static str) {
        self.turns
            .get_or_create(&FinishReasonLabels { finish_reason })
            .inc();
    }

    /// Counts an answer that was judged.
    pub fn evaluation(&self, status: &'static str) {
        self.evaluations
            .get_or_create(&StatusLabels { status })
            .inc();
    }

    /// Counts an answer that a guard stopped.
    pub fn guard_refusal(&self) {
        self.guard_refusals.inc();
    }

    /// Counts the tokens of a call to a model.
    pub fn tokens(&self, model: &str, input: u64, output: u64) {
        for (direction, tokens) in [("input", input), ("output", output)] {
            let model = model.to_owned();
            self.tokens
                .get_or_create(&TokenLabels { model, direction })
                .inc_by(tokens);
        }
    }

    /// Counts a call to a model that has failed.
    pub fn upstream_error(&self, model: &str, kind: &'static str) {
        let model = model.to_owned();
        self.upstream_errors
            .get_or_create(&FailedLabels { model, kind })
            .inc();
    }

    /// Records the time from a call to a model to the first piece of its answer.
    pub fn first_chunk(&self, model: &str, after: Duration) {
        let model = model.to_owned();
        self.first_chunk
            .get_or_create(&ModelLabels { model })
            .observe(after.as_secs_f64());
    }

    /// Counts a piece of an answer, and records the time from its arrival until it was in the log.
    pub fn chunk(&self, after: Duration) {
        self.chunks.inc();
        self.chunk.observe(after.as_secs_f64());
    }

    /// Counts an event stream as open until the returned value is dropped.
    pub fn open_stream(&self) -> impl Drop + use<> {
        struct OpenGauge(Gauge);
        impl Drop for OpenGauge {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.open_streams.inc();
        OpenGauge(self.open_streams.clone())
    }

    /// Counts a connection or stream that exceeded a limit.
    pub fn too_many_connections(&self, of: &'static str) {
        self.too_many_connections
            .get_or_create(&OfLabels { of })
            .inc();
    }

    /// Counts a connection that was closed because its client was too slow: `to` is `send` or `read`.
    pub fn slow_connection(&self, to: &'static str) {
        self.slow_connections
            .get_or_create(&WaitingLabels { to })
            .inc();
    }

    /// All metrics as text, with the current state of the database's connections.
    pub fn render(&self, connections: u32, idle: u32) -> String {
        let gauge = |state| {
            self.database_connections
                .get_or_create_owned(&StateLabels { state })
        };
        gauge("idle").set(idle.into());
        gauge("busy").set(connections.saturating_sub(idle).into());
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
