//! The medians of all runs, and their ratios to the anchors.

use std::{collections::BTreeMap, fmt};

/// The measurements, in the order of the report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Unpaced,
    Thousand,
    Cpu,
    First,
    Added50,
    Added99,
    Memory,
    Burst,
    Chat,
    Start,
    BeginNew,
    BeginKnown,
    Finish,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Unpaced => "streams/s, unpaced, 32 clients",
            Self::Thousand => "streams/s, 1,000 of 100 tokens/s",
            Self::Cpu => "CPU µs a chunk, 200 of 100 tokens/s",
            Self::First => "first chunk p50 ms",
            Self::Added50 => "added a chunk p50 ms",
            Self::Added99 => "added a chunk p99 ms",
            Self::Memory => "KiB a stream, 2,000 open",
            Self::Burst => "memory after 2,000 large answers, of before",
            Self::BeginNew => "round trips to begin, a new device",
            Self::BeginKnown => "round trips to begin, a known device",
            Self::Finish => "round trips to finish",
            Self::Chat => "POST /chat turns/s, 32 clients",
            Self::Start => "exec to the first 200 ms",
        }
    }
}

/// All measured values, by server.
#[derive(Default)]
pub struct Report {
    servers: Vec<String>,
    values: BTreeMap<Measure, BTreeMap<String, Vec<f64>>>,
}

impl Report {
    pub fn add(&mut self, server: &str, measure: Measure, value: f64) {
        if !self.servers.iter().any(|known| known == server) {
            self.servers.push(server.to_owned());
        }
        let of_server = self.values.entry(measure).or_default();
        of_server.entry(server.to_owned()).or_default().push(value);
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The median; if there are several values, also their range in parentheses.
fn told(values: &[f64]) -> String {
    let digits = usize::from(median(values) < 100.0) * 2;
    let median = format!("{:.digits$}", median(values));
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    match values {
        [_] => median,
        _ => format!("{median} ({least:.digits$}–{most:.digits$})"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} |", self.servers.join(" | "))?;
        writeln!(f, "| --- |{}", " --- |".repeat(self.servers.len()))?;
        for (measure, values) in &self.values {
            write!(f, "| {} |", measure.name())?;
            for server in &self.servers {
                let cell = values.get(server).map_or(String::new(), |of| told(of));
                write!(f, " {cell} |")?;
            }
            writeln!(f)?;
        }
        let anchors = ["nginx", "relay", "pgbench"];
        writeln!(
            f,
            "\n| ratio |{}",
            anchors
                .map(|anchor| format!(" postgres / {anchor} | sqlite / {anchor} |"))
                .concat()
        )?;
        writeln!(f, "| --- |{}", " --- |".repeat(2 * anchors.len()))?;
        for (measure, values) in &self.values {
            let ratio = |anchor: &str, desk: &str| {
                let (anchor, desk) = values.get(anchor).zip(values.get(desk))?;
                Some(format!(" {:.2} |", median(desk) / median(anchor)))
            };
            let cells = anchors.map(|anchor| {
                ["postgres", "sqlite"].map(|desk| ratio(anchor, desk).unwrap_or(" |".to_owned()))
            });
            if anchors.iter().any(|anchor| values.contains_key(*anchor)) {
                writeln!(f, "| {} |{}", measure.name(), cells.concat().concat())?;
            }
        }
        Ok(())
    }
}
