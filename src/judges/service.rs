//! A judge that is an HTTP service, called like a webhook, with a signature. It answers
//! `{"score": 0.9, "reason": "…"}` or `{"passed": true}`.

use std::time::Duration;

use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Opinion, Submission};
use crate::{
    clock::{Clock, SystemClock},
    config::{Criterion, WebhookSettings},
    http::{Clients, HttpError, whole},
    llm::Usage,
    signature::SigningKey,
};

/// Maximum size of an answer, in bytes.
const MAX_JUDGEMENT_BYTES: usize = 64 * 1024;

/// A service that judges.
pub(super) struct Service {
    client: Client,
    url: String,
    key: SigningKey,
    timeout: Duration,
}

/// The request to the service.
#[derive(Serialize)]
struct OpinionRequest<'a> {
    judge: &'a str,
    criterion: &'a str,
    #[serde(flatten)]
    submission: &'a Submission,
}

/// The service's answer.
#[derive(Deserialize)]
struct OpinionResponse {
    score: Option<f64>,
    passed: Option<bool>,
    #[serde(default)]
    reason: String,
}

impl Service {
    pub(super) fn new(settings: &WebhookSettings, clients: &Clients) -> Result<Self, HttpError> {
        Ok(Self {
            client: clients.outside(None)?,
            url: settings.url.clone(),
            key: SigningKey::new(&settings.secret),
            timeout: Duration::from_secs(settings.timeout_seconds),
        })
    }

    pub(super) async fn ask(
        &self,
        judge: &str,
        criterion: Criterion,
        submission: &Submission,
    ) -> Result<Opinion, String> {
        let event = json!({
            "type": "eval.asked",
            "timestamp": SystemClock.now(),
            "data": OpinionRequest { judge, criterion: criterion.as_str(), submission },
        });
        let call = self.client.post(&self.url);
        let call = self.key.sign(call, Uuid::now_v7(), event.to_string());
        let answer = timeout(self.timeout, read(call)).await;
        let answer = answer.map_err(|_| "the service took too long")??;
        let said: OpinionResponse =
            serde_json::from_slice(&answer).map_err(|_| "the service gave no opinion")?;
        // `passed` overrides `score`.
        let by_word = said.passed.map(|passed| if passed { 1.0 } else { 0.0 });
        let score = by_word.or(said.score);
        Ok(Opinion {
            score: score.ok_or("the service gave no opinion")?,
            reason: said.reason,
            usage: Usage::default(),
        })
    }
}

async fn read(call: reqwest::RequestBuilder) -> Result<Vec<u8>, String> {
    let words = |error: reqwest::Error| error.without_url().to_string();
    let answer = call
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let read = whole(answer.map_err(words)?, MAX_JUDGEMENT_BYTES)
        .await
        .map_err(words)?;
    read.ok_or_else(|| "the service says too much".to_owned())
}
