//! How fast the desk is, beside two anchors in the same run: nginx, which passes the bytes of
//! the same upstream through, and a bare relay of actix and reqwest without a database.
//!
//! `cargo bench --bench desk`. Machines differ and are noisy: read the ratios. `docs/performance.md`
//! explains them.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and sets up its own surroundings"
)]

mod client;
mod relay;
mod server;
mod upstream;

use std::time::Duration;

use client::{Load, Target};
use server::{Database, Server};

const UNPACED: &str = "unpaced";
const PACED: &str = "paced";
const RUN: Duration = Duration::from_secs(4);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("upstream") => upstream::run(),
        Some("relay") => relay::run(&arguments[2]),
        _ => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(report()),
    }
}

async fn report() {
    let upstream = Server::upstream();
    println!("# Benchmark\n");
    println!(
        "64 chunks a stream; {} cores; PostgreSQL durable, on the same cores.\n",
        num_cpus()
    );
    streams(&upstream).await;
    turns(&upstream).await;
    let started = Server::frontdesk(&upstream, &Database::sqlite()).started_after;
    println!(
        "\nFrom exec to the first 200, on SQLite: {} ms",
        started.as_millis()
    );
}

fn num_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One anchor or the desk, and what it costs to stream.
async fn streams(upstream: &Server) {
    let postgres = Database::postgres();
    let servers = [
        ("nginx", Server::nginx(upstream), Target::Completions),
        (
            "bare relay",
            Some(Server::relay(upstream)),
            Target::Completions,
        ),
        (
            "frontdesk, PostgreSQL",
            Some(Server::frontdesk(upstream, &postgres)),
            Target::Desk,
        ),
        (
            "frontdesk, SQLite",
            Some(Server::frontdesk(upstream, &Database::sqlite())),
            Target::Desk,
        ),
    ];
    println!(
        "| | unpaced streams/s (32 clients) | CPU µs a chunk | first chunk p50 ms | chunk p50 ms | chunk p99 ms | KiB a stream |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, server, target) in servers {
        let Some(server) = server else {
            println!("| {name} | not installed | | | | | |");
            continue;
        };
        let load = |text| Load {
            url: server.url.clone(),
            target,
            text,
        };
        // Warm: connections, caches, the first conversation's statements.
        load(UNPACED).clients(8, Duration::from_millis(500)).await;
        let unpaced = load(UNPACED).clients(32, RUN).await;
        let cpu_before = server.cpu();
        // 200 streams of 100 tokens a second: each stream lasts 640 ms.
        let paced = load(PACED).clients(200, RUN).await;
        let cpu = (server.cpu() - cpu_before).as_secs_f64() * 1e6 / paced.chunks as f64;
        let memory_before = server.memory();
        let open = load("silent").hold(2_000).await;
        let memory = server.memory().saturating_sub(memory_before) / 2_000;
        drop(open);
        println!(
            "| {name} | {:.0} | {cpu:.1} | {:.2} | {:.2} | {:.2} | {memory} |",
            unpaced.streams as f64 / RUN.as_secs_f64(),
            paced.first.percentile(50.0),
            paced.added.percentile(50.0),
            paced.added.percentile(99.0),
        );
        assert_eq!(
            unpaced.broken + paced.broken,
            0,
            "{name}: a stream lost, doubled or disordered a chunk"
        );
    }
}

async fn turns(upstream: &Server) {
    println!("\n| `POST /chat`, 32 clients | turns/s |\n| --- | --- |");
    for (name, database) in [
        ("PostgreSQL", Database::postgres()),
        ("SQLite", Database::sqlite()),
    ] {
        let server = Server::frontdesk(upstream, &database);
        let load = Load {
            url: server.url.clone(),
            target: Target::Json,
            text: "short",
        };
        load.clients(8, Duration::from_millis(500)).await;
        let done = load.clients(32, RUN).await;
        println!(
            "| {name} | {:.0} |",
            done.streams as f64 / RUN.as_secs_f64()
        );
    }
}
