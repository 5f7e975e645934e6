//! Whether a turn's cost grows with the stored messages, of its own conversation and of all others.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _,
    connection::SimpleConnection as _,
    sql_query,
    sql_types::{BigInt, Text},
};

use super::{
    client::{Load, Target},
    server::{Database, Server},
};

/// The number of messages in each conversation that is continued.
const LENGTHS: [i64; 3] = [10, 1_000, 100_000];
/// The number of turns per measurement.
const TURNS: usize = 300;

/// Measures turns on an empty database and on one with `rows` messages; prints a table.
pub async fn run(upstream: &Server, rows: i64) {
    let database = Database::postgres("growth");
    let server = Server::frontdesk(upstream, &database);
    let mut conn = PgConnection::establish(&database.url).unwrap();
    let empty = turns(&server, None).await;
    let began = Instant::now();
    seed(&mut conn, rows);
    println!("{rows} messages seeded in {:?}.\n", began.elapsed());
    let scanned = scans(&mut conn);
    println!("| a turn, one after the other | p50 ms | p99 ms |\n| --- | --- | --- |");
    row("a new device, empty tables", &empty);
    row(
        &format!("a new device, {rows} messages in the table"),
        &turns(&server, None).await,
    );
    for length in LENGTHS {
        let device = format!("growth-{length}");
        row(
            &format!("a conversation of {length} messages and more"),
            &turns(&server, Some(&device)).await,
        );
    }
    println!(
        "| `frontdesk tick` that finds nothing | {:.2} | |",
        housekeeping(&database)
    );
    assert_eq!(
        scans(&mut conn),
        scanned,
        "a table was read from end to end"
    );
}

fn row(what: &str, times: &[f64]) {
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("| {what} | {:.2} | {:.2} |", at(50), at(99));
}

/// Runs turns one after another, all of one device or each of a new one; their times in ms, sorted.
async fn turns(server: &Server, device: Option<&str>) -> Vec<f64> {
    let load = Load {
        url: server.url.clone(),
        target: Target::Json,
        text: "short",
    };
    let mut times = Vec::new();
    for _ in 0..TURNS {
        times.push(load.one(device).await.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// How many ms longer `frontdesk tick` takes than `frontdesk migrate`, which only looks at the schema.
fn housekeeping(database: &Database) -> f64 {
    let run = |command: &str| {
        let began = Instant::now();
        let done = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .arg(command)
            .env_clear()
            .env("DATABASE_URL", &database.url)
            .env("FRONTDESK_RETENTION__DAYS", "3650")
            .output()
            .unwrap();
        assert!(done.status.success());
        began.elapsed().as_secs_f64() * 1e3
    };
    let nothing = run("migrate");
    run("tick") - nothing
}

/// The number of rows read by sequential scans of the tables that grow.
fn scans(conn: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Scans {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    // Idle connections report their statistics 10 s late.
    std::thread::sleep(Duration::from_secs(11));
    sql_query(
        "select coalesce(sum(seq_tup_read), 0)::bigint as rows from pg_stat_user_tables \
         where relname in ('users', 'conversations', 'messages', 'turns', 'session_locks')",
    )
    .get_result::<Scans>(conn)
    .unwrap()
    .rows
}

/// Creates `rows` messages, in conversations of 100 that began in the last 1,000 days; and the
/// conversations of [`LENGTHS`].
fn seed(conn: &mut PgConnection, rows: i64) {
    conn.batch_execute(
        "set session_replication_role = replica; set synchronous_commit = off; \
         create function seeded(kind int, ms bigint, n bigint) returns uuid language sql immutable as \
         $$ select (lpad(to_hex(ms), 12, '0') || '7' || kind || '00' || '8' || lpad(to_hex(n), 15, '0'))::uuid $$; \
         create table of (device text, n bigint, begun timestamptz, said bigint);",
    )
    .unwrap();
    sql_query(
        "insert into of select 'seeded-' || n, n, now() - (random() * 1000) * interval '1 day', 100 \
         from generate_series(1, $1 / 100) as n",
    )
    .bind::<BigInt, _>(rows)
    .execute(conn)
    .unwrap();
    for (n, length) in (1_i64..).zip(LENGTHS) {
        sql_query("insert into of select $1, -$2, now() - interval '1 day', $3")
            .bind::<Text, _>(format!("growth-{length}"))
            .bind::<BigInt, _>(n)
            .bind::<BigInt, _>(length)
            .execute(conn)
            .unwrap();
    }
    conn.batch_execute(include_str!("growth.sql")).unwrap();
    conn.batch_execute("vacuum analyze").unwrap();
}
