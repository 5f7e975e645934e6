//! Limits: how many messages and requests are allowed, and how slowly a request may arrive.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Db, Person, Said, TestApp, client, settings};

both! {
    a_device_has_its_limit_on_all_instances
    beginning_anew_does_not_help
    deleting_does_not_help
    signing_in_does_not_help
    a_repeated_request_does_not_count
    whatever_a_device_or_a_user_asks_for_is_counted
}

fn limited(settings: &mut frontdesk::config::Settings) {
    settings.limits.device_messages_per_minute = 2;
    settings.llm.model = "offline".into();
}

async fn a_device_has_its_limit_on_all_instances(db: Db) {
    let app = TestApp::with(db, limited).await;
    let instance = TestApp::on(app.database.clone(), app.llm.clone(), limited).await;
    assert_eq!(app.say("d", "1").await.status, 200);
    assert_eq!(instance.say("d", "2").await.status, 200);
    let refused = app.say("d", "3").await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].as_str()),
        (429, Some("rate_limited"))
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(app.say("other", "1").await.status, 200);
    assert_eq!(
        app.history("d").await.len(),
        4,
        "what is refused is not kept"
    );
    app.advance(Duration::from_secs(wait)).await;
    assert_eq!(app.say("d", "3").await.status, 200);
}

async fn beginning_anew_does_not_help(db: Db) {
    let app = TestApp::with(db, limited).await;
    for turn in 0..4 {
        let status = app.say("d", "Hi").await.status;
        assert_eq!(status, if turn < 2 { 200 } else { 429 });
        app.delete("d", "/chat/session").await;
        app.app.engine.sessions().clean_up(1).await.unwrap();
    }
}

/// Neither erasing the data nor deleting the conversation resets a limit, and the count that is kept names nobody.
async fn deleting_does_not_help(db: Db) {
    let app = TestApp::with(db, |settings| {
        limited(settings);
        settings.limits.user_messages_per_minute = 2;
    })
    .await;
    for turn in 0..4 {
        let status = app.say("d", "Hi").await.status;
        assert_eq!(status, if turn < 2 { 200 } else { 429 });
        assert_eq!(app.delete("d", "/chat/data").await.status, 204);
        app.app.engine.sessions().clean_up(1).await.unwrap();
    }
    assert_eq!(app.count("kept_windows").await, 1);
    assert_eq!(
        app.count("kept_windows where limit_key like '%d%' and length(limit_key) < 32")
            .await,
        0
    );
    let user = Person::of(&app, "uma").await;
    for turn in 0..4 {
        let said = user.post("/messages", json!({"content": "Hi"})).await;
        assert_eq!(
            said.status,
            if turn < 2 { 200 } else { 429 },
            "{}",
            said.text
        );
        if let Some(conversation) = said.json()["conversation_id"].as_str() {
            let path = format!("/conversations/{conversation}");
            assert_eq!(user.delete(&path).await.status, 200);
        }
    }
    app.advance(Duration::from_secs(61)).await;
    assert_eq!(app.say("d", "Hi").await.status, 200);
    app.app.engine.sessions().clean_up(1).await.unwrap();
    assert_eq!(
        app.count("kept_windows").await,
        0,
        "no longer than it counts"
    );
}

/// A message that arrives while the deletion commits counts, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_during_the_deletion_is_counted() {
    let app = TestApp::with(Db::Postgres, limited).await;
    app.say("d", "Hi").await;
    app.delete("d", "/chat/data").await;
    let begin =
        "create table known as select limit_key from kept_windows; delete from kept_windows";
    app.database.execute(begin).await;
    assert_eq!(app.say("d", "Hi").await.status, 200);
    let deletes = app.database.execute(
        "begin; delete from session_locks; insert into kept_windows select limit_key, db_now(), 2 from known; \
         select pg_sleep(0.1); commit",
    );
    let said = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        app.say("d", "Hi").await
    };
    let ((), said) = tokio::join!(deletes, said);
    assert_eq!(said.status, 429, "{}", said.text);
}

