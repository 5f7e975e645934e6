//! What the server can do, as an OpenAPI document: put together from what stands beside the handlers.
//!
//! A call is documented where it is handled. Here stands only what all of them share: refusals, who is
//! calling, and the list of the calls, which a test holds against the URL table.

use std::{collections::BTreeMap, sync::LazyLock};

use actix_web::{HttpResponse, http::header};
use serde_json::json;
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        Content, HeaderBuilder, Object, Ref, RefOr, Schema, Type,
        response::{Response, ResponseBuilder},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    chat, conversations, data, end_user, evaluations, events, experts, history, messages, ops,
    sessions, turns, typing, widgets, ws,
};
use crate::{error::Code, turn::event::Frame};

/// An answer as it comes.
const FRAMES: &str = "id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01.1:1\ndata: {\"content\":\"It is \",\"timestamp\":\"2026-11-20T14:24:19.941641Z\",\"is_final\":false}\n\n\
    id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01.1:2\ndata: {\"content\":\"on its way.\",\"timestamp\":\"2026-11-20T14:24:19.943127Z\",\"is_final\":false}\n\n\
    id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01.1:3\ndata: {\"content\":\"\",\"timestamp\":\"2026-11-20T14:24:19.951604Z\",\"is_final\":true,\"finish_reason\":\"stop\"}\n\n";
/// What a visitor reads who waits, and then does not.
const EVENTS: &str = "id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00.4\ndata: {\"content\":\"\",\"timestamp\":\"2026-11-20T14:24:19.941641Z\",\"is_final\":false,\"type\":\"mode\",\"mode\":\"expert\"}\n\n\
    id: 0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00.4\ndata: {\"content\":\"\",\"timestamp\":\"2026-11-20T14:24:19.941641Z\",\"is_final\":false,\"type\":\"queue\",\"position\":1}\n\n";

/// `GET /openapi.json`.
pub(super) async fn document() -> HttpResponse {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(DOCUMENT.as_str())
}

/// What is for everybody.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "frontdesk",
        description = "The chat behind a website. A visitor is a device, named by X-Device-ID or by a cookie; \
            a user who is signed in has a JSON Web Token, and so have the people at the desk. What stands under \
            /api/v1/chat answers under /v1/chat, too. A refusal is application/problem+json (RFC 9457) with a \
            stable `code`. Event streams (WHATWG HTML §9.2) have one `Frame` an event, standing ones an `Event`."
    ),
    paths(
        chat::json,
        chat::stream,
        turns::newest,
        turns::resume,
        turns::stop,
        events::of_device,
        typing::of_device,
        widgets::answer,
        history::show,
        sessions::show,
        sessions::clear,
        data::export,
        data::erase,
        ops::health,
        ops::ready,
        ops::metrics,
    ),
    nest((path = "/api/v1/chat", api = Users)),
    components(schemas(Code, Frame, Problem, events::event::EventOut)),
    modifiers(&Bearer, &Tidy)
)]
struct Api;

/// What is for those who are signed in.
#[derive(OpenApi)]
#[openapi(paths(
    messages::send,
    messages::stream,
    messages::resume,
    messages::stop,
    widgets::answer_signed_in,
    ws::connect,
    conversations::list,
    conversations::open,
    conversations::show,
    conversations::change,
    conversations::delete,
    conversations::messages,
    events::of_conversation,
    typing::of_user,
    end_user::say,
    end_user::ask,
    end_user::pass,
    end_user::history,
    experts::queue,
    experts::claim,
    experts::release,
    experts::resolve,
    experts::transfer,
    experts::draft,
    experts::list,
    experts::show,
    experts::change,
    events::feed::of_desk,
    evaluations::list,
    evaluations::review,
    experts::audit,
))]
struct Users;

/// Says of each call what it does, its address stands beside it; and a body that need not be there is not
/// `null`.
struct Tidy;

impl Modify for Tidy {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for item in api.paths.paths.values_mut() {
            let calls = [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.patch,
                &mut item.delete,
            ];
            for call in calls.into_iter().flatten() {
                call.summary = call.summary.as_deref().map(without_address);
                if let Some(RefOr::T(body)) = &mut call.request_body {
                    body.content.values_mut().for_each(without_null);
                }
            }
        }
    }
}

fn without_null(content: &mut RefOr<Content>) {
    let RefOr::T(content) = content else { return };
    if let Some(RefOr::T(Schema::OneOf(one))) = &content.schema {
        let mut all = one.items.iter();
        content.schema = all.find(|item| matches!(item, RefOr::Ref(_))).cloned();
    }
}

fn without_address(summary: &str) -> String {
    let rest = summary.split_once("`: ").map_or(summary, |(_, rest)| rest);
    let mut letters = rest.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Tokens.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// Whose conversation it is.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only documents")]
pub(super) struct DeviceParams {
    /// The visitor's device. It is a secret: whoever has it, has the conversation. Without it the cookie
    /// counts, without that one a new device.
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

/// Why something is refused, or has failed (RFC 9457).
#[derive(ToSchema)]
#[schema(
    example = json!({"type": "about:blank", "title": "A field is not valid", "status": 400, "code": "invalid_field", "detail": "At most 10000 characters.", "param": "content"})
)]
#[expect(dead_code, reason = "only documents")]
struct Problem {
    r#type: String,
    title: String,
    status: u16,
    code: Code,
    /// What is to be known of this occurrence.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// The field at fault.
    #[schema(nullable = false)]
    param: Option<String>,
}

/// What any call may be refused with.
pub(super) struct Refused;

/// What a call may be refused with that has a body, and what may fail where an agent answers.
pub(super) struct Turning;

/// What a call may be refused with that somebody has to be signed in for.
pub(super) struct NotSignedIn;

/// What an instance answers that is not for visitors now.
pub(super) struct Unready;

/// What is deleted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only documents")]
pub(super) struct Deleted {
    message: String,
}

/// An answer as it comes.
pub(super) struct Frames;

/// What is said to whoever stands by.
pub(super) struct Events;

/// What these statuses say: which codes have them.
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
                response.header("Retry-After", told("After how many seconds to come back."))
            }
            _ => response,
        };
        (status.to_string(), response.build().into())
    };
    statuses.iter().map(problem).collect()
}

/// A header of a response.
fn told(what: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(Type::String)))
        .description(Some(what))
        .build()
}

/// A stream of this kind, as it looks; its schema is that of each event.
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
        let response = streamed("The answer as it comes: each event is a Frame", FRAMES)
            .header("X-Turn-ID", told("The turn, to resume or to stop it."))
            .header("X-Conversation-ID", told("The conversation."));
        BTreeMap::from([("200".to_owned(), response.build().into())])
    }
}

impl IntoResponses for Events {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let response = streamed("What is said from now on: each event is an Event", EVENTS);
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
