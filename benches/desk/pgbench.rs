//! PostgreSQL's speed for a turn's statements when each turn has two transactions of its own: pgbench
//! sends `turn.sql` as prepared statements, without any server between.

use std::{path::PathBuf, process::Command, time::Duration};

use super::server::{Database, Server};

/// Turns per second with this many clients; `None` if pgbench is not installed.
pub fn turns_per_second(upstream: &Server, clients: usize, over_time: Duration) -> Option<f64> {
    let pgbench = binary()?;
    let database = Database::postgres("pgbench");
    // The server creates the tables.
    drop(Server::frontdesk(upstream, &database));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/desk/turn.sql");
    let output = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={}", over_time.as_secs()))
        .arg(format!("--file={script}"))
        .arg(&database.url)
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rate = report.split("tps = ").nth(1)?;
    rate.split(' ').next()?.parse().ok()
}

/// Finds pgbench: Debian keeps it beside the PostgreSQL server.
fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    std::env::split_paths(&path)
        .chain(debian.flatten().map(|version| version.path().join("bin")))
        .map(|directory| directory.join("pgbench"))
        .find(|binary| binary.exists())
}