/// A device's messages still count after its conversations became a user's.
async fn signing_in_does_not_help(db: Db) {
    let app = TestApp::with(db, limited).await;
    for _ in 0..2 {
        assert_eq!(app.say("d", "Hi").await.status, 200);
    }
    let token = app.token("uma", "user").await;
    let call = app
        .request(Method::POST, "d", "/api/v1/chat/conversations")
        .bearer_auth(token);
    let kept = call.json(&json!({"anonymous_id": "d"})).send().await;
    assert_eq!(kept.unwrap().status(), 201);
    assert_eq!(app.say("d", "Hi").await.status, 429);
}

async fn whatever_a_device_or_a_user_asks_for_is_counted(db: Db) {
    let few = |settings: &mut frontdesk::config::Settings| {
        settings.limits.device_requests_per_minute = 5;
    };
    let app = TestApp::with(db, few).await;
    let user = Person::of(&app, "uma").await;
    for asked in 0..7 {
        let (all_right, expected) = (asked < 5, if asked < 5 { 200 } else { 429 });
        let read = app.get("d", "/chat/history").await;
        assert_eq!(read.status, expected, "{}", read.text);
        assert_eq!(read.header("retry-after").is_empty(), all_right);
        assert_eq!(user.get("/conversations").await.status, expected);
    }
    assert_eq!(app.get("other", "/chat/history").await.status, 200);
}

