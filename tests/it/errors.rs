//! Refused requests: each gets a status and a code, and nothing is stored.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
};

use frontdesk::error::Code;
use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Db, Said, TestApp};

both! {
    bad_input_is_refused_and_not_kept
    odd_text_is_stored_and_returned_equal
    unknown_urls_and_methods_are_problems
    whoever_still_sends_learns_why_it_is_refused
}

#[test]
fn the_codes_are_documented() {
    let mut table = String::from("| code | status | what | retry |\n| --- | --- | --- | --- |\n");
    for code in Code::ALL {
        let retry = code
            .retry_after()
            .map(|seconds| format!("after {seconds} s"))
            .unwrap_or_default();
        writeln!(
            table,
            "| `{}` | {} | {} | {retry} |",
            code.as_str(),
            code.status().as_u16(),
            code.title()
        )
        .unwrap();
    }
    let docs =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md")).unwrap();
    assert!(
        docs.contains(&table),
        "docs/errors.md must have this table:\n{table}"
    );
}

async fn raw(app: &TestApp, content_type: &str, body: impl Into<reqwest::Body>) -> Said {
    let call = app
        .request(Method::POST, "d", "/chat")
        .header("Content-Type", content_type);
    Said::of(call.body(body).send().await.unwrap()).await
}

async fn bad_input_is_refused_and_not_kept(db: Db) {
    let app = TestApp::offline(db).await;
    let deep = format!(
        r#"{{"content": "a", "metadata": {{"a": {}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let long = json!({"content": "ä".repeat(10_001)}).to_string();
    let nine = json!({"content": "a", "media_urls": vec!["https://example.com"; 9]}).to_string();
    let fat = json!({"content": "a", "metadata": {"a": "a".repeat(17_000)}}).to_string();
    // Each member is almost as large as its own limit allows.
    let url = format!("https://example.com/{}", "u".repeat(2_000));
    let all = json!({
        "content": "\u{1f600}".repeat(9_000),
        "media_urls": vec![&url; 8],
        "audio_urls": vec![&url; 8],
        "metadata": {"a": "a".repeat(15_000)},
    })
    .to_string();
    let mut refusals = String::new();
    for (what, body) in [
        ("empty", ""),
        ("not JSON", "content=Hi"),
        ("an array", "[]"),
        ("no content", "{}"),
        ("content null", r#"{"content": null}"#),
        ("content a number", r#"{"content": 1}"#),
        ("content blank", r#"{"content": " \n"}"#),
        ("content twice", r#"{"content": "a", "content": "b"}"#),
        ("content too long", &long),
        ("nested too deep", &deep),
        ("cut off", r#"{"content": "a"#),
        ("nine images", &nine),
        (
            "an image from a file",
            r#"{"content": "a", "media_urls": ["file:///etc/passwd"]}"#,
        ),
        (
            "a recording of no scheme",
            r#"{"content": "a", "audio_urls": ["//example.com"]}"#,
        ),
        ("a file", r#"{"content": "a", "file_ids": ["x"]}"#),
        ("metadata no object", r#"{"content": "a", "metadata": 1}"#),
        ("metadata too large", &fat),
        ("too large in sum", &all),
        (
            "messages and content",
            r#"{"content": "a", "messages": []}"#,
        ),
        (
            "no user in messages",
            r#"{"messages": [{"role": "ai", "text": "a"}]}"#,
        ),
        (
            "an agent that is none",
            r#"{"content": "a", "agent": "../support"}"#,
        ),
    ] {
        let said = raw(&app, "application/json", body.to_owned()).await;
        assert_eq!(
            said.header("content-type"),
            "application/problem+json",
            "{what}"
        );
        assert_eq!(said.header("x-device-id"), "d", "{what}");
        writeln!(refusals, "{what}: {}", said.json()).unwrap();
    }
    let large = raw(&app, "application/json", vec![b' '; 300_000]).await;
    writeln!(refusals, "300 kB: {}", large.json()).unwrap();
    let form = raw(&app, "text/plain", r#"{"content": "a"}"#).await;
    writeln!(refusals, "as text: {}", form.json()).unwrap();
    assert_snapshot!("refusals", refusals);
    assert_eq!(app.count("messages").await, 0);
    let huge = app.request(Method::GET, &"a".repeat(1_000_000), "/chat/session");
    let huge = huge.send().await;
    // Refused, or the connection is closed while the request is still being sent.
    assert!(huge.is_err() || huge.is_ok_and(|said| said.status().is_client_error()));
}

async fn odd_text_is_stored_and_returned_equal(db: Db) {
    let app = TestApp::offline(db).await;
    let say = async |json: &str| {
        raw(&app, "application/json; charset=utf-8", json.to_owned())
            .await
            .status
    };
    assert_eq!(say(r#"{"content": "a\u0000b"}"#).await, 200);
    assert_eq!(say(r#"{"content": "a\ud800b"}"#).await, 200);
    assert_eq!(say(r#"{"content": "a\u2028\u2029\u0085b"}"#).await, 200);
    assert_eq!(
        say(r#"{"content": "a\ud83d\ude00 عربى 中文 \ufeff \\ \" </script>"}"#).await,
        200
    );
    assert_eq!(
        say(r#"{"content": "a", "metadata": {"k\u0000": "v\ud800"}}"#).await,
        200
    );
    let history = app.get("d", "/chat/history").await.json();
    let said = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "user");
    let said: Vec<&str> = said
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        [
            "a\u{FFFD}b",
            "a\u{FFFD}b",
            "a\u{2028}\u{2029}\u{85}b",
            "a😀 عربى 中文 \u{feff} \\ \" </script>",
            "a"
        ]
    );
    let messages = history["messages"].as_array().unwrap();
    let data: Vec<&Value> = messages
        .iter()
        .map(|message| &message["additional_data"])
        .filter(|data| !data.is_null())
        .collect();
    assert_eq!(data, [&json!({"k\u{FFFD}": "v\u{FFFD}"})]);
}

async fn unknown_urls_and_methods_are_problems(db: Db) {
    let app = TestApp::offline(db).await;
    for (method, path, status, allow) in [
        (Method::GET, "/nothing", 404, ""),
        (Method::GET, "/chat/nothing", 404, ""),
        (Method::GET, "/assets/nothing", 404, ""),
        (Method::GET, "/assets/..%2f..%2fCargo.toml", 404, ""),
        (Method::GET, "/chat", 405, "POST"),
        (Method::PUT, "/chat/stream", 405, "GET, POST"),
        (Method::POST, "/healthz", 405, "GET, HEAD"),
        (Method::HEAD, "/healthz", 200, ""),
    ] {
        let said = Said::of(app.request(method.clone(), "d", path).send().await.unwrap()).await;
        assert_eq!(
            (said.status.as_u16(), said.header("allow")),
            (status, allow),
            "{method} {path}"
        );
        if status != 200 {
            assert_eq!(said.json()["status"], status, "{method} {path}");
        }
    }
}

async fn whoever_still_sends_learns_why_it_is_refused(db: Db) {
    let app = TestApp::offline(db).await;
    let address = app.url.trim_start_matches("http://").to_owned();
    for (path, content_type, status) in [
        ("/chat", "application/json", "413"),
        ("/chat", "text/plain", "415"),
        ("/api/v1/chat/messages", "application/json", "401"),
        ("/nowhere", "application/json", "404"),
        ("/chat/history", "application/json", "405"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: 2000000\r\n\r\n"
        );
        let address = address.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.write_all(head.as_bytes()).unwrap();
            // All of it is sent before anything is read.
            socket.write_all(&[b'a'; 2_000_000]).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}
