//! OpenAPI responses and parameters that several calls share.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::{
    IntoParams, IntoResponses, ToSchema,
    openapi::{
        Content, HeaderBuilder, Object, Ref, RefOr, Type,
        response::{Response, ResponseBuilder},
    },
};

use crate::error::Code;

/// An example of a streamed answer.
const FRAMES: &str = "id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01.1:1\ndata: {\"content\":\"It is \",\"timestamp\":\"2026-11-20T14:24:19.941641Z\",\"is_final\":false}\n\n\
    id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01.1:2\ndata: {\"content\":\"on its way.\",\"timestamp\":\"2026-11-20T14:24:19.943127Z\",\"is_final\":false}\n\n\
    id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01.1:3\ndata: {\"content\":\"\",\"timestamp\":\"2026-11-20T14:24:19.951604Z\",\"is_final\":true,\"finish_reason\":\"stop\"}\n\n";
/// An example of events for a visitor who waits for an expert.
const EVENTS: &str = "id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00.4\ndata: {\"content\":\"\",\"timestamp\":\"2026-11-20T14:24:19.941641Z\",\"is_final\":false,\"type\":\"mode\",\"mode\":\"expert\"}\n\n\
    id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00.4\ndata: {\"content\":\"\",\"timestamp\":\"2026-11-20T14:24:19.941641Z\",\"is_final\":false,\"type\":\"queue\",\"position\":1}\n\n";

/// The header that names the visitor's device.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only documents")]
pub(super) struct DeviceParams {
    /// The visitor's device id. Keep it secret: anyone who has it can read the conversation and write in it. Without
    /// the header the cookie is used; without a cookie the visitor gets a new device id.
    #[param(
        rename = "X-Device-ID",
        nullable = false,
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9._:-]+$",
        example = "my-browser"
    )]
    device: Option<String>,
}

/// The errors that any call may return.
pub(super) struct Refused;

/// The errors of a call that has a body, or that an agent answers.
pub(super) struct Turning;

/// The errors of a call that needs a token.
pub(super) struct NotSignedIn;

/// The error of an instance that cannot serve now.
pub(super) struct Unready;

/// Confirms a deletion.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only documents")]
pub(super) struct Deleted {
    message: String,
}

/// The response of a streamed answer.
pub(super) struct Frames;

/// The responses of a stream of live updates.
pub(super) struct LiveUpdates;

/// A problem response for each status; its description lists the codes that have this status.
fn problems(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let problem = |status: &u16| {
        let codes = Code::ALL.into_iter();
        let codes = codes.filter(|code| code.status().as_u16() == *status);
        let codes: Vec<Code> = codes.collect();
        let names: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
        let example = codes.first().map(|code| {
            json!({"type": "about:blank", "title": code.title(), "status": status, "code": code})
        });
        let content = Content::builder()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(example);
        let response = ResponseBuilder::new()
            .description(names.join(", "))
            .content("application/problem+json", content.build());
        let response = match status {
            429 | 503 => {
                response.header("Retry-After", told("Seconds to wait before trying again."))
            }
            _ => response,
        };
        (status.to_string(), response.build().into())
    };
    statuses.iter().map(problem).collect()
}

/// A response header.
fn told(what: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(Type::String)))
        .description(Some(what))
        .build()
}

/// An event stream with an example; the schema is that of each event.
fn streamed(description: &str, example: &str) -> ResponseBuilder {
    let data = Object::builder()
        .schema_type(Type::String)
        .content_media_type("application/json");
    let event = Object::builder()
        .property("id", Object::with_type(Type::String))
        .property("data", data.build())
        .required("data");
    let content = Content::builder()
        .schema(Some(event.build()))
        .example(Some(json!(example)));
    ResponseBuilder::new()
        .description(description)
        .content("text/event-stream", content.build())
}

impl IntoResponses for Frames {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let response = streamed("The answer as a stream: each event is a Frame", FRAMES)
            .header("X-Turn-ID", told("The turn's id, to resume or stop it."))
            .header("X-Conversation-ID", told("The conversation's id."));
        BTreeMap::from([("200".to_owned(), response.build().into())])
    }
}

impl IntoResponses for LiveUpdates {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let response = streamed("A stream of live events: each is an Event", EVENTS);
        BTreeMap::from([("200".to_owned(), response.build().into())])
    }
}

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 404, 410, 429, 500, 503])
    }
}

impl IntoResponses for Turning {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            400, 404, 408, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504,
        ])
    }
}

impl IntoResponses for Unready {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[503])
    }
}

impl IntoResponses for NotSignedIn {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[401, 403])
    }
}
