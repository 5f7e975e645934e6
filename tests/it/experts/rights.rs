//! What experts and admins may see and do, and what everybody else may not.

use std::sync::Arc;

use super::*;

both! {
    what_waits_is_seen_and_what_is_anothers_is_not
    everything_forbidden_is_refused_and_writes_nothing
    the_audit_says_who_and_never_what
    bad_input_is_refused
}

async fn what_waits_is_seen_and_what_is_anothers_is_not(db: Db) {
    let app = TestApp::start(db).await;
    let (_, first) = waiting(&app, "ann").await;
    let (_, second) = waiting(&app, "bob").await;
    let third = id_of(&Person::of(&app, "cid").await.say(None, "Hi").await);
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    let admin = Person::with_role(&app, "root", "admin").await;
    // The one that has waited longest comes first.
    assert_eq!(queue(&eva).await, [first.clone(), second.clone()]);
    assert_eq!(eva.does("claim", &second).await.status, 200);
    assert_eq!(queue(&eva).await, [first.clone(), second.clone()]);
    assert_eq!(queue(&max).await, [first.as_str()]);
    assert_eq!(queue(&admin).await.len(), 2);
    let sees = async |who: &Person<'_>| {
        let mut seen = Vec::new();
        for id in [&first, &second, &third] {
            let shown = who
                .get(&format!("/conversations/{id}"))
                .await
                .status
                .as_u16();
            let read = who
                .get(&format!("/conversations/{id}/messages"))
                .await
                .status
                .as_u16();
            assert_eq!(shown, read);
            seen.push(shown);
        }
        seen
    };
    assert_eq!(sees(&eva).await, [200, 200, 404]);
    assert_eq!(sees(&max).await, [200, 404, 404]);
    assert_eq!(sees(&admin).await, [200, 200, 200]);
    // An expert who knows its id can claim a conversation that neither waits nor is claimed.
    assert_eq!(max.does("claim", &third).await.status, 200);
    assert_eq!(sees(&max).await, [200, 404, 200]);
}

async fn everything_forbidden_is_refused_and_writes_nothing(db: Db) {
    let app = TestApp::start(db).await;
    let others = match db {
        Db::Postgres => vec![app.another().await, app.another().await],
        Db::Sqlite => vec![],
    };
    let elsewhere = |at: usize| others.get(at).unwrap_or(&app);
    let (ann, own) = waiting(&app, "ann").await;
    let bob = Person::of(elsewhere(0), "bob").await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(elsewhere(1), "max", &[]).await,
    );
    assert_eq!(eva.on(elsewhere(1)).does("claim", &own).await.status, 200);
    let before = (app.count("messages").await, app.count("audit_log").await);
    let user_id = ann.get(&format!("/conversations/{own}")).await.json()["user_id"].clone();
    let passes = json!({"session_id": own, "message": "Hi", "target_user_id": user_id});
    let title = json!({"title": "His"});
    let path = format!("/conversations/{own}");
    for user in [&ann, &bob] {
        for action in ["claim", "release", "resolve", "transfer"] {
            assert_eq!(user.does(action, &own).await.status, 403, "{action}");
        }
        assert_eq!(user.get("/experts/queue").await.status, 403);
        assert_eq!(user.get("/experts/me").await.status, 403);
        assert_eq!(user.get("/audit").await.status, 403);
        assert_eq!(user.post("/passthrough", passes.clone()).await.status, 403);
    }
    for action in ["release", "resolve", "transfer"] {
        assert_eq!(max.does(action, &own).await.status, 404, "{action}");
    }
    assert_eq!(max.does("claim", &own).await.status, 409);
    assert_eq!(max.post("/passthrough", passes.clone()).await.status, 409);
    assert_eq!(max.get("/audit").await.status, 403);
    for stranger in [&bob, &max] {
        assert_eq!(stranger.get(&path).await.status, 404);
        assert_eq!(stranger.get(&format!("{path}/messages")).await.status, 404);
        assert_eq!(
            stranger
                .call(Method::PATCH, &path, title.clone())
                .await
                .status,
            404
        );
        assert_eq!(stranger.delete(&path).await.status, 404);
        let body = json!({"content": "Hi", "conversation_id": own});
        assert_eq!(stranger.post("/messages", body).await.status, 404);
    }
    // The expert who has claimed it does not get its user's rights.
    assert_eq!(eva.delete(&path).await.status, 404);
    assert_eq!(eva.call(Method::PATCH, &path, title).await.status, 404);
    let mut wrong = passes.clone();
    wrong["target_user_id"] = json!("0198c0de-0000-7000-8000-000000000000");
    assert_eq!(eva.post("/passthrough", wrong).await.status, 404);
    let nothing = "0198c0de-0000-7000-8000-000000000000";
    for action in ["claim", "release", "resolve", "transfer"] {
        assert_eq!(eva.does(action, nothing).await.status, 404, "{action}");
    }
    assert_eq!(
        (app.count("messages").await, app.count("audit_log").await),
        before
    );
    assert_eq!(eva.post("/passthrough", passes).await.status, 200);
    assert_eq!(ann.said_in(&own).await.pop().unwrap(), "Hi");
    assert_eq!(ann.delete(&path).await.status, 200);
    assert_eq!(eva.get(&path).await.status, 404);
}

