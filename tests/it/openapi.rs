//! The OpenAPI document: it has every call, and all of its references resolve.

use std::collections::BTreeSet;

use regex::Regex;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Db, TestApp};

both! {
    what_is_documented_is_what_is_there
}

fn matches(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    let found = pattern.captures_iter(text);
    found.map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_handler_is_documented() {
    let routes = include_str!("../../src/routes.rs");
    let documented = include_str!("../../src/routes/openapi.rs");
    let mut handlers = matches(r"\bto\(([a-z_]+::[a-z_:]+)\)", routes);
    // Pages, and the echo for WebSocket test suites, are not part of the API.
    handlers.retain(|handler| {
        let no_api = ["pages::", "openapi::", "ws::echo"];
        !no_api.iter().any(|other| handler.starts_with(other))
    });
    let listed = matches(r"\n    +([a-z_:]+),", documented);
    let listed: BTreeSet<_> = listed
        .into_iter()
        .filter(|name| name.contains("::"))
        .collect();
    assert_eq!(listed, handlers);
}

async fn what_is_documented_is_what_is_there(db: Db) {
    let app = TestApp::offline(db).await;
    let api = app.get("d", "/openapi.json").await;
    assert_eq!(api.header("content-type"), "application/json");
    let text = &api.text;
    let api: Value = api.json();
    for reference in matches(r##""\$ref":"#([^"]+)""##, text) {
        assert!(api.pointer(&reference).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (path, calls) in api["paths"].as_object().unwrap() {
        let calls = calls.as_object().unwrap();
        for call in calls.values() {
            let id = call["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            let summary = call["summary"].as_str().unwrap();
            assert!(!summary.starts_with('`'), "{summary}");
        }
        // Another method is refused, and the refusal lists the methods that exist.
        let path = path.replace(['{', '}'], "");
        let trace = Method::from_bytes(b"LINK").unwrap();
        let token = app.token("ann", "admin").await;
        let call = app.http.request(trace, format!("{}{path}", app.url));
        let refused = call.bearer_auth(token).send().await.unwrap();
        assert_eq!(refused.status(), 405, "{path}");
        let allowed = refused.headers()["allow"].to_str().unwrap().to_owned();
        let mut allowed: BTreeSet<_> = allowed.split(", ").map(str::to_lowercase).collect();
        // HEAD exists wherever GET does.
        allowed.remove("head");
        assert_eq!(allowed, calls.keys().cloned().collect(), "{path}");
    }
}
