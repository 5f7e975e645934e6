//! Notifications to people who are not at the console: by signed webhook and by e-mail.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, message::header::ContentType,
};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    clock::{Clock, SystemClock},
    config,
    http::{Clients, HttpError},
    signature::SigningKey,
    store::jobs::Job,
    text::{member, plain},
};

/// Timeout of a webhook call.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends notifications.
pub struct Notifier {
    settings: config::NotifySettings,
    key: SigningKey,
    client: Client,
}

impl Notifier {
    /// Does not connect yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn new(settings: &config::NotifySettings, clients: &Clients) -> Result<Self, HttpError> {
        Ok(Self {
            key: SigningKey::new(&settings.webhook_secret),
            // Like a tool's client, it follows no redirects.
            client: clients.outside(None)?,
            settings: settings.clone(),
        })
    }

    /// Makes one attempt. A retry has the same id, so that a receiver can recognise a repetition.
    ///
    /// # Errors
    /// Why the attempt failed, for the log.
    pub async fn deliver(&self, job: &Job) -> Result<(), String> {
        match job.kind.as_str() {
            config::NotifySettings::WEBHOOK => self.call(job).await,
            config::NotifySettings::EMAIL => self.write(job).await,
            other => Err(format!("a job of an unknown kind: {other}")),
        }
    }

    async fn call(&self, job: &Job) -> Result<(), String> {
        let mut event = job.payload.clone();
        if let Some(event) = event.as_object_mut() {
            event.insert("timestamp".to_owned(), json!(SystemClock.now()));
        }
        let call = self
            .client
            .post(&self.settings.webhook_url)
            .timeout(DELIVERY_TIMEOUT);
        let call = self.key.sign(call, job.id.0, event.to_string());
        let answer = call.send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        // Redirects are not followed, so a redirect is a failure: its target was not notified.
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("status {status}")),
        }
    }

    async fn write(&self, job: &Job) -> Result<(), String> {
        let (subject, body) = letter(&job.payload);
        let words = |error: &dyn std::error::Error| error.to_string();
        let from = self.settings.email_from.parse();
        let mut message = Message::builder()
            .from(from.map_err(|error: lettre::address::AddressError| words(&error))?)
            .message_id(Some(format!("<{}@frontdesk>", job.id)))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.settings.email_to {
            let to = to.parse();
            message = message.to(to.map_err(|error: lettre::address::AddressError| words(&error))?);
        }
        let message = message.body(body).map_err(|error| words(&error))?;
        let url = self.settings.smtp_url.reveal();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        let transport = transport.map_err(|_| "notify.smtp_url cannot be used".to_owned())?;
        let sent = transport.build().send(message).await;
        sent.map(drop).map_err(|error| words(&error))
    }
}

/// The subject and the text of the e-mail about an event.
fn letter(event: &Value) -> (String, String) {
    let data = member(event, "data");
    let line = |name: &str, what: &str| {
        let value = plain(member(data, name));
        match value.is_empty() {
            true => String::new(),
            false => format!("{what}: {value}\r\n"),
        }
    };
    let subject = match member(event, "type").as_str() {
        Some("expert.asked") => "Somebody waits at the desk",
        Some("eval.failed") => "An answer did not pass",
        Some("expert.transferred") => "A conversation was passed on",
        _ => "News from the desk",
    };
    let lines = [
        line("skill", "For whoever knows"),
        line("assigned_to", "Asked first"),
        line("judge", "Judge"),
        line("conversation_id", "Conversation"),
    ];
    (subject.to_owned(), lines.concat())
}
