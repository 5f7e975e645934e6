//! Two users, two experts, three instances: what each does reaches the others, and nobody exceeds their rights.

use super::*;

both! {
    all_of_them_work_together
    nobody_does_with_anothers_what_they_may_not
}

/// Three instances on one database, or one instance on SQLite.
struct Desks(Vec<TestApp>);

impl Desks {
    async fn start(db: Db) -> Self {
        let first = TestApp::start(db).await;
        let mut all = vec![first];
        if matches!(db, Db::Postgres) {
            all.push(all[0].another().await);
            all.push(all[0].another().await);
        }
        Self(all)
    }

    fn at(&self, at: usize) -> &TestApp {
        &self.0[at % self.0.len()]
    }
}

async fn titles(user: &Person<'_>) -> Vec<String> {
    let list = user.get("/conversations").await.json();
    let list = list["conversations"].as_array().unwrap().iter();
    list.map(|listed| text(&listed["user_input"])).collect()
}

async fn all_of_them_work_together(db: Db) {
    let desks = Desks::start(db).await;
    let (ann, bob) = (
        Person::of(desks.at(0), "ann").await,
        Person::of(desks.at(1), "bob").await,
    );
    let (eva, max) = (
        at_desk(desks.at(1), "eva", &[]).await,
        at_desk(desks.at(2), "max", &[]).await,
    );
    let first = id_of(&ann.say(None, "Hi").await);
    bob.say(None, "Hello").await;
    assert_eq!(titles(&ann.on(desks.at(2))).await, ["Hi"]);
    assert_eq!(titles(&bob.on(desks.at(0))).await, ["Hello"]);
    // An expert takes over in mid-answer, on another instance.
    desks
        .at(0)
        .llm
        .says(["It takes ", "a week."])
        .pause_after(1);
    let mut answer = ann.stream(Some(&first), "How long?").await;
    assert_eq!(answer.next().await.unwrap().content(), "It takes ");
    assert_eq!(eva.on(desks.at(2)).does("claim", &first).await.status, 200);
    let frames = answer.rest().await;
    let last = &frames.last().unwrap().data;
    assert_eq!(last["finish_reason"], "handoff");
    desks.at(0).llm.go_on();
    let kept = match last["keep"].as_i64().unwrap() {
        0 => vec![],
        _ => vec!["It takes ".to_owned()],
    };
    let said = ann.on(desks.at(1)).said_in(&first).await;
    assert_eq!(said[3..said.len() - 1], kept);
    assert_eq!(said.last().unwrap(), "EVA is with you now.");
    assert_eq!(max.does("claim", &first).await.status, 409);
    // Transfer, claim, release: each on another instance.
    let path = format!("/conversations/{first}/transfer");
    assert_eq!(eva.post(&path, json!({"expert": "max"})).await.status, 200);
    assert_eq!(max.on(desks.at(0)).does("claim", &first).await.status, 200);
    assert_eq!(write(&max, &first, "Three days.").await.status, 200);
    assert_eq!(
        max.on(desks.at(1)).does("release", &first).await.status,
        200
    );
    let answered = ann.on(desks.at(2)).say(Some(&first), "Thanks").await;
    assert_eq!(answered["ai_message"]["content"], "Very well.");
    assert!(
        ann.said_in(&first)
            .await
            .contains(&"Three days.".to_owned())
    );
    // Deleted on one instance, gone on all.
    let path = format!("/conversations/{first}");
    assert_eq!(ann.on(desks.at(1)).delete(&path).await.status, 200);
    assert_eq!(titles(&ann).await, [""; 0]);
    assert_eq!(max.does("claim", &first).await.status, 404);
    assert_eq!(titles(&bob.on(desks.at(2))).await, ["Hello"]);
}

async fn nobody_does_with_anothers_what_they_may_not(db: Db) {
    let desks = Desks::start(db).await;
    let app = desks.at(0);
    let (ann, own) = waiting(app, "ann").await;
    let eva = at_desk(desks.at(1), "eva", &[]).await;
    let max = at_desk(desks.at(2), "max", &[]).await;
    let bob = Person::of(desks.at(2), "bob").await;
    assert_eq!(eva.does("claim", &own).await.status, 200);
    let messages = ann.get(&format!("/conversations/{own}/messages")).await;
    let (turn, message) = {
        let first = &messages.json()[0];
        (text(&first["turn_id"]), text(&first["id"]))
    };
    let counts = async || {
        (
            app.count("messages").await,
            app.count("turns").await,
            app.count("audit_log").await,
            app.count("conversations where visitor_types_until is not null")
                .await,
        )
    };
    let before = counts().await;
    let conversation = format!("/conversations/{own}");
    let calls = [
        (Method::GET, format!("{conversation}/events")),
        (Method::POST, format!("{conversation}/typing")),
        (Method::GET, format!("/messages/stream/{turn}")),
        (Method::DELETE, format!("/messages/stream/{turn}")),
        (Method::GET, format!("/history/{own}")),
        (Method::POST, format!("/widgets/{message}")),
    ];
    for stranger in [&bob, &max] {
        for (method, path) in &calls {
            let said = stranger
                .call(method.clone(), path, json!({"answer": {}}))
                .await;
            assert_eq!(said.status, 404, "{method} {path}: {}", said.text);
        }
    }
    assert_eq!(max.does("draft", &own).await.status, 404);
    let none = "0198c0de-0000-7000-8000-000000000000";
    for user in [&ann, &bob] {
        for path in [
            "/experts",
            "/experts/me",
            "/experts/queue",
            "/experts/events",
        ] {
            assert_eq!(user.get(path).await.status, 403, "{path}");
        }
        assert_eq!(user.get("/evaluations").await.status, 403);
        assert_eq!(user.does("draft", &own).await.status, 403);
        let presence = json!({"available": true});
        let changed = user.call(Method::PUT, "/experts/me", presence).await;
        assert_eq!(changed.status, 403);
        let review = json!({"verdict": "approve"});
        let path = format!("/evaluations/{none}/review");
        assert_eq!(user.post(&path, review).await.status, 403);
    }
    assert_eq!(counts().await, before);
}
