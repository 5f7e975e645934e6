//! The error type of all responses: a stable [`Code`], and what else the client may know.
//!
//! Responses are `application/problem+json` (RFC 9457). A stream's error frames use the same codes.
//! A 5xx does not tell the client its cause; the cause is logged once, when the response is made
//! ([`Error::log`]).

use std::time::Duration;

use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header};
use serde::Serialize;
use serde_json::{Map, Value};

/// A result whose error can be sent to a client.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request or a turn failed. The snake_case names are part of the wire contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body is not the JSON that this call expects.
    InvalidBody,
    /// One field breaks its rule; `param` names it.
    InvalidField,
    /// The context does not fit the agent; `param` names the field if one field is wrong.
    InvalidContext,
    /// `X-Device-ID` is malformed, or not signed by this site.
    InvalidDeviceId,
    /// The event id (`Last-Event-ID`) is malformed, or belongs to another turn.
    InvalidCursor,
    /// The token is missing or not valid.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// Nothing is found, or the caller may not see it.
    NotFound,
    /// No agent has this path.
    UnknownAgent,
    /// The URL exists, but does not accept this method.
    MethodNotAllowed,
    /// The body took too long to arrive.
    RequestTimeout,
    /// Another message of the conversation is being answered.
    TurnInProgress,
    /// The widget was answered before.
    AlreadyAnswered,
    /// Another expert has claimed the conversation.
    AlreadyClaimed,
    /// The evaluation is already reviewed, or needs no review.
    AlreadyReviewed,
    /// The frames of this turn are no longer kept; the history has the text.
    Gone,
    /// The body, or the message in it, is too large.
    PayloadTooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The answer does not fit the widget; `param` names the field if one field is wrong.
    InvalidAnswer,
    /// The idempotency key was used with another body.
    IdempotencyKeyReused,
    /// Too many messages or requests.
    RateLimited,
    /// A bug or a failure in this server.
    Internal,
    /// The model's server, or an agent's service, failed or sent an unreadable response.
    UpstreamError,
    /// The answer was cut off: its instance died, or the model's connection closed.
    Interrupted,
    /// The answer was made, but could not be stored.
    AnswerNotStored,
    /// The database cannot be reached, or the server is busy or shutting down.
    Unavailable,
    /// The model's server did not answer in time.
    UpstreamTimeout,
}

/// The HTTP status, the title and the retry delay (in seconds) of a [`Code`].
struct Meaning {
    status: StatusCode,
    title: &'static str,
    retry_after: Option<u32>,
}

impl Code {
    /// Every code, for the table in the documentation and its test.
    pub const ALL: [Self; 27] = [
        Self::InvalidBody,
        Self::InvalidField,
        Self::InvalidContext,
        Self::InvalidDeviceId,
        Self::InvalidCursor,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::UnknownAgent,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TurnInProgress,
        Self::AlreadyAnswered,
        Self::AlreadyClaimed,
        Self::AlreadyReviewed,
        Self::Gone,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidAnswer,
        Self::IdempotencyKeyReused,
        Self::RateLimited,
        Self::Internal,
        Self::UpstreamError,
        Self::Interrupted,
        Self::AnswerNotStored,
        Self::Unavailable,
        Self::UpstreamTimeout,
    ];

