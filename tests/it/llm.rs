//! Calls to models: what is sent, and how refusals, stalls and odd answers are handled.

use frontdesk::config::{ModelSettings, Secret};
use serde_json::json;

use crate::support::{Db, Step, TestApp};

mod answers;

/// The vendors' names, and so their wire formats.
const VENDORS: [&str; 2] = ["openai", "anthropic"];

async fn app(vendor: &str) -> TestApp {
    with(vendor, ModelSettings::default()).await
}

/// This model with its settings, the vendor's key, and timeouts of 1 s (20 s in total).
async fn with(vendor: &str, model: ModelSettings) -> TestApp {
    TestApp::with(Db::Sqlite, |settings| {
        settings.llm = serde_json::from_value(json!({
            "model": format!("{vendor}:fake"),
            "retries": 2,
            "connect_timeout_seconds": 1,
            "first_token_timeout_seconds": 1,
            "idle_timeout_seconds": 1,
            "payload_idle_timeout_seconds": 1,
            "total_timeout_seconds": 20,
            "openai": {"api_key": "sk-secret", "base_url": settings.llm.openai.base_url, "model": ""},
            "anthropic": {"api_key": "sk-secret", "base_url": settings.llm.anthropic.base_url, "model": ""},
            "models": {},
        }))
        .unwrap();
        settings.llm.models.insert(format!("{vendor}:fake"), model);
    })
    .await
}

fn fallback(vendor: &str) -> ModelSettings {
    ModelSettings {
        fallbacks: vec![format!("{vendor}:second")],
        ..ModelSettings::default()
    }
}

