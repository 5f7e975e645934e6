//! How fast frontdesk is, beside two anchors in the same run: nginx, which passes the same
//! upstream's bytes through, and a bare relay of actix and reqwest without a database.
//!
//! `cargo bench --bench desk -- [--runs 5] [--only unpaced,paced,thousand,memory,burst,chat,start,trips]
//! [--servers nginx,relay,postgres,sqlite] [--growth 10000000] [--sockets 2000]`. Machines differ and are
//! noisy: compare only the ratios within one run. `docs/performance.md` explains them.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and sets up its own surroundings"
)]

mod client;
mod delay;
mod growth;
mod pgbench;
mod relay;
mod report;
mod server;
mod sockets;
mod upstream;

use std::time::Duration;

use clap::Parser;
use client::{Load, Target};
use report::{Measure, Report};
use server::{Database, Server};

/// How long a server is idle before its memory is measured again: longer than it keeps idle connections
/// to the model.
const IDLE: Duration = Duration::from_secs(190);
/// The number of clients of an unpaced load.
const CLIENTS: usize = 32;
const RUN: Duration = Duration::from_secs(4);
/// How long a paced stream lasts: 64 chunks of 10 ms.
const STREAM: Duration = Duration::from_millis(640);

/// What to run.
#[derive(Debug, Parser)]
struct Arguments {
    /// The number of runs. Servers alternate; the report shows medians.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// What to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "unpaced,paced,thousand,memory,chat,start,trips"
    )]
    only: Vec<String>,
    /// The servers to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "nginx,relay,postgres,sqlite"
    )]
    servers: Vec<String>,
    /// Measure only what a turn costs with this many stored messages.
    #[arg(long)]
    growth: Option<i64>,
    /// Measure only how soon messages are answered with this many open WebSockets.
    #[arg(long)]
    sockets: Option<usize>,
    /// Passed by cargo.
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
    if let Some(rows) = arguments.growth {
        return growth::run(&upstream, rows).await;
    }
    if let Some(connections) = arguments.sockets {
        return sockets::run(&upstream, connections).await;
    }
    let mut report = Report::default();
    let mut servers = Vec::new();
    for name in &arguments.servers {
        match start(name, &upstream, None) {
            Some(server) => servers.push(One {
                name,
                server,
                upstream: &upstream,
            }),
            None => println!("{name} is not installed."),
        }
    }
    for _ in 0..arguments.runs {
        if arguments.only.iter().any(|measure| measure == "chat")
            && let Some(rate) = pgbench::turns_per_second(&upstream, CLIENTS, RUN)
        {
            report.add("pgbench", Measure::Chat, rate);
        }
        for one in &servers {
            for measure in &arguments.only {
                let mut tell = |what, value| report.add(one.name, what, value);
                one.measure(measure, &mut tell).await;
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

fn start(name: &str, upstream: &Server, database: Option<Database>) -> Option<Server> {
    Some(match (name, database) {
        ("nginx", _) => Server::nginx(upstream)?,
        ("relay", _) => Server::relay(upstream),
        ("postgres" | "sqlite", Some(database)) => Server::frontdesk(upstream, &database),
        ("postgres", None) => Server::frontdesk(upstream, &Database::postgres("desk")),
        ("sqlite", None) => Server::frontdesk(upstream, &Database::sqlite()),
        (other, _) => unreachable!("no such server: {other}"),
    })
}

/// A server that is measured.
struct One<'a> {
    name: &'a str,
    server: Server,
    upstream: &'a Server,
}

impl One<'_> {
    fn is_desk(&self) -> bool {
        matches!(self.name, "postgres" | "sqlite")
    }

    /// The same server as a new process.
    fn fresh(&self) -> Server {
        start(self.name, self.upstream, self.server.database()).unwrap()
    }

    fn load(&self, server: &Server, text: &'static str) -> Load {
        Load {
            url: server.url.clone(),
            target: match self.is_desk() {
                true => Target::Desk,
                false => Target::Completions,
            },
            text,
        }
    }

    async fn measure(&self, measure: &str, tell: &mut dyn FnMut(Measure, f64)) {
        match measure {
            "unpaced" => {
                let load = self.load(&self.server, "unpaced");
                // Warm up: connections, caches, the first statements.
                load.clients(8, Duration::ZERO, RUN / 8).await;
                tell(
                    Measure::Unpaced,
                    load.clients(CLIENTS, Duration::ZERO, RUN)
                        .await
                        .per_second(RUN),
                );
            }
            "paced" => self.paced(tell).await,
            "thousand" => {
                let done = self
                    .load(&self.server, "paced")
                    .clients(1_000, STREAM, RUN)
                    .await;
                tell(Measure::Thousand, done.per_second(RUN));
            }
            "memory" => {
                let fresh = self.fresh();
                let before = fresh.memory();
                let open = self.load(&fresh, "silent").hold(2_000).await;
                let grown = fresh.memory().saturating_sub(before);
                tell(Measure::Memory, grown as f64 / open.len() as f64);
            }
            "burst" => tell(Measure::Burst, self.burst().await),
            "trips" if self.name == "postgres" => self.trips(tell).await,
            "chat" if self.is_desk() => {
                let load = Load {
                    target: Target::Json,
                    ..self.load(&self.server, "short")
                };
                load.clients(8, Duration::ZERO, RUN / 8).await;
                tell(
                    Measure::Chat,
                    load.clients(CLIENTS, Duration::ZERO, RUN)
                        .await
                        .per_second(RUN),
                );
            }
            "start" if self.is_desk() => {
                tell(
                    Measure::Start,
                    self.fresh().started_after.as_secs_f64() * 1e3,
                );
            }
            _ => {}
        }
    }

    /// CPU time and delay of a chunk at 200 streams of 100 tokens a second.
    async fn paced(&self, tell: &mut dyn FnMut(Measure, f64)) {
        let before = self.server.cpu();
        let done = self
            .load(&self.server, "paced")
            .clients(200, STREAM, RUN)
            .await;
        let cpu = (self.server.cpu() - before).as_secs_f64();
        done.assert_whole();
        tell(Measure::Cpu, cpu * 1e6 / done.chunks as f64);
        tell(Measure::First, done.first.percentile(50.0));
        tell(Measure::Added50, done.added.percentile(50.0));
        tell(Measure::Added99, done.added.percentile(99.0));
    }

    /// The memory of an idle process after a burst of large answers, as a ratio to that before the burst.
    async fn burst(&self) -> f64 {
        let fresh = self.fresh();
        let load = |text| self.load(&fresh, text);
        load("paced")
            .clients(200, STREAM, STREAM)
            .await
            .assert_whole();
        tokio::time::sleep(IDLE).await;
        let before = fresh.memory();
        for _ in 0..10 {
            load("large")
                .clients(200, Duration::ZERO, Duration::from_millis(1))
                .await
                .assert_whole();
        }
        tokio::time::sleep(IDLE).await;
        fresh.memory() as f64 / before as f64
    }

    /// A turn's round trips to the database when nothing else runs.
    async fn trips(&self, tell: &mut dyn FnMut(Measure, f64)) {
        let direct = self.server.database().unwrap();
        let mut delayed = url::Url::parse(&direct.url).unwrap();
        let target = format!("127.0.0.1:{}", delayed.port().unwrap());
        let proxy = delay::before(&target);
        delayed
            .set_port(proxy.rsplit(':').next().unwrap().parse().ok())
            .unwrap();
        let delayed = Database::at(delayed.to_string());
        let (mut new, mut known, mut end, mut asked) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
        for (at, database) in [direct, delayed].iter().enumerate() {
            let server = Server::frontdesk(self.upstream, database);
            let load = self.load(&server, "short");
            let (mut news, mut knowns, mut ends) = <(Vec<_>, Vec<_>, Vec<_>)>::default();
            for turn in 0..100 {
                let new = format!("trips-{at}-{turn}-{}", upstream::now());
                let (head, _) = load.head_and_end(&new).await;
                news.push(head);
                let (head, finish) = load.head_and_end("trips").await;
                knowns.push(head);
                ends.push(finish);
            }
            [new[at], known[at], end[at]] = [news, knowns, ends].map(median);
            asked[at] = median(database.ask(100));
        }
        let trips = |[direct, delayed]: [f64; 2]| (delayed - direct) / (asked[1] - asked[0]);
        tell(Measure::BeginNew, trips(new));
        tell(Measure::BeginKnown, trips(known));
        tell(Measure::Finish, trips(end));
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
