//! What operators have.

use crate::support::{Db, Process, TestApp};

both! {
    the_metrics_count_what_happened
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}"))
        .parse()
        .unwrap()
}

async fn the_metrics_count_what_happened(db: Db) {
    let app = TestApp::start(db).await;
    app.llm
        .says(["a", "b"])
        .refuses(401, "", "")
        .says(["c", "d"])
        .pause_after(1);
    app.say("d", "1").await;
    app.say("d", "2").await;
    let mut stream = app.stream("d", "3").await;
    stream.next().await.unwrap();
    let metrics = app.get("d", "/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = &metrics.text;
    assert_eq!(
        value(text, r#"frontdesk_turns_total{finish_reason="stop"}"#),
        1.0
    );
    assert_eq!(
        value(text, r#"frontdesk_turns_total{finish_reason="error"}"#),
        1.0
    );
    assert_eq!(
        value(text, r#"frontdesk_upstream_errors_total{kind="status"}"#),
        1.0
    );
    assert_eq!(value(text, "frontdesk_chunks_total"), 3.0);
    assert_eq!(value(text, "frontdesk_first_chunk_seconds_count"), 2.0);
    assert_eq!(value(text, "frontdesk_chunk_seconds_count"), 3.0);
    assert_eq!(value(text, "frontdesk_open_streams"), 1.0);
    assert!(value(text, r#"frontdesk_database_connections{state="idle"}"#) >= 1.0);
    assert!(text.ends_with("# EOF\n"));
    app.llm.go_on();
    stream.rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthcheck_asks_the_server_that_runs_here() {
    let app = TestApp::offline(Db::Sqlite).await;
    let port = app.url.rsplit_once(':').unwrap().1.to_owned();
    let check = move |host: &'static str, port: String| {
        tokio::task::spawn_blocking(move || {
            Process::run(&["healthcheck"], &[("HOST", host), ("PORT", &port)]).0
        })
    };
    assert_eq!(check("0.0.0.0", port).await.unwrap(), Some(0));
    assert_eq!(check("127.0.0.1", "9".into()).await.unwrap(), Some(1));
}