/// The models that were asked, in order.
fn models(app: &TestApp) -> Vec<String> {
    app.llm
        .asked()
        .iter()
        .map(|request| request.body["model"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_vendor_is_asked_in_its_own_format() {
    for vendor in VENDORS {
        let model = ModelSettings {
            temperature: Some(0.5),
            max_tokens: Some(100),
            headers: [("X-Team".into(), Secret::new("desk"))].into(),
            ..ModelSettings::default()
        };
        let app = with(vendor, model).await;
        let body = json!({"content": "Look", "media_urls": ["https://example.com/a.png"]});
        assert_eq!(
            app.post("d", "/chat", body).await.content(),
            "Very well.",
            "{vendor}"
        );
        let mut request = app.llm.asked().remove(0);
        for field in ["/messages/0/content", "/system"] {
            if let Some(text) = request
                .body
                .pointer_mut(field)
                .filter(|text| text.is_string())
            {
                *text = "[the prompt]".into();
            }
        }
        let headers = [
            "authorization",
            "x-api-key",
            "anthropic-version",
            "x-team",
            "content-type",
        ];
        let headers: Vec<_> = headers
            .iter()
            .filter_map(|name| Some(format!("{name}: {}", request.header(name)?)))
            .collect();
        let body = serde_json::to_string_pretty(&request.body).unwrap();
        insta::assert_snapshot!(
            format!("asked_{vendor}"),
            format!("{}\n{}\n{body}", request.path, headers.join("\n"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_failures_are_tried_again_before_the_first_word() {
    for vendor in VENDORS {
        let app = app(vendor).await;
        app.llm
            .refuses(503, "", "")
            .refuses(429, "Retry-After: 0\r\n", "")
            .says(["a"]);
        assert_eq!(app.say("d", "1").await.content(), "a", "{vendor}");
        let soon = httpdate::fmt_http_date(std::time::SystemTime::now());
        app.llm
            .refuses(429, &format!("Retry-After: {soon}\r\n"), "")
            .script([Step::Cut])
            .says(["b"]);
        assert_eq!(app.say("d", "2").await.content(), "b", "{vendor}");
        app.llm.refuses(401, "", "").says(["never"]);
        assert_eq!(
            app.say("d", "3").await.status,
            502,
            "{vendor}: a wrong key stays wrong"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_model_takes_over_before_the_first_word_only() {
    for vendor in VENDORS {
        let app = with(vendor, fallback(vendor)).await;
        app.llm
            .refuses(429, "Retry-After: 3600\r\n", "")
            .says(["a"]);
        assert_eq!(app.say("d", "1").await.content(), "a", "{vendor}");
        assert_eq!(
            models(&app),
            ["fake", "second"],
            "{vendor}: nobody waits for an hour"
        );
        app.llm.says(["b", "c"]).cut_after(1);
        assert_eq!(
            app.stream("d", "2").await.told().await,
            "b|interrupted",
            "{vendor}"
        );
        assert_eq!(models(&app).len(), 3, "{vendor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_ends_by_its_timer() {
    for vendor in VENDORS {
        let app = with(vendor, fallback(vendor)).await;
        app.llm.script([Step::Pause]).says(["a"]);
        assert_eq!(
            app.say("d", "1").await.content(),
            "a",
            "{vendor}: before the first word the next model is asked"
        );
        app.llm.says(["b", "c"]).pause_after(1);
        let said = app.say("d", "2").await;
        assert_eq!(
            (said.status.as_u16(), said.content().as_str()),
            (504, "b"),
            "{vendor}"
        );
        assert_eq!(said.json()["code"], "upstream_timeout");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alives_do_not_keep_an_answer_alive_for_ever() {
    for vendor in VENDORS {
        let app = app(vendor).await;
        let alive = if vendor == "anthropic" {
            "event: ping\ndata: {\"type\": \"ping\"}\n\n"
        } else {
            ": ping\n\n\n"
        };
        let text = crate::support::text_event(vendor == "anthropic", "a");
        app.llm.script([
            Step::Raw(text.into_bytes()),
            Step::Drip(alive.as_bytes().to_vec()),
        ]);
        let said = app.say("d", "1").await;
        assert_eq!(
            (said.status.as_u16(), said.content().as_str()),
            (504, "a"),
            "{vendor}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_field_is_left_out_from_then_on() {
    let temperature = ModelSettings {
        temperature: Some(1.5),
        max_tokens: Some(9),
        ..ModelSettings::default()
    };
    for vendor in VENDORS {
        let app = with(vendor, temperature.clone()).await;
        app.llm
            .refuses(
                400,
                "",
                r#"{"error": {"message": "Unsupported value: 'temperature'"}}"#,
            )
            .says(["a"]);
        assert_eq!(app.say("d", "1").await.content(), "a", "{vendor}");
        assert_eq!(app.say("d", "2").await.status, 200, "{vendor}");
        let sent: Vec<_> = app
            .llm
            .asked()
            .iter()
            .map(|request| request.body.get("temperature").is_some())
            .collect();
        assert_eq!(sent, [true, false, false], "{vendor}");
    }
    let app = with("openai", temperature).await;
    let newer =
        "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    app.llm.refuses(400, "", newer).says(["a"]);
    assert_eq!(app.say("d", "1").await.content(), "a");
    assert_eq!(app.llm.asked()[1].body["max_completion_tokens"], 9);
    assert_eq!(app.llm.asked()[1].body.get("max_tokens"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_cannot_see_gets_the_urls_of_images() {
    for vendor in VENDORS {
        let app = app(vendor).await;
        app.llm
            .refuses(400, "", "this model does not support images")
            .says(["a"]);
        let body = json!({"content": "Look", "media_urls": ["https://example.com/a.png"]});
        assert_eq!(
            app.post("d", "/chat", body).await.content(),
            "a",
            "{vendor}"
        );
        let last = app.llm.asked().pop().unwrap().body["messages"].to_string();
        assert!(
            last.contains("Look\\n[image: https://example.com/a.png]"),
            "{vendor}: {last}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_complete_leaves_its_connection_usable() {
    let app = app("openai").await;
    for _ in 0..5 {
        app.say("d", "Hi").await;
    }
    assert!(
        app.llm.connections() <= 2,
        "{} connections for 6 calls",
        app.llm.connections()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_without_an_answer_does_not_break_the_conversation() {
    for vendor in VENDORS {
        let app = app(vendor).await;
        app.llm.refuses(401, "", "");
        app.say("d", "1").await;
        app.say("d", "2").await;
        let roles: Vec<_> = app.llm.asked()[1]
            .conversation()
            .iter()
            .map(|said| said.split(':').next().unwrap().to_owned())
            .collect();
        assert_eq!(roles, ["user"], "{vendor}: roles alternate");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_azure_address_keeps_its_query() {
    let app = TestApp::with(Db::Sqlite, |settings| {
        settings
            .llm
            .openai
            .base_url
            .push_str("/deployments/d?api-version=2024-10-21");
    })
    .await;
    app.say("d", "1").await;
    assert_eq!(
        app.llm.asked()[0].path,
        "/v1/deployments/d/chat/completions?api-version=2024-10-21"
    );
}
