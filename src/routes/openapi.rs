//! The OpenAPI document, built from the documentation of the handlers.
//!
//! A call is documented at its handler, and what several calls share in `responses`. This file lists the calls; a test
//! compares the list with the URL table.

use std::sync::LazyLock;

use actix_web::{HttpResponse, http::header};
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        Content, RefOr, Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    chat, conversations, data, end_user, evaluations, events, experts, history, messages, ops,
    sessions, turns, typing, widgets, ws,
};
use crate::{error::Code, turn::frame::Frame};

/// `GET /openapi.json`.
pub(super) async fn document() -> HttpResponse {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(DOCUMENT.as_str())
}

/// The calls that need no token.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "frontdesk",
        description = "The chat backend behind a website. A visitor is a device, named by X-Device-ID or by a \
            cookie. Users and experts have a JSON Web Token. Every path under /api/v1/chat also works under \
            /v1/chat. Errors are application/problem+json (RFC 9457) with a stable `code`. Each event of an answer's \
            stream (WHATWG HTML §9.2) is a `Frame`; each event of a standing stream is an `Event`."
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

/// The calls that need a token.
#[derive(OpenApi)]
#[openapi(paths(
    messages::send,
    messages::stream,
    messages::resume,
    messages::stop,
    widgets::answer_signed_in,
    ws::connect,
    conversations::list,
    conversations::opening::open,
    conversations::show,
    conversations::change,
    conversations::delete,
    conversations::messages::list,
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

/// Removes the address from each summary, because the document has it already, and `null` from optional bodies,
/// because such a body may be absent but not `null`.
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

/// Adds the security scheme of the tokens.
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

/// An error (RFC 9457).
#[derive(ToSchema)]
#[schema(
    example = json!({"type": "about:blank", "title": "A field is not valid", "status": 400, "code": "invalid_field", "detail": "Must have at most 10000 characters.", "param": "content"})
)]
#[expect(dead_code, reason = "only documents")]
struct Problem {
    r#type: String,
    title: String,
    status: u16,
    code: Code,
    /// What is wrong with this request.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// The field at fault.
    #[schema(nullable = false)]
    param: Option<String>,
}
