//! Settings for signed-in users, experts and notifications.

use jsonwebtoken::Algorithm;
use lettre::message::Mailbox;
use serde::Deserialize;

use super::{Secret, Settings, SettingsProblem, rules::check_secret};

/// Which tokens of signed-in users are accepted.
#[derive(Debug, Clone, Deserialize)]
pub struct AuthSettings {
    /// The shared secret that tokens are signed with. If this and `jwks_url` are empty, one is derived from the site's
    /// secret.
    pub jwt_secret: Secret,
    /// The URL of the issuer's public keys.
    pub jwks_url: String,
    /// The accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The audience (`aud`) that a token must have; empty: not checked.
    pub audience: String,
    /// The issuer (`iss`) that a token must have; empty: not checked.
    pub issuer: String,
    /// By how much the issuer's clock may differ from this server's, in seconds.
    pub leeway_seconds: u64,
}

/// What visitors read about experts.
#[derive(Debug, Clone, Deserialize)]
pub struct ExpertSettings {
    /// Phrases in a message that ask for an expert.
    pub phrases: Vec<String>,
    /// Shown in the queue if an available expert was asked.
    pub waiting: String,
    /// Shown in the queue if no expert is available.
    pub nobody: String,
    /// Shown when an expert claims the conversation.
    pub taken: String,
    /// Shown when the expert releases it to the agents.
    pub returned: String,
    /// Shown when the expert resolves it.
    pub settled: String,
    /// Shown when the expert transfers it.
    pub passed_on: String,
    /// Shown when an answer is retracted.
    pub retracted: String,
    /// Shown when an expert corrects an answer.
    pub corrected: String,
}

impl ExpertSettings {
    /// Whether a message contains one of the phrases that ask for an expert.
    pub fn is_asked_for(&self, text: &str) -> bool {
        if self.phrases.is_empty() {
            return false;
        }
        let text = text.to_lowercase();
        let mut phrases = self.phrases.iter();
        phrases.any(|phrase| text.contains(&phrase.to_lowercase()))
    }
}

/// Who is notified when an expert is needed or an answer did not pass its judge.
#[derive(Debug, Clone, Deserialize)]
pub struct NotifySettings {
    /// The webhook's URL; empty: none is called.
    pub webhook_url: String,
    /// The secret that signs the webhook's calls.
    pub webhook_secret: Secret,
    /// The URL of the mail server; empty: no e-mail is sent. A secret, as it may contain a password.
    pub smtp_url: Secret,
    /// The sender of e-mails.
    pub email_from: String,
    /// The recipients of e-mails.
    pub email_to: Vec<String>,
}

impl NotifySettings {
    /// The kind of jobs that call the webhook.
    pub const WEBHOOK: &str = "webhook";
    /// The kind of jobs that send an e-mail.
    pub const EMAIL: &str = "email";

    /// The kinds of jobs to create for an event.
    pub fn kinds(&self) -> Vec<&'static str> {
        let webhook = (!self.webhook_url.is_empty()).then_some(Self::WEBHOOK);
        let email = (!self.smtp_url.is_empty()).then_some(Self::EMAIL);
        webhook.into_iter().chain(email).collect()
    }
}

/// Adds all problems of these settings to `problems`.
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
        problem("auth.algorithms", "must not be empty: [\"HS256\"]");
    }
    if !is_of(&notify.webhook_url, ["http", "https"]) {
        problem("notify.webhook_url", "must be an http or https URL");
    }
    if !notify.webhook_url.is_empty() && notify.webhook_secret.is_empty() {
        let mend = "is needed to sign the calls: openssl rand -hex 32 makes one";
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
