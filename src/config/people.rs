//! People: who is signed in, who is at the desk, who is told outside.

use jsonwebtoken::Algorithm;
use lettre::message::Mailbox;
use serde::Deserialize;

use super::{Secret, Settings, SettingsProblem, rules::check_secret};

/// Who is signed in: which tokens are taken.
#[derive(Debug, Clone, Deserialize)]
pub struct AuthSettings {
    /// What tokens are signed with; empty, without `jwks_url`: derived from the site's secret.
    pub jwt_secret: Secret,
    /// Where their issuer's keys are.
    pub jwks_url: String,
    /// The algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    /// Whom they are for; empty: not checked.
    pub audience: String,
    /// Who makes them; empty: not checked.
    pub issuer: String,
    /// How far the clocks may differ, in seconds.
    pub leeway_seconds: u64,
}

/// People at the desk: what visitors read of them.
#[derive(Debug, Clone, Deserialize)]
pub struct ExpertSettings {
    /// Words that ask for a person.
    pub phrases: Vec<String>,
    /// While somebody is there.
    pub waiting: String,
    /// While nobody is.
    pub nobody: String,
    /// When somebody takes over.
    pub taken: String,
    /// When the agents do again.
    pub returned: String,
    /// When it is settled.
    pub settled: String,
    /// When a colleague is asked.
    pub passed_on: String,
    /// When an answer is withdrawn.
    pub retracted: String,
    /// When somebody writes another one instead.
    pub corrected: String,
}

impl ExpertSettings {
    /// Whether a message has one of the words that ask for a person.
    pub fn is_asked_for(&self, text: &str) -> bool {
        if self.phrases.is_empty() {
            return false;
        }
        let text = text.to_lowercase();
        let mut phrases = self.phrases.iter();
        phrases.any(|phrase| text.contains(&phrase.to_lowercase()))
    }
}

/// Who is told outside that a person is needed, or that an answer was not let pass.
#[derive(Debug, Clone, Deserialize)]
pub struct NotifySettings {
    /// A service that is called; empty: none.
    pub webhook_url: String,
    /// What the calls are signed with.
    pub webhook_secret: Secret,
    /// A server that takes e-mail; empty: none. A secret, as it may hold a password.
    pub smtp_url: Secret,
    /// Who writes.
    pub email_from: String,
    /// To whom.
    pub email_to: Vec<String>,
}

impl NotifySettings {
    /// The kind of a job that calls the webhook.
    pub const WEBHOOK: &str = "webhook";
    /// The kind of a job that writes an e-mail.
    pub const EMAIL: &str = "email";

    /// The jobs that one event makes.
    pub fn kinds(&self) -> Vec<&'static str> {
        let webhook = (!self.webhook_url.is_empty()).then_some(Self::WEBHOOK);
        let email = (!self.smtp_url.is_empty()).then_some(Self::EMAIL);
        webhook.into_iter().chain(email).collect()
    }
}

/// Adds every problem that these settings have.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    let (auth, notify) = (&settings.auth, &settings.notify);
    check_secret("FRONTDESK_JWT_SECRET", &auth.jwt_secret, problems);
    check_secret("notify.webhook_secret", &notify.webhook_secret, problems);
    let mut problem = |at: &str, mend: &str| problems.push(SettingsProblem::new(at, mend));
    let is_of = |url: &str, schemes: [&str; 2]| {
        url.is_empty() || url::Url::parse(url).is_ok_and(|url| schemes.contains(&url.scheme()))
    };
    if !is_of(&auth.jwks_url, ["http", "https"]) {
        let mend = "must be an http or https URL: https://issuer.example.com/.well-known/jwks.json";
        problem("auth.jwks_url", mend);
    }
    if auth.algorithms.is_empty() {
        problem("auth.algorithms", "must have one: [\"HS256\"]");
    }
    if !is_of(&notify.webhook_url, ["http", "https"]) {
        problem("notify.webhook_url", "must be an http or https URL");
    }
    if !notify.webhook_url.is_empty() && notify.webhook_secret.is_empty() {
        let mend = "must be there, to sign the calls with: openssl rand -hex 32 makes one";
        problem("notify.webhook_secret", mend);
    }
    if !is_of(notify.smtp_url.reveal(), ["smtp", "smtps"]) {
        let mend = "must be smtps://user:password@mail.example.com";
        problem("notify.smtp_url", mend);
    }
    if !notify.smtp_url.is_empty() {
        let is_mailbox = |address: &String| address.parse::<Mailbox>().is_ok();
        if !is_mailbox(&notify.email_from) {
            let mend = "must be an address: The desk <desk@example.com>";
            problem("notify.email_from", mend);
        }
        if notify.email_to.is_empty() || !notify.email_to.iter().all(is_mailbox) {
            let mend = "must be addresses: [\"experts@example.com\"]";
            problem("notify.email_to", mend);
        }
    }
}