    #[rustfmt::skip] // Keeps one code per line.
    fn meaning(self) -> Meaning {
        let (status, title, retry_after) = match self {
            Self::InvalidBody => (400, "The body cannot be read", None),
            Self::InvalidField => (400, "A field is not valid", None),
            Self::InvalidContext => (400, "The context does not fit the agent", None),
            Self::InvalidDeviceId => (400, "The device id is not valid", None),
            Self::InvalidCursor => (400, "The event id is not valid", None),
            Self::Unauthorized => (401, "Not signed in", None),
            Self::Forbidden => (403, "Not allowed", None),
            Self::NotFound => (404, "Not found", None),
            Self::UnknownAgent => (404, "No agent has this path", None),
            Self::MethodNotAllowed => (405, "Method not allowed", None),
            Self::RequestTimeout => (408, "The request took too long", None),
            Self::TurnInProgress => (409, "Another message is being answered", Some(2)),
            Self::AlreadyAnswered => (409, "The widget was answered before", None),
            Self::AlreadyClaimed => (409, "Somebody else has the conversation", None),
            Self::AlreadyReviewed => (409, "There is nothing to review", None),
            Self::Gone => (410, "No longer kept", None),
            Self::PayloadTooLarge => (413, "The body is too large", None),
            Self::UnsupportedMediaType => (415, "The body must be application/json", None),
            Self::InvalidAnswer => (422, "The answer does not fit the widget", None),
            Self::IdempotencyKeyReused => (422, "The idempotency key was used with another body", None),
            Self::RateLimited => (429, "Too many messages", Some(60)),
            Self::Internal => (500, "Internal error", None),
            Self::UpstreamError => (502, "The model's server failed", None),
            Self::Interrupted => (503, "The answer was interrupted", Some(1)),
            Self::AnswerNotStored => (503, "The answer could not be stored", Some(5)),
            Self::Unavailable => (503, "Temporarily unavailable", Some(2)),
            Self::UpstreamTimeout => (504, "The model's server did not answer in time", None),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Meaning { status, title, retry_after }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.meaning().status
    }

    /// A sentence for people, the same for every error of this code.
    pub fn title(self) -> &'static str {
        self.meaning().title
    }

    /// Seconds until a client may try again; `None` if trying again does not help.
    pub fn retry_after(self) -> Option<u32> {
        self.meaning().retry_after
    }

    /// The snake_case name, as on the wire.
    pub fn as_str(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Parses the name of a code, as the database stores it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

/// An error to send to the client.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", code.title(), detail.as_deref().unwrap_or("-"))]
pub struct Error {
    /// What went wrong.
    pub code: Code,
    /// What the client may know about this error. Never an internal cause.
    pub detail: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// More members for the problem document.
    pub extra: Map<String, Value>,
    /// Seconds until the client may try again; overrides [`Code::retry_after`].
    retry_after: Option<u64>,
    /// Whether the cause is already logged.
    logged: bool,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with only a code.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            param: None,
            extra: Map::new(),
            retry_after: None,
            logged: false,
            source: None,
        }
    }

    /// An [`InvalidField`](Code::InvalidField) error; `param` is the field.
    pub fn field(param: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut error = Self::new(Code::InvalidField).detail(detail);
        error.param = Some(param.into());
        error
    }

    /// Sets the detail that the client reads.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a member to the problem document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Attaches the cause, for the log only.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets how long the client has to wait, rounded up to the next whole second.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs() + 1);
        self
    }

    /// Marks the cause as already logged.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.logged = true;
        self
    }

    /// Logs one line for a 5xx. A client's mistake (4xx) is not logged.
    pub fn log(&self) {
        if self.logged || !self.code.status().is_server_error() {
            return;
        }
        let cause = self.source.as_deref().map(tracing::field::display);
        if self.code == Code::Internal {
            tracing::error!(
                error.code = self.code.as_str(),
                error.cause = cause,
                "request failed"
            );
        } else {
            tracing::warn!(
                error.code = self.code.as_str(),
                error.cause = cause,
                "request failed"
            );
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let mut problem = self.extra.clone();
        let status = self.code.status();
        problem.insert("type".into(), "about:blank".into());
        problem.insert("title".into(), self.code.title().into());
        problem.insert("status".into(), status.as_u16().into());
        problem.insert("code".into(), self.code.as_str().into());
        if let Some(detail) = &self.detail {
            problem.insert("detail".into(), detail.as_str().into());
        }
        if let Some(param) = &self.param {
            problem.insert("param".into(), param.as_str().into());
        }
        let mut response = HttpResponse::build(status);
        let by_code = || self.code.retry_after().map(u64::from);
        if let Some(seconds) = self.retry_after.or_else(by_code) {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(turn) = self.extra.get("turn_id").and_then(Value::as_str) {
            response.insert_header(("X-Turn-ID", turn));
        }
        if self.code == Code::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response
            .content_type("application/problem+json")
            .body(Value::Object(problem).to_string())
    }
}
