//! Authentication: which tokens are accepted, and which are refused.

use std::time::Duration;

use frontdesk::{auth::Role, config::Secret};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Db, Endpoint, Said, TestApp, client};

both! {
    a_token_of_the_derived_secret_is_taken
    a_token_that_is_not_ours_is_refused
    the_keys_of_an_issuer_are_asked_for_and_kept
    a_header_does_not_choose_its_key
    audience_and_issuer_are_checked
    a_role_that_there_is_not_is_forbidden
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const LIST: &str = "/api/v1/chat/conversations";

/// A server with a shared secret.
async fn with_secret(db: Db) -> TestApp {
    TestApp::with(db, |settings| {
        settings.auth.jwt_secret = Secret::new(SECRET);
    })
    .await
}

async fn list(app: &TestApp, token: &str) -> Said {
    let call = app.http.get(format!("{}{LIST}", app.url));
    let call = call.header("Authorization", format!("Bearer {token}"));
    Said::of(call.send().await.unwrap()).await
}

/// Seconds since 1970, `ahead` seconds after the server's time.
fn now(app: &TestApp, ahead: i64) -> i64 {
    app.now().0 / 1_000_000 + ahead
}

fn signed(header: &Header, claims: &Value, secret: &str) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

async fn a_token_of_the_derived_secret_is_taken(db: Db) {
    let app = TestApp::start(db).await;
    let life = Duration::from_secs(60);
    let token = app.app.auth.token("ann", Role::User, life).await.unwrap();
    assert_eq!(list(&app, &token).await.status, 200);
    // The token is valid on every instance and under both path prefixes.
    if db == Db::Postgres {
        assert_eq!(list(&app.another().await, &token).await.status, 200);
    }
    let call = app.http.get(format!("{}/v1/chat/conversations", app.url));
    let call = call.header("Authorization", format!("bearer {token}"));
    assert_eq!(call.send().await.unwrap().status(), 200);
    // It is valid until its expiry plus the leeway.
    app.advance(Duration::from_secs(75)).await;
    assert_eq!(list(&app, &token).await.status, 200);
    app.advance(Duration::from_secs(20)).await;
    assert_eq!(list(&app, &token).await.status, 401);
}

async fn a_token_that_is_not_ours_is_refused(db: Db) {
    let app = with_secret(db).await;
    let good = json!({"sub": "ann", "exp": now(&app, 60)});
    let plain = Header::new(Algorithm::HS256);
    let token = signed(&plain, &good, SECRET);
    assert_eq!(list(&app, &token).await.status, 200);
    let (head, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let none = base64(br#"{"alg":"none","typ":"JWT"}"#);
    let critical = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..plain.clone()
    };
    let without = |claims: Value| signed(&plain, &claims, SECRET);
    let refused = [
        ("nothing", String::new()),
        ("no token", "x".to_owned()),
        ("alg none", format!("{none}.{body}.")),
        ("alg none, signed", format!("{none}.{body}.{signature}")),
        ("an empty signature", format!("{head}.{body}.")),
        ("no signature", format!("{head}.{body}")),
        (
            "another's signature",
            signed(&plain, &good, "another secret, long enough, too"),
        ),
        (
            "a body exchanged",
            format!(
                "{head}.{}.{signature}",
                base64(br#"{"sub":"admin","exp":9999999999}"#)
            ),
        ),
        (
            "an algorithm that is not allowed",
            signed(&Header::new(Algorithm::HS512), &good, SECRET),
        ),
        (
            "an extension that has to be known",
            signed(&critical, &good, SECRET),
        ),
        (
            "expired",
            without(json!({"sub": "ann", "exp": now(&app, -31)})),
        ),
        ("never expires", without(json!({"sub": "ann"}))),
        (
            "expires at a word",
            without(json!({"sub": "ann", "exp": "never"})),
        ),
        (
            "expired before all time",
            without(json!({"sub": "ann", "exp": -1e300})),
        ),
        (
            "not valid yet",
            without(json!({"sub": "ann", "exp": now(&app, 600), "nbf": now(&app, 300)})),
        ),
        (
            "valid from a word",
            without(json!({"sub": "ann", "exp": now(&app, 600), "nbf": "now"})),
        ),
        ("nobody's", without(json!({"exp": now(&app, 60)}))),
        (
            "an empty sub",
            without(json!({"sub": "", "exp": now(&app, 60)})),
        ),
        (
            "a sub too long",
            without(json!({"sub": "a".repeat(256), "exp": now(&app, 60)})),
        ),
        (
            "a sub with NUL",
            without(json!({"sub": "a\0b", "exp": now(&app, 60)})),
        ),
        (
            "a sub that is a number",
            without(json!({"sub": 7, "exp": now(&app, 60)})),
        ),
        (
            "16 kB",
            without(json!({"sub": "ann", "exp": now(&app, 60), "more": "a".repeat(16_000)})),
        ),
    ];
    for (what, token) in refused {
        let said = list(&app, &token).await;
        assert_eq!(said.status, 401, "{what}: {}", said.text);
        assert_eq!(said.json()["code"], "unauthorized", "{what}");
        assert_eq!(said.header("www-authenticate"), "Bearer", "{what}");
        assert!(token.len() < 20 || !said.text.contains(&token), "{what}");
    }
    // On a connection of its own, because the server may close it.
    let huge = client().get(format!("{}{LIST}", app.url));
    let huge = huge.bearer_auth("a".repeat(1_000_000)).send().await;
    // Refused, or the connection is closed while the request is still being sent.
    assert!(huge.is_err() || huge.is_ok_and(|said| said.status().is_client_error()));
    // A device id is no login: these paths answer 401, even those that do not exist.
    for path in [LIST, "/api/v1/chat/nothing", "/v1/chat/conversations/x"] {
        let said = Said::of(app.request(Method::GET, "d", path).send().await.unwrap()).await;
        assert_eq!(said.status, 401, "{path}");
    }
    assert_eq!(app.count("users").await, 0);
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer's signing key: an Ed25519 key in PKCS #8, and the public key as the issuer publishes it.
fn issuer_key(seed: u8, kid: &str) -> (EncodingKey, Value) {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend([seed; 32]);
    let key = EncodingKey::from_ed_der(&der);
    let mut public = json!(Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap());
    public["kid"] = json!(kid);
    (key, public)
}

fn by_issuer(key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(Algorithm::EdDSA)
    };
    encode(&header, claims, key).unwrap()
}

/// A server that accepts this issuer's tokens.
async fn with_issuer(db: Db, issuer: &Endpoint, keys: &[&Value]) -> TestApp {
    issuer.at("/keys", 200, &json!({"keys": keys}).to_string());
    let url = format!("{}/keys", issuer.url);
    TestApp::with(db, |settings| settings.auth.jwks_url = url).await
}

async fn the_keys_of_an_issuer_are_asked_for_and_kept(db: Db) {
    let issuer = Endpoint::start().await;
    let ((old, old_public), (new, new_public)) = (issuer_key(1, "old"), issuer_key(2, "new"));
    let app = with_issuer(db, &issuer, &[&old_public]).await;
    let claims = json!({"sub": "ann", "exp": now(&app, 100_000)});
    for _ in 0..3 {
        let said = list(&app, &by_issuer(&old, Some("old"), &claims)).await;
        assert_eq!(said.status, 200, "{}", said.text);
    }
    // Without a key id the server uses the only key that fits.
    assert_eq!(
        list(&app, &by_issuer(&old, None, &claims)).await.status,
        200
    );
    assert_eq!(issuer.asked().len(), 1);
    // An unknown key id makes the server fetch the keys again, but at most every 30 s.
    issuer.at("/keys", 200, &json!({"keys": [new_public]}).to_string());
    for _ in 0..3 {
        assert_eq!(
            list(&app, &by_issuer(&new, Some("new"), &claims))
                .await
                .status,
            401
        );
    }
    assert_eq!(issuer.asked().len(), 1);
    app.advance(Duration::from_secs(31)).await;
    assert_eq!(
        list(&app, &by_issuer(&new, Some("new"), &claims))
            .await
            .status,
        200
    );
    assert_eq!(
        list(&app, &by_issuer(&old, Some("old"), &claims))
            .await
            .status,
        401
    );
    assert_eq!(issuer.asked().len(), 2);
    // While the issuer fails, the keys fetched before stay valid.
    issuer.at("/keys", 500, "");
    app.advance(Duration::from_secs(4000)).await;
    assert_eq!(
        list(&app, &by_issuer(&new, Some("new"), &claims))
            .await
            .status,
        200
    );
    assert_eq!(issuer.asked().len(), 3);
}

async fn a_header_does_not_choose_its_key(db: Db) {
    let issuer = Endpoint::start().await;
    let ((own, own_public), (foreign, foreign_public)) =
        (issuer_key(1, "own"), issuer_key(2, "own"));
    let shared =
        json!({"kty": "oct", "k": base64(SECRET.as_bytes()), "kid": "shared", "alg": "HS256"});
    let app = with_issuer(db, &issuer, &[&own_public, &shared]).await;
    let foreign_keys = json!({"keys": [foreign_public]}).to_string();
    issuer.at("/foreign", 200, &foreign_keys);
    let claims = json!({"sub": "ann", "exp": now(&app, 60)});
    assert_eq!(
        list(&app, &by_issuer(&own, Some("own"), &claims))
            .await
            .status,
        200
    );
    let jwk = serde_json::from_value(foreign_public.clone()).unwrap();
    let header = Header {
        kid: Some("own".to_owned()),
        jku: Some(format!("{}/foreign", issuer.url)),
        jwk: Some(jwk),
        ..Header::new(Algorithm::EdDSA)
    };
    let by_header = encode(&header, &claims, &foreign).unwrap();
    let hmac = |kid: &str, secret: &[u8]| {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let public = own_public["x"].as_str().unwrap();
    let refused = [
        ("its own key", by_header),
        ("a public key as a secret", hmac("own", public.as_bytes())),
        (
            "the published document as a secret",
            hmac("own", own_public.to_string().as_bytes()),
        ),
        (
            "a secret that was published",
            hmac("shared", SECRET.as_bytes()),
        ),
        ("the site's secret beside an issuer", hmac("", b"")),
        ("a path", by_issuer(&own, Some("../../etc/passwd"), &claims)),
        ("SQL", by_issuer(&own, Some("own' or '1'='1"), &claims)),
        (
            "a key of another name",
            by_issuer(&foreign, Some("own"), &claims),
        ),
    ];
    for (what, token) in refused {
        let said = list(&app, &token).await;
        assert_eq!(said.status, 401, "{what}: {}", said.text);
    }
    let paths = issuer.asked().into_iter().map(|asked| asked.path);
    assert!(paths.into_iter().all(|path| path == "/keys"));
    // The server has no secret to sign tokens with.
    let made = app
        .app
        .auth
        .token("ann", Role::Admin, Duration::from_secs(60));
    assert!(made.await.is_err());
}

async fn audience_and_issuer_are_checked(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.auth.jwt_secret = Secret::new(SECRET);
        settings.auth.audience = "desk".to_owned();
        settings.auth.issuer = "https://issuer.example.com".to_owned();
    })
    .await;
    let token = |aud: Value, iss: Value| {
        let claims = json!({"sub": "ann", "exp": now(&app, 60), "aud": aud, "iss": iss});
        signed(&Header::new(Algorithm::HS256), &claims, SECRET)
    };
    let issuer = json!("https://issuer.example.com");
    let cases = [
        (200, token(json!("desk"), issuer.clone())),
        (200, token(json!(["shop", "desk"]), issuer.clone())),
        (401, token(json!("shop"), issuer.clone())),
        (401, token(json!(null), issuer)),
        (401, token(json!("desk"), json!("https://example.com"))),
        (401, token(json!("desk"), json!(null))),
    ];
    for (status, token) in cases {
        assert_eq!(list(&app, &token).await.status, status);
    }
    let life = Duration::from_secs(60);
    let own = app.app.auth.token("ann", Role::User, life).await.unwrap();
    assert_eq!(list(&app, &own).await.status, 200);
}

async fn a_role_that_there_is_not_is_forbidden(db: Db) {
    let app = with_secret(db).await;
    for (role, status) in [
        ("user", 200),
        ("expert", 200),
        ("admin", 200),
        ("root", 403),
        ("Admin", 403),
    ] {
        let claims = json!({"sub": "ann", "exp": now(&app, 60), "role": role});
        let said = list(
            &app,
            &signed(&Header::new(Algorithm::HS256), &claims, SECRET),
        )
        .await;
        assert_eq!(said.status, status, "{role}");
    }
}
