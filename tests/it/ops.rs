//! What operators use: metrics, the health check and the server's log.

use serde_json::{Value, json};

use crate::support::{Database, Db, FakeLlm, Process, Said, TestApp, client, until};

both! {
    the_metrics_count_what_happened
}

/// The value of a metric series.
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
        value(
            text,
            r#"frontdesk_upstream_errors_total{model="openai:fake",kind="status"}"#
        ),
        1.0
    );
    assert_eq!(value(text, "frontdesk_chunks_total"), 3.0);
    // The manager's call to the model counts, too.
    let first = r#"frontdesk_first_chunk_seconds_count{model="openai:fake"}"#;
    assert_eq!(value(text, first), 3.0);
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

/// The log lines with this message.
fn lines(process: &Process, said: &str) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["message"] == said)
        .collect()
}

#[tokio::test]
async fn each_line_of_a_turn_names_what_it_is_of() {
    let database = Database::empty(Db::Postgres).await;
    let llm = FakeLlm::start().await;
    llm.says(["a"]).refuses(401, "", "");
    let base = format!("{}/v1", llm.url);
    let env = [
        ("DATABASE_URL", database.url.as_str()),
        ("OPENAI_BASE_URL", &base),
        ("FRONTDESK_MODEL", "openai:fake"),
        ("DEBUG", "true"),
    ];
    let process = Process::start(&env);
    let say = async |process: &Process, device: &str, path: &str| {
        let call = client().post(format!("{}{path}", process.url));
        let call = call
            .header("X-Device-ID", device)
            .json(&json!({"content": "1"}));
        Said::of(call.send().await.unwrap()).await
    };
    let first = say(&process, "d", "/chat").await.json();
    say(&process, "d", "/chat/stream").await;
    // The test reads a log line a moment after the server wrote it.
    until(async || lines(&process, "turn finished").len() == 2).await;
    let received = lines(&process, "message received");
    assert_eq!(received[0]["channel"], "json");
    assert_eq!(received[1]["channel"], "stream");
    let created = lines(&process, "user created");
    assert_eq!(created.len(), 1, "{created:?}");
    let finished = lines(&process, "turn finished");
    assert_eq!(finished[0]["turn.finish_reason"], "stop");
    assert_eq!(finished[1]["turn.finish_reason"], "error");
    assert!(finished[0]["turn.first_word_ms"].is_u64(), "{finished:?}");
    assert!(finished[0]["llm.output_tokens"].as_u64().unwrap() > 0);
    assert_eq!(finished[1].get("turn.first_word_ms"), None);
    let failed = lines(&process, "request failed");
    assert_eq!(failed.len(), 1, "each error once");
    let locks = lines(&process, "session lock");
    assert_eq!(locks[0]["session.lock"], "set");
    assert_eq!(locks[1]["session.lock"], "kept");
    assert_eq!(locks[0]["session.ttl_seconds"], 86_400);
    assert_eq!(received[0]["turn.id"], first["turn_id"]);
    for (line, turn) in [
        (&finished[0], &received[0]),
        (&locks[0], &received[0]),
        (&finished[1], &received[1]),
        (&failed[0], &received[1]),
        (&locks[1], &received[1]),
    ] {
        let of = &line["span"];
        assert_eq!(of["turn.id"], turn["turn.id"], "{line}");
        assert_eq!(of["conversation.id"], first["conversation_id"], "{line}");
        assert_eq!(of["agent"], first["agent"], "{line}");
        assert_eq!(of["llm.model"], "openai:fake", "{line}");
    }
    let over = "update session_locks set expires_at = now() - interval '1 hour', \
        window_began = now() - interval '1 hour'";
    database.execute(over).await;
    // An instance's first message also runs a piece of the maintenance.
    let process = Process::start(&env);
    say(&process, "other", "/chat").await;
    let expired = || {
        let mut locks = lines(&process, "session lock").into_iter();
        locks.find(|line| line["session.lock"] == "expired")
    };
    until(async || expired().is_some()).await;
    let expired = expired().unwrap();
    assert_eq!(expired["session.agent"], first["agent"]);
    assert_eq!(expired["session.ttl_seconds"], 86_400);
    assert_eq!(expired["conversation.id"], first["conversation_id"]);
}
