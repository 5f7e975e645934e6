//! Device ids: which device a conversation belongs to, and which ids are accepted.

use frontdesk::config::DeviceIds;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Db, Said, TestApp};

both! {
    a_new_device_gets_an_id_and_a_cookie
    the_cookie_serves_and_the_header_wins
    malformed_ids_are_refused
    only_signed_ids_are_taken_where_that_is_asked_for
    strangers_never_share_a_conversation
    only_configured_origins_may_call
}

/// `POST /chat` with these headers and no others.
async fn chat(app: &TestApp, headers: &[(&str, &str)]) -> Said {
    let mut call = app
        .http
        .post(format!("{}/chat", app.url))
        .json(&json!({"content": "Hi"}));
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    Said::of(call.send().await.unwrap()).await
}

async fn a_new_device_gets_an_id_and_a_cookie(db: Db) {
    let app = TestApp::offline(db).await;
    let said = chat(&app, &[]).await;
    let id = said.header("x-device-id");
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 4);
    let cookie = said.header("set-cookie");
    assert_eq!(
        cookie,
        format!("frontdesk_device={id}; HttpOnly; SameSite=Lax; Path=/; Max-Age=31536000")
    );
}

async fn the_cookie_serves_and_the_header_wins(db: Db) {
    let app = TestApp::offline(db).await;
    let first = chat(&app, &[]).await;
    let id = first.header("x-device-id");
    let cookie = format!("other=1; frontdesk_device={id}");
    let second = chat(&app, &[("Cookie", &cookie)]).await;
    assert_eq!(
        (second.header("x-device-id"), second.header("set-cookie")),
        (id, "")
    );
    assert_eq!(
        first.json()["conversation_id"],
        second.json()["conversation_id"]
    );
    let third = chat(&app, &[("Cookie", &cookie), ("X-Device-ID", "mine")]).await;
    assert_eq!(third.header("x-device-id"), "mine");
    assert_ne!(
        first.json()["conversation_id"],
        third.json()["conversation_id"]
    );
}

async fn malformed_ids_are_refused(db: Db) {
    let app = TestApp::offline(db).await;
    let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
    for bad in ["", "a b", "a/b", "ü", "'; drop table users; --", &too_long] {
        let said = chat(&app, &[("X-Device-ID", bad)]).await;
        assert_eq!(
            (said.status, &said.json()["code"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_device_id")),
            "{bad}"
        );
    }
    for good in ["a", "A.z_0:-", &longest] {
        assert_eq!(
            chat(&app, &[("X-Device-ID", good)]).await.status,
            200,
            "{good}"
        );
    }
    assert!(
        chat(&app, &[("Cookie", "frontdesk_device=a b")])
            .await
            .header("set-cookie")
            .contains("frontdesk_device=")
    );
}

async fn only_signed_ids_are_taken_where_that_is_asked_for(db: Db) {
    let signed =
        |settings: &mut frontdesk::config::Settings| settings.server.device_ids = DeviceIds::Signed;
    let app = TestApp::with(db, signed).await;
    let issued = app
        .http
        .get(format!("{}/chat/session", app.url))
        .send()
        .await
        .unwrap();
    let id = Said::of(issued).await.header("x-device-id").to_owned();
    let first = chat(&app, &[("X-Device-ID", &id)]).await;
    assert_eq!(first.header("x-device-id"), id);
    let (uuid, signature) = id.split_once('.').unwrap();
    let forged = format!("{}.{signature}", uuid::Uuid::new_v4());
    for bad in [
        uuid,
        &forged,
        &format!("{uuid}."),
        &format!("{uuid}.{}", "0".repeat(64)),
        "mine",
    ] {
        assert_eq!(
            chat(&app, &[("X-Device-ID", bad)]).await.json()["code"],
            "invalid_device_id",
            "{bad}"
        );
    }
    // The instances share the secret, and no signature is stored.
    let instance = TestApp::on(app.database.clone(), app.llm.clone(), signed).await;
    let second = chat(&instance, &[("X-Device-ID", &id)]).await;
    assert_eq!(
        first.json()["conversation_id"],
        second.json()["conversation_id"]
    );
    assert_eq!(
        app.count(&format!("users where phone_number = 'chat_{uuid}'"))
            .await,
        1
    );
}

async fn strangers_never_share_a_conversation(db: Db) {
    let app = TestApp::offline(db).await;
    let (one, two) = (chat(&app, &[]).await, chat(&app, &[]).await);
    assert_ne!(one.json()["conversation_id"], two.json()["conversation_id"]);
}

async fn only_configured_origins_may_call(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.server.allowed_origins = vec!["https://example.com".into()]
    })
    .await;
    let ask = async |origin: &str| {
        let call = app
            .http
            .request(Method::OPTIONS, format!("{}/chat/stream", app.url));
        let call = call
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST");
        Said::of(
            call.header("Access-Control-Request-Headers", "content-type,x-device-id")
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let allowed = ask("https://example.com").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "https://example.com"
    );
    for other in [
        "https://example.com.evil.test",
        "http://example.com",
        "null",
    ] {
        assert_eq!(
            ask(other).await.header("access-control-allow-origin"),
            "",
            "{other}"
        );
    }
    let said = chat(&app, &[("Origin", "https://example.com")]).await;
    let exposed = said.header("access-control-expose-headers").to_lowercase();
    for header in [
        "x-device-id",
        "x-conversation-id",
        "x-turn-id",
        "retry-after",
    ] {
        assert!(exposed.contains(header), "{exposed}");
    }
    assert_eq!(
        chat(&app, &[("Origin", "https://evil.test")])
            .await
            .header("access-control-allow-origin"),
        ""
    );
}
