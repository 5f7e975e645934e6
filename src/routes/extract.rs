//! Extractors: what handlers take from a request, checked.

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::{
        Method,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
    web::{BytesMut, Payload as Body},
};
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::de::DeserializeOwned;
use std::{
    future::{Ready, ready},
    str::FromStr,
    time::Duration,
};
use tokio::time::timeout;

use super::caller::caller;
use crate::{
    app::App,
    error::{Code, Error, Result},
    store::MessageId,
    text,
    turn::{ResumePoint, SKILL_CHARACTERS},
};

/// Maximum bytes of a JSON body: room for 10,000 escaped characters and the other members.
const BODY_BYTES: usize = 256 * 1024;

/// The header that says whether there are older messages. A short page does not: long messages shorten it.
pub(super) const HAS_MORE: &str = "X-Has-More";
/// Maximum messages per page.
const PAGE_MESSAGES: u32 = 200;
/// Maximum characters of a client's name for a session.
const SESSION_CHARACTERS: usize = 255;

/// How long a body may take to arrive; actix has a timeout only for the head.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request
            .content_type()
            .eq_ignore_ascii_case("application/json");
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            let body = body.await.map_err(|_| Error::new(Code::InvalidBody))?;
            if !is_json {
                return Err(Error::new(Code::UnsupportedMediaType));
            }
            let read = timeout(BODY_TIMEOUT, whole(body)).await;
            let bytes = read.map_err(|_| Error::new(Code::RequestTimeout))??;
            // serde would also accept an array for a struct.
            if bytes.trim_ascii_start().first() != Some(&b'{') {
                return Err(Error::new(Code::InvalidBody).detail("The body must be a JSON object."));
            }
            let parsed = text::parse_json(&bytes);
            parsed
                .map(Self)
                .map_err(|error| refusal::<T>(&bytes, &error))
        })
    }
}

/// Reads a whole body of at most [`BODY_BYTES`].
async fn whole(mut body: Body) -> Result<BytesMut> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| match error {
            PayloadError::Overflow => Error::new(Code::Unavailable),
            _ => Error::new(Code::InvalidBody).detail("The body is incomplete."),
        })?;
        if bytes.len() + piece.len() > BODY_BYTES {
            let detail = format!("The body must have at most {BODY_BYTES} bytes.");
            return Err(Error::new(Code::PayloadTooLarge).detail(detail));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// An optional JSON body. If there is one, it must be valid.
pub(super) struct Maybe<T>(pub Option<T>);

impl<T: DeserializeOwned + 'static> FromRequest for Maybe<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let length = headers.get(CONTENT_LENGTH);
        let is_empty = length.is_none_or(|length| length == "0");
        if is_empty && !headers.contains_key(TRANSFER_ENCODING) {
            return Box::pin(ready(Ok(Self(None))));
        }
        let body = Json::from_request(request, payload);
        Box::pin(async move { body.await.map(|body| Self(Some(body.0))) })
    }
}

/// The error for a body that cannot be parsed; names the field if one field is wrong.
fn refusal<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> Error {
    let detail = error.to_string();
    let mut json = serde_json::Deserializer::from_slice(body);
    let field = serde_path_to_error::deserialize::<_, T>(&mut json)
        .err()
        .map(|error| error.path().to_string());
    match field.filter(|_| error.is_data()) {
        Some(field) if field != "." => Error::field(field, detail),
        _ => Error::new(Code::InvalidBody).detail(detail),
    }
}

/// The id of the last frame or event that the client has read: `Last-Event-ID` or `?last_event_id=`.
pub(super) fn last_event_id(request: &HttpRequest) -> Option<String> {
    let header = request.headers().get("last-event-id");
    let header = header.map(|value| value.to_str().unwrap_or("?").to_owned());
    let id = header.or_else(|| Query::of(request).get("last_event_id").map(str::to_owned));
    id.filter(|id| !id.is_empty())
}

/// From [`last_event_id`] and `?restart=1`.
impl FromRequest for ResumePoint {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let after = last_event_id(request).map(|id| id.parse()).transpose();
        let after = match after {
            // Some clients also send the last id of another stream: no reason to refuse a message.
            Err(_) if request.method() == Method::POST => Ok(None),
            after => after.map_err(|_| {
                Error::new(Code::InvalidCursor)
                    .detail("An event id has the form {turn_id}.{attempt}:{seq}.")
            }),
        };
        let restart = Query::of(request).get("restart") == Some("1");
        ready(after.map(|after| Self { after, restart }))
    }
}

/// The query string. If a name occurs twice, the first value counts.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        Self(pairs.into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}

impl FromRequest for Query {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

/// Parses an id from the path; an id that does not parse is a 404.
pub(super) fn id<T: FromStr>(path: &str) -> Result<T> {
    path.parse().map_err(|_| Error::new(Code::NotFound))
}

/// The highest page number.
pub(super) const PAGES: u32 = 1_000_000;

/// An optional number in the query string, from 1 to `most`.
pub(super) fn number(asked: &Query, name: &'static str, default: u32, most: u32) -> Result<u32> {
    match asked.get(name).map(str::parse).unwrap_or(Ok(default)) {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(Error::field(
            name,
            format!("Must be a number from 1 to {most}."),
        )),
    }
}

/// The requested page of messages: `before` and `limit`.
pub(super) fn page_of(asked: &Query) -> Result<(Option<MessageId>, u32)> {
    let limit = number(asked, "limit", 50, PAGE_MESSAGES)?;
    let before = asked.get("before").map(str::parse).transpose();
    Ok((before.map_err(|_| no_message())?, limit))
}

pub(super) fn no_message() -> Error {
    Error::field(
        "before",
        "Must be the id of a message of this conversation.",
    )
}

/// A skill, checked.
pub(super) fn checked_skill(skill: String) -> Result<String> {
    let skill = text::cleaned(skill);
    match (1..=SKILL_CHARACTERS).contains(&skill.chars().count()) {
        true => Ok(skill),
        false => {
            let detail = format!("Must have 1 to {SKILL_CHARACTERS} characters.");
            Err(Error::field("skill", detail))
        }
    }
}

/// A client's name for a session, checked.
pub(super) fn session_name(name: String) -> Result<String> {
    let characters = name.chars().count();
    match (1..=SESSION_CHARACTERS).contains(&characters) && !name.chars().any(char::is_control) {
        true => Ok(name),
        false => {
            let detail = format!(
                "Must have 1 to {SESSION_CHARACTERS} characters, without control characters."
            );
            Err(Error::field("session_id", detail))
        }
    }
}

/// Counts a message against the rate limit of its sender's address.
pub(super) fn count(app: &App, request: &HttpRequest) -> Result<()> {
    caller(app, request).map_or(Ok(()), |address| app.limits.count(address))
}