async fn a_repeated_request_does_not_count(db: Db) {
    let app = TestApp::with(db, limited).await;
    for _ in 0..5 {
        let call = app
            .request(Method::POST, "d", "/chat")
            .header("Idempotency-Key", "k");
        assert_eq!(
            call.json(&json!({"content": "Hi"}))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
    assert_eq!(app.say("d", "2").await.status, 200);
    assert_eq!(app.say("d", "3").await.status, 429);
}

async fn say_from(app: &TestApp, device: &str, forwarded: (&str, &str)) -> u16 {
    let call = app
        .request(Method::POST, device, "/chat")
        .header(forwarded.0, forwarded.1);
    Said::of(call.json(&json!({"content": "Hi"})).send().await.unwrap())
        .await
        .status
        .as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_its_limit_and_only_trusted_proxies_are_believed() {
    let limited = |trusted: &'static str| {
        move |settings: &mut frontdesk::config::Settings| {
            settings.limits.address_messages_per_minute = 2;
            settings.llm.model = "offline".into();
            settings.server.trusted_proxies = vec![trusted.parse().unwrap()];
        }
    };
    let app = TestApp::with(Db::Sqlite, limited("127.0.0.0/8")).await;
    let statuses = async |headers: [(&str, &str); 3]| {
        let mut statuses = Vec::new();
        for (device, header) in ["a", "b", "c"].into_iter().zip(headers) {
            statuses.push(say_from(&app, device, header).await);
        }
        statuses
    };
    let one = ("X-Forwarded-For", "192.0.2.1");
    assert_eq!(statuses([one, one, one]).await, [200, 200, 429]);
    let invented = [
        "203.0.113.1, 192.0.2.2",
        "203.0.113.2, 192.0.2.2",
        "203.0.113.3,192.0.2.2:80",
    ];
    assert_eq!(
        statuses(invented.map(|line| ("X-Forwarded-For", line))).await,
        [200, 200, 429]
    );
    // A hop that is no address ends the search for the client: the addresses before it may be invented.
    let unreadable = [
        "198.51.100.1, unknown, 192.0.2.4, 127.0.0.2",
        "198.51.100.2, unknown, 192.0.2.4, 127.0.0.2",
        "198.51.100.3, _hidden, 192.0.2.4, 127.0.0.2",
    ];
    assert_eq!(
        statuses(unreadable.map(|line| ("X-Forwarded-For", line))).await,
        [200, 200, 429]
    );
    let hidden = ["unknown", "192.0.2.5, unknown", "192.0.2.6, secret"];
    assert_eq!(
        statuses(hidden.map(|line| ("X-Forwarded-For", line))).await,
        [200, 200, 429],
        "the proxy itself counts"
    );
    // Proxies that write X-Forwarded-For pass on a Forwarded header from the caller, so it must not count.
    let invented = ["192.0.2.7", "192.0.2.8", "192.0.2.9"];
    let mut passed_on = Vec::new();
    for (device, address) in ["a", "b", "c"].into_iter().zip(invented) {
        let call = app
            .request(Method::POST, device, "/chat")
            .header("Forwarded", format!("for={address}"))
            .header("X-Forwarded-For", "192.0.2.10");
        let call = call.json(&json!({"content": "Hi"})).send().await.unwrap();
        passed_on.push(call.status().as_u16());
    }
    assert_eq!(passed_on, [200, 200, 429]);
    let customer = ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"];
    assert_eq!(
        statuses(customer.map(|line| ("X-Forwarded-For", line))).await,
        [200, 200, 429]
    );
    let app = TestApp::with(Db::Sqlite, limited("10.0.0.0/8")).await;
    let mut statuses = Vec::new();
    for (device, address) in [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")] {
        statuses.push(say_from(&app, device, ("X-Forwarded-For", address)).await);
    }
    assert_eq!(
        statuses,
        [200, 200, 429],
        "the peer counts, whatever it says"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_that_names_the_caller_is_the_operators_choice() {
    for (header, named, passed_on) in [
        (
            "forwarded",
            [
                "for=192.0.2.3",
                "For=\"192.0.2.3:4711\";proto=https",
                "for=203.0.113.9, for=192.0.2.3, for=127.0.0.1",
            ],
            "X-Forwarded-For",
        ),
        (
            "x-real-ip",
            ["192.0.2.3", "192.0.2.3", "192.0.2.3"],
            "X-Forwarded-For",
        ),
    ] {
        let app = TestApp::with(Db::Sqlite, |settings| {
            settings.limits.address_messages_per_minute = 2;
            settings.llm.model = "offline".into();
            settings.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            settings.server.client_ip_header = header.into();
        })
        .await;
        let mut statuses = Vec::new();
        for (number, line) in named.into_iter().enumerate() {
            let call = app
                .request(Method::POST, &format!("d{number}"), "/chat")
                .header(header, line)
                .header(passed_on, format!("198.51.100.{number}"));
            let call = call.json(&json!({"content": "Hi"})).send().await.unwrap();
            statuses.push(call.status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 429], "{header}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheme_is_believed_of_trusted_proxies_only() {
    for (trusted, is_secure) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let app = TestApp::with(Db::Sqlite, |settings| {
            settings.llm.model = "offline".into();
            settings.server.trusted_proxies = vec![trusted.parse().unwrap()];
        })
        .await;
        let call = client()
            .get(format!("{}/chat/session", app.url))
            .header("X-Forwarded-Proto", "https");
        let cookie = Said::of(call.send().await.unwrap()).await;
        let cookie = cookie.header("set-cookie");
        assert_eq!(cookie.contains("Secure"), is_secure, "{cookie}");
    }
}

#[test]
fn the_defaults_are_sensible() {
    let limits = settings().limits;
    assert!(limits.enabled);
    assert_eq!(
        (
            limits.device_messages_per_minute,
            limits.address_messages_per_minute
        ),
        (30, 600)
    );
}

/// Sends the beginning of a request and returns what the server answers.
async fn stall(app: &TestApp, begun: &str) -> String {
    let mut socket = TcpStream::connect(app.url.trim_start_matches("http://"))
        .await
        .unwrap();
    socket.write_all(begun.as_bytes()).await.unwrap();
    let mut said = String::new();
    timeout(Duration::from_secs(15), socket.read_to_string(&mut said))
        .await
        .expect("cut within 15 s")
        .unwrap();
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_are_cut() {
    let app = TestApp::offline(Db::Sqlite).await;
    let body = "POST /chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{";
    let (head, body) = tokio::join!(
        stall(&app, "POST /chat HTTP/1.1\r\nHost:"),
        stall(&app, body)
    );
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(
        body.starts_with("HTTP/1.1 408 ") && body.contains("request_timeout"),
        "{body}"
    );
}
