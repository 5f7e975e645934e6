//! HTTP calls to a model's server. They adapt to it: an optional field that the server refuses is left out.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use parking_lot::{Mutex, MutexGuard};
use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};

use super::{
    Chunks, Failure, LlmError, Model, Request,
    events::{Format, Reading, ResponseBody, body},
    refusal,
};
use crate::http::Clients;

/// The name that images have among the optional fields.
const IMAGES: &str = "images";
/// Maximum bytes that are read of an error response.
const REFUSAL_BYTES: usize = 64 * 1024;

/// One vendor's URL, and the fields that its server refuses.
#[derive(Debug)]
pub(super) struct Endpoint {
    clients: Arc<Clients>,
    url: String,
    headers: HeaderMap,
    idle: Duration,
    /// Refused fields, each with the model's name.
    refused: Mutex<BTreeSet<(String, &'static str)>>,
}

impl Endpoint {
    pub(super) fn new(
        clients: Arc<Clients>,
        url: String,
        headers: HeaderMap,
        idle: Duration,
    ) -> Self {
        Self {
            clients,
            url,
            headers,
            idle,
            refused: Mutex::default(),
        }
    }

    /// Sends the request without retries; returns when the answer begins.
    pub(super) async fn ask(
        &self,
        model: &Model,
        request: &Request,
        format: Format,
    ) -> Result<Chunks, LlmError> {
        let response = self.call(model, request, format).await?;
        match body(response, self.idle).await? {
            ResponseBody::Events(events) => Ok(Reading::new(*events, format).boxed()),
            ResponseBody::Json(json) => Ok(stream::iter([(format.whole)(&json)]).boxed()),
        }
    }

    /// Repeats the call without each optional field that the server refuses, and without images if it
    /// cannot take them: their URLs are then in the text. Once a call succeeds, the fields that it left
    /// out are left out of later calls too.
    async fn call(
        &self,
        model: &Model,
        request: &Request,
        format: Format,
    ) -> Result<Response, LlmError> {
        let mut left_out = Vec::new();
        loop {
            let allowed = |field| !left_out.contains(&field) && !self.is_refused(model, field);
            let request = match allowed(IMAGES) {
                true => Cow::Borrowed(request),
                false => Cow::Owned(name_images(request)),
            };
            let body = (format.body)(model, &request, &allowed);
            let (status, text) = match send(self.post(model)?.json(&body)).await {
                Err(Refusal::Refused(status, text)) => (status, text),
                Err(Refusal::Failed(error)) => return Err(error),
                Ok(response) => {
                    self.remember(model, left_out);
                    return Ok(response);
                }
            };
            let sent = format
                .optional
                .iter()
                .copied()
                .filter(|field| body.get(*field).is_some());
            let has_images = request
                .messages
                .iter()
                .any(|message| !message.images.is_empty());
            let fault = refusal::field(status, &text, sent).or_else(|| {
                (has_images && refusal::may_be_images(status, &text)).then_some(IMAGES)
            });
            match fault {
                Some(field) => left_out.push(field),
                None => {
                    return Err(LlmError::new(
                        Failure::Status(status.as_u16()),
                        refusal::reason(&text),
                    ));
                }
            }
        }
    }

    fn remember(&self, model: &Model, left_out: Vec<&'static str>) {
        for field in left_out {
            tracing::info!(
                llm.model = model.spec,
                llm.field = field,
                "the model's server refuses this: left out from now on"
            );
            self.refused().insert((model.name.clone(), field));
        }
    }

    fn post(&self, model: &Model) -> Result<RequestBuilder, LlmError> {
        let client = self.clients.here();
        let client = client.map_err(|error| LlmError::new(Failure::Connect, error))?;
        let call = client.post(&self.url).headers(self.headers.clone());
        let own = model.settings.headers.iter();
        Ok(own.fold(call, |call, (name, value)| {
            call.header(name, value.reveal())
        }))
    }

    fn is_refused(&self, model: &Model, field: &'static str) -> bool {
        self.refused().contains(&(model.name.clone(), field))
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<(String, &'static str)>> {
        self.refused.lock()
    }
}

/// A header value that logs do not show. `None` if the key is not a valid header value: it is then not
/// sent, and the server's refusal shows the mistake.
pub(super) fn secret_header(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The request with its images as URLs in the text.
fn name_images(request: &Request) -> Request {
    let mut request = request.clone();
    for message in &mut request.messages {
        for url in message.images.drain(..) {
            message.text.push_str(&format!("\n[image: {url}]"));
        }
    }
    request
}

enum Refusal {
    /// The server answered with an error status.
    Refused(StatusCode, String),
    Failed(LlmError),
}

async fn send(call: RequestBuilder) -> Result<Response, Refusal> {
    let failed = |error: reqwest::Error| {
        // The URL is removed because it may hold a key.
        let error = error.without_url();
        let kind = if error.is_timeout() {
            Failure::Timeout
        } else {
            Failure::Connect
        };
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Refusal::Failed(LlmError::new(kind, cause))
    };
    let response = call.send().await.map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(&response);
    let text = beginning(response).await;
    if retry_after.is_some() {
        let mut error = LlmError::new(Failure::Status(status.as_u16()), refusal::reason(&text));
        error.retry_after = retry_after;
        return Err(Refusal::Failed(error));
    }
    Err(Refusal::Refused(status, text))
}

/// The beginning of an error response's body, at most 2,000 characters.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Ok(Some(bytes))) =
        tokio::time::timeout(Duration::from_secs(5), response.chunk()).await
    {
        body.extend_from_slice(&bytes);
        if body.len() >= REFUSAL_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&body).chars().take(2_000).collect()
}

/// `Retry-After`, in seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}
