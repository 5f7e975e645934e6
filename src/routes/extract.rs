//! What handlers take from a request, checked.

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    web::{Bytes, Payload as Body, Query},
};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    future::{Ready, ready},
    time::Duration,
};
use tokio::time::timeout;

use crate::{
    error::{Code, Error, Result},
    text,
    turn::event,
};

/// The largest JSON body: 10,000 characters, each escaped, and what may stand beside them.
const BODY_BYTES: usize = 256 * 1024;

/// How long a body may take to arrive; actix only watches the head.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

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
            if !is_json {
                return Err(Error::new(Code::UnsupportedMediaType));
            }
            let body = body.await.map_err(|_| Error::new(Code::InvalidBody))?;
            let read = timeout(BODY_PATIENCE, body.to_bytes_limited(BODY_BYTES)).await;
            let bytes: Bytes = match read.map_err(|_| Error::new(Code::RequestTimeout))? {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(_)) => {
                    return Err(Error::new(Code::InvalidBody).detail("The body broke off."));
                }
                Err(_) => {
                    let detail = format!("At most {BODY_BYTES} bytes.");
                    return Err(Error::new(Code::PayloadTooLarge).detail(detail));
                }
            };
            // serde would take an array for a struct, too.
            if bytes.trim_ascii_start().first() != Some(&b'{') {
                return Err(Error::new(Code::InvalidBody).detail("The body must be a JSON object."));
            }
            let parsed = text::parse_json(&bytes);
            parsed
                .map(Self)
                .map_err(|error| Error::new(Code::InvalidBody).detail(error.to_string()))
        })
    }
}

/// Where a client stopped reading: `Last-Event-ID`, or `?last_event_id=` where a client cannot
/// set a header.
pub(super) struct LastEventId(pub Option<event::Cursor>);

impl FromRequest for LastEventId {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        struct Asked {
            last_event_id: Option<String>,
        }
        let header = request
            .headers()
            .get("last-event-id")
            .map(|value| value.to_str().unwrap_or("?").to_owned());
        let query = || {
            Query::<Asked>::from_query(request.query_string())
                .ok()?
                .into_inner()
                .last_event_id
        };
        let id = header.or_else(query).filter(|id| !id.is_empty());
        let cursor = id.map(|id| id.parse()).transpose();
        let refused =
            |_| Error::new(Code::InvalidCursor).detail("An id is {turn_id}.{attempt}:{seq}.");
        ready(cursor.map(Self).map_err(refused))
    }
}