async fn the_audit_says_who_and_never_what(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (ann, id) = waiting(&app, "ann").await;
    // The queue shows the visitor's words, so reading the queue is audited.
    queue(&eva).await;
    let mut feed = standing::standing(&eva, "/experts/events").await;
    standing::until(&mut feed, "snapshot").await;
    eva.get(&format!("/conversations/{id}/messages")).await;
    eva.does("claim", &id).await;
    write(&eva, &id, "Swordfish").await;
    eva.does("release", &id).await;
    ann.said_in(&id).await;
    ann.delete(&format!("/conversations/{id}")).await;
    let admin = Person::with_role(&app, "root", "admin").await;
    let audit = admin.get(&format!("/audit?conversation_id={id}")).await;
    let entries = audit.json()["entries"].clone();
    let entries = entries.as_array().unwrap().iter().rev();
    let did: Vec<_> = entries
        .map(|entry| format!("{} {}", text(&entry["actor"]), text(&entry["action"])))
        .collect();
    // The helper `write` reads the conversation first, to find its user.
    assert_eq!(
        did,
        [
            "eva read_queue",
            "eva read_queue",
            "eva read_messages",
            "eva claim",
            "eva read",
            "eva write",
            "eva release"
        ]
    );
    assert!(!audit.text.contains("Swordfish"));
    // The audit log cannot be changed, not even by SQL in the database.
    for change in [
        "delete from audit_log",
        "update audit_log set actor = 'max'",
    ] {
        let database = Arc::clone(&app.database);
        let changed = tokio::spawn(async move { database.execute(change).await });
        assert!(changed.await.is_err(), "{change}");
    }
    assert_eq!(
        admin.get("/audit?limit=2").await.json()["entries"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(admin.get("/audit?limit=0").await.status, 400);
    assert_eq!(admin.get("/audit?conversation_id=x").await.status, 400);
}

async fn bad_input_is_refused(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    for (body, param) in [
        (json!({"available": "yes"}), "available"),
        (json!({"skills": ["a".repeat(101)]}), "skills"),
        (json!({"skills": vec!["a"; 51]}), "skills"),
        (json!({"name": " "}), "name"),
    ] {
        let refused = eva.call(Method::PUT, "/experts/me", body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["param"].clone()),
            (400, json!(param)),
            "{}",
            refused.text
        );
    }
    let (_, id) = waiting(&app, "ann").await;
    for message in ["", " ", &"a".repeat(10_001)] {
        let refused = write(&eva, &id, message).await;
        assert_eq!(refused.json()["param"], "message", "{}", refused.text);
    }
    assert_eq!(eva.get("/experts/me").await.json()["name"], "EVA");
    assert_eq!(eva.does("claim", "x").await.status, 404);
}
