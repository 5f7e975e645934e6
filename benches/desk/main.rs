//! How fast the desk is, beside two anchors in the same run: nginx, which passes the bytes of
//! the same upstream through, and a bare relay of actix and reqwest without a database.
//!
//! `cargo bench --bench desk -- [--runs 5] [--only unpaced,paced,thousand,memory,chat,start]
//! [--servers nginx,relay,postgres,sqlite]`. Machines differ and are noisy: read the ratios, which
//! are of one run. `docs/performance.md` explains them.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and sets up its own surroundings"
)]

mod client;
mod relay;
mod report;
mod server;
mod upstream;

use std::time::Duration;

use clap::Parser;
use client::{Load, Target};
use report::{Measure, Report};
use server::{Database, Server};

const RUN: Duration = Duration::from_secs(4);

/// What to run.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often; servers alternate, medians are told.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Which measures.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "unpaced,paced,thousand,memory,chat,start"
    )]
    only: Vec<String>,
    /// Which servers.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "nginx,relay,postgres,sqlite"
    )]
    servers: Vec<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("upstream") => upstream::run(),
        Some("relay") => relay::run(&arguments[2]),
        _ => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(bench(&Arguments::parse())),
    }
}

async fn bench(arguments: &Arguments) {
    let upstream = Server::upstream();
    let mut report = Report::default();
    let mut servers = Vec::new();
    for name in &arguments.servers {
        match start(name, &upstream) {
            Some((server, target)) => servers.push((name.as_str(), server, target)),
            None => println!("{name} is not installed."),
        }
    }
    for run in 0..arguments.runs {
        for (name, server, target) in &servers {
            for measure in &arguments.only {
                // Memory that was held once is not given back: only the first run counts.
                if measure != "memory" || run == 0 {
                    let one = One {
                        server,
                        target: *target,
                        upstream: &upstream,
                    };
                    one.measure(measure, &mut |what, value| report.add(name, what, value))
                        .await;
                }
            }
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{cores} cores, {} runs; PostgreSQL durable, on the same cores.\n",
        arguments.runs
    );
    print!("{report}");
}

fn start(name: &str, upstream: &Server) -> Option<(Server, Target)> {
    Some(match name {
        "nginx" => (Server::nginx(upstream)?, Target::Completions),
        "relay" => (Server::relay(upstream), Target::Completions),
        "postgres" => (
            Server::frontdesk(upstream, &Database::postgres()),
            Target::Desk,
        ),
        "sqlite" => (
            Server::frontdesk(upstream, &Database::sqlite()),
            Target::Desk,
        ),
        other => panic!("no such server: {other}"),
    })
}

/// One server under measure.
struct One<'a> {
    server: &'a Server,
    target: Target,
    upstream: &'a Server,
}

impl One<'_> {
    fn load(&self, target: Target, text: &'static str) -> Load {
        Load {
            url: self.server.url.clone(),
            target,
            text,
        }
    }

    async fn measure(&self, measure: &str, tell: &mut dyn FnMut(Measure, f64)) {
        let is_desk = matches!(self.target, Target::Desk);
        match measure {
            "unpaced" => {
                let load = self.load(self.target, "unpaced");
                // Warm: connections, caches, the first statements.
                load.clients(8, RUN / 8).await;
                tell(
                    Measure::Unpaced,
                    load.clients(32, RUN).await.per_second(RUN),
                );
            }
            "paced" => {
                let before = self.server.cpu();
                let done = self.load(self.target, "paced").clients(200, RUN).await;
                let cpu = (self.server.cpu() - before).as_secs_f64();
                done.assert_whole();
                tell(Measure::Cpu, cpu * 1e6 / done.chunks as f64);
                tell(Measure::First, done.first.percentile(50.0));
                tell(Measure::Added50, done.added.percentile(50.0));
                tell(Measure::Added99, done.added.percentile(99.0));
            }
            "thousand" => {
                let done = self.load(self.target, "paced").clients(1_000, RUN).await;
                tell(Measure::Thousand, done.per_second(RUN));
            }
            "memory" => {
                let before = self.server.memory();
                let open = self.load(self.target, "silent").hold(2_000).await;
                let grown = self.server.memory().saturating_sub(before);
                tell(Measure::Memory, grown as f64 / open.len() as f64);
            }
            "chat" if is_desk => {
                let load = self.load(Target::Json, "short");
                load.clients(8, RUN / 8).await;
                tell(Measure::Chat, load.clients(32, RUN).await.per_second(RUN));
            }
            "start" if is_desk => {
                let fresh = Server::frontdesk(self.upstream, &self.server.database());
                tell(Measure::Start, fresh.started_after.as_secs_f64() * 1e3);
            }
            _ => {}
        }
    }
}
