//! Token usage, and the daily token budgets.

use std::time::Duration;

use crate::support::{Db, Step, TestApp};
use frontdesk::{config::Settings, store::budgets::SpentBy};

both! {
    what_a_turn_costs_is_kept
    what_no_vendor_says_is_counted
    a_device_has_its_budget_for_a_day
    erasing_gives_no_budget_back
    what_a_deleted_turn_has_reserved_is_settled
    a_site_has_one_for_all
    turns_at_once_do_not_spend_the_same_twice
    what_a_dead_server_has_reserved_is_settled
}

fn one_agent(settings: &mut Settings) {
    settings.agents.retain(|path, _| path == "support");
    settings.agents.get_mut("support").unwrap().prompt = "You help.".to_owned();
}

/// Scripts an answer with this token usage.
fn costs(app: &TestApp, read: u64, written: u64) {
    let text = Step::Text("Well.".to_owned());
    let end = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let end = Step::Raw(format!("{end}\n\n").into_bytes());
    app.llm.script([text, end, Step::Usage(read, written)]);
}

async fn spent(app: &TestApp) -> (i64, i64, i64) {
    let (turns, _) = app.app.store.spent(SpentBy::default()).await.unwrap();
    (turns.count, turns.input, turns.output)
}

async fn what_a_turn_costs_is_kept(db: Db) {
    let app = TestApp::with(db, one_agent).await;
    costs(&app, 700, 30);
    assert_eq!(app.say("d", "Hi").await.content(), "Well.");
    costs(&app, 900, 40);
    app.say("d", "Hi").await;
    assert_eq!(spent(&app).await, (2, 1600, 70));
    // Usage is stored per turn, and the vendor is asked to report it.
    let of = "turns where input_tokens = 900 and output_tokens = 40";
    assert_eq!(app.count(of).await, 1);
    assert_eq!(
        app.llm.asked()[0].body["stream_options"]["include_usage"],
        true
    );
    let metrics = app.get("d", "/metrics").await.text;
    assert!(
        metrics.contains(r#"frontdesk_tokens_total{model="openai:fake",direction="input"} 1600"#),
        "{metrics}"
    );
}

async fn what_no_vendor_says_is_counted(db: Db) {
    let app = TestApp::with(db, one_agent).await;
    app.llm.says(["Four letters each, "; 10]);
    app.say("d", "How much is it?").await;
    let (turns, input, output) = spent(&app).await;
    // A token is about four bytes.
    assert_eq!((turns, output), (1, 48));
    assert!((3..20).contains(&input), "{input}");
}

/// A server with these daily budgets, where a turn reserves 500 tokens.
async fn with_budgets(db: Db, device: u64, site: u64) -> TestApp {
    TestApp::with(db, |settings| {
        one_agent(settings);
        settings.budgets.device_tokens_per_day = device;
        settings.budgets.site_tokens_per_day = site;
        settings.budgets.reserved_tokens = 500;
        settings.budgets.answer = "Come back tomorrow.".to_owned();
    })
    .await
}

async fn a_device_has_its_budget_for_a_day(db: Db) {
    let app = with_budgets(db, 1000, 0).await;
    costs(&app, 550, 50);
    assert_eq!(app.say("d", "Hi").await.content(), "Well.");
    assert_eq!(app.count("reservations").await, 0);
    // 600 of 1,000 tokens are spent: fewer than the 500 that a turn reserves are left.
    let said = app.say("d", "Hi").await;
    assert_eq!(
        (said.status.as_u16(), said.content().as_str()),
        (200, "Come back tomorrow.")
    );
    assert_eq!(said.json()["finish_reason"], "stop");
    assert_eq!(app.llm.asked().len(), 1);
    assert_eq!(app.history("d").await[3], "assistant: Come back tomorrow.");
    // Every device has its own budget, and every day a new one.
    costs(&app, 1, 1);
    assert_eq!(app.say("e", "Hi").await.content(), "Well.");
    app.advance(Duration::from_secs(24 * 3600)).await;
    assert_eq!(app.count("budgets").await, 2);
    costs(&app, 1, 1);
    assert_eq!(app.say("d", "Hi").await.content(), "Well.");
}

async fn erasing_gives_no_budget_back(db: Db) {
    let app = with_budgets(db, 1000, 0).await;
    costs(&app, 550, 50);
    assert_eq!(app.say("d", "Hi").await.content(), "Well.");
    assert_eq!(app.delete("d", "/chat/data").await.status, 204);
    assert_eq!(app.say("d", "Hi").await.content(), "Come back tomorrow.");
    assert_eq!(app.llm.asked().len(), 1);
    assert_eq!(app.count("budgets where scope like '%:d'").await, 0);
}

/// Erasing data in mid-answer settles the reservation, so repeated erasing cannot block the site's budget with
/// open reservations.
async fn what_a_deleted_turn_has_reserved_is_settled(db: Db) {
    let app = with_budgets(db, 0, 1600).await;
    app.llm.says(["A", "B"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    stream.next().await.unwrap();
    assert_eq!(app.count("budgets where reserved > 0").await, 1);
    assert_eq!(app.delete("d", "/chat/data").await.status, 204);
    assert_eq!(app.count("reservations").await, 0);
    assert_eq!(app.count("budgets where reserved <> 0").await, 0);
    assert_eq!(app.count("budgets where spent > 0").await, 1);
}

async fn a_site_has_one_for_all(db: Db) {
    let app = with_budgets(db, 0, 1000).await;
    costs(&app, 700, 0);
    app.say("d", "Hi").await;
    assert_eq!(app.say("e", "Hi").await.content(), "Come back tomorrow.");
}

async fn turns_at_once_do_not_spend_the_same_twice(db: Db) {
    let app = with_budgets(db, 0, 1600).await;
    for _ in 0..3 {
        app.llm.says(["A", "B"]).pause_after(1);
    }
    let mut streams = Vec::new();
    for device in ["a", "b", "c"] {
        let mut stream = app.stream(device, "Hi").await;
        assert_eq!(stream.next().await.unwrap().content(), "A");
        streams.push(stream);
    }
    // 1,500 of 1,600 tokens are reserved; none is spent yet.
    assert_eq!(app.say("d", "Hi").await.content(), "Come back tomorrow.");
    for _ in 0..3 {
        app.llm.go_on();
    }
    for stream in streams {
        stream.rest().await;
    }
    app.llm.says(["There is room again."]);
    let said = app.say("e", "Hi").await.content();
    assert_eq!(said, "There is room again.");
}

async fn what_a_dead_server_has_reserved_is_settled(db: Db) {
    let app = with_budgets(db, 1000, 0).await;
    app.llm.says(["A", "B"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    stream.next().await.unwrap();
    assert_eq!(app.count("reservations where tokens = 500").await, 1);
    // Another server ended the turn, and died before it settled the reservation.
    app.database
        .execute("update turns set finish_reason = 'interrupted'".to_owned())
        .await;
    assert_eq!(app.app.store.settle(None, 10).await.unwrap(), 1);
    assert_eq!(app.app.store.settle(None, 10).await.unwrap(), 0);
    // The turn's usage is unknown, so the reserved tokens count as spent.
    assert_eq!(
        app.count("budgets where spent = 500 and reserved = 0")
            .await,
        1
    );
    // Budgets of past days are deleted.
    assert_eq!(app.app.store.forget_budgets(0).await.unwrap(), 0);
    assert_eq!(app.app.store.forget_budgets(i64::MAX).await.unwrap(), 1);
}
