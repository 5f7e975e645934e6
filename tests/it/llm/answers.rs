//! Model answers that no vendor documents.

use super::{VENDORS, app};
use crate::support::{Db, Step, TestApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_an_upstream_error() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8";
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
    let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/plain";
    let body = |text: &str| Step::Raw(text.as_bytes().to_vec());
    for vendor in VENDORS {
        let app = app(vendor).await;
        for (what, script) in [
            (
                "HTML",
                vec![Step::Head(html.into()), body("<h1>Welcome to nginx!</h1>")],
            ),
            (
                "a page called text",
                vec![Step::Head(plain.into()), body("\n<!doctype html>")],
            ),
            (
                "an error object called events",
                vec![body(r#"{"error": {"message": "no"}}"#)],
            ),
            (
                "blank text",
                vec![
                    Step::Text("\n".into()),
                    Step::Text(" ".into()),
                    Step::Finish("stop"),
                ],
            ),
            (
                "an error object",
                vec![
                    Step::Head(json.into()),
                    body(r#"{"error": {"message": "no"}}"#),
                ],
            ),
            ("no JSON", vec![body("data: {\"choices\": oops\n\n")]),
            (
                "an error event",
                vec![body("data: {\"error\": {\"message\": \"overloaded\"}}\n\n")],
            ),
            ("nothing", vec![Step::Finish("stop")]),
        ] {
            for _ in 0..3 {
                app.llm.script(script.clone());
            }
            let said = app.say("d", "Hi").await;
            assert_eq!(
                (said.status.as_u16(), said.json()["code"].as_str()),
                (502, Some("upstream_error")),
                "{vendor} {what}"
            );
            app.llm.forget_scripts();
        }
        // An error in mid-answer keeps the text before it.
        app.llm.script([
            Step::Text("a".into()),
            body("data: {\"error\": {\"message\": \"overloaded\"}}\n\n"),
        ]);
        assert_eq!(
            app.stream("d", "Hi").await.told().await,
            "a|error",
            "{vendor}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_event_is_refused_and_a_long_answer_cut() {
    let app = app("openai").await;
    let huge = format!("data: {}", "x".repeat(10 * 1024 * 1024));
    app.llm
        .script([Step::Text("a".into()), Step::Raw(huge.into_bytes())]);
    assert_eq!(app.stream("d", "1").await.told().await, "a|error");
    let piece = Step::Text("x".repeat(1024 * 1024));
    app.llm
        .script(std::iter::repeat_n(piece, 5).chain([Step::Finish("stop")]));
    let said = app.say("d", "2").await.json();
    assert_eq!(
        (
            said["content"].as_str().unwrap().len(),
            said["finish_reason"].as_str()
        ),
        (4 * 1024 * 1024, Some("length"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_stream_is_understood() {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
    for (vendor, body) in [
        (
            "openai",
            r#"{"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "length"}]}"#,
        ),
        (
            "anthropic",
            r#"{"content": [{"type": "text", "text": "a"}], "stop_reason": "max_tokens"}"#,
        ),
    ] {
        let app = app(vendor).await;
        app.llm
            .script([Step::Head(json.into()), Step::Raw(body.into())]);
        assert_eq!(
            app.stream("d", "1").await.told().await,
            "a|length",
            "{vendor}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nul_from_a_model_is_replaced_and_stored_text_is_streamed_text() {
    for db in [Db::Postgres, Db::Sqlite] {
        let app = TestApp::start(db).await;
        app.llm.says(["a\0", "b\u{2028}"]);
        assert_eq!(
            app.stream("d", "Hi").await.told().await,
            "a\u{FFFD}b\u{2028}|stop"
        );
        assert_eq!(app.history("d").await[1], "assistant: a\u{FFFD}b\u{2028}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_understood_whatever_they_are_called() {
    let app = app("openai").await;
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
    let text = crate::support::text_event(false, "a");
    app.llm.script([
        Step::Head(json.into()),
        Step::Raw(text.into_bytes()),
        Step::Finish("stop"),
    ]);
    assert_eq!(app.stream("d", "1").await.told().await, "a|stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reasoning_is_never_shown() {
    let app = app("openai").await;
    app.llm.says(["<th", "ink>secret", "</think>\n\nHi"]);
    assert_eq!(app.stream("d", "1").await.told().await, "Hi|stop");
    assert_eq!(app.history("d").await[1], "assistant: Hi");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_never_stops_is_broken_off() {
    let app = app("openai").await;
    app.llm.manager_babbles();
    assert_eq!(
        app.say("d", "My invoice is wrong").await.json()["agent"],
        "support"
    );
}
