//! The URL table, and nothing else. A route whose feature does not exist is not here.

mod assets;
mod auth;
mod caller;
mod chat;
pub(crate) mod connection;
mod conversations;
pub(crate) mod cors;
mod data;
mod device;
mod end_user;
mod evaluations;
mod events;
mod experts;
mod extract;
mod history;
mod messages;
mod openapi;
mod ops;
mod responses;
mod sessions;
mod shapes;
mod sse;
mod turns;
mod typing;
mod widgets;
mod ws;

use actix_web::{
    HttpResponse, ResponseError as _, Route,
    http::header,
    middleware::from_fn,
    web::{self, ServiceConfig, delete, get, head, patch, post, put, resource, scope},
};

use crate::error::{Code, Error};

/// Every URL.
pub(crate) fn urls(urls: &mut ServiceConfig) {
    urls.service(
        scope("/chat")
            .wrap(from_fn(device::identify))
            .service(resource("").post(chat::json).default_service(only("POST")))
            .service(resource("/").post(chat::json).default_service(only("POST")))
            .service(
                resource("/stream")
                    .route(post().to(chat::stream))
                    .route(get().to(turns::newest))
                    .default_service(only("GET, POST")),
            )
            .service(
                resource("/stream/{turn_id}")
                    .route(get().to(turns::resume))
                    .route(delete().to(turns::stop))
                    .default_service(only("GET, DELETE")),
            )
            .service(
                resource("/events")
                    .get(events::of_device)
                    .default_service(only("GET")),
            )
            .service(
                resource("/typing")
                    .post(typing::of_device)
                    .default_service(only("POST")),
            )
            .service(
                resource("/widgets/{message_id}")
                    .post(widgets::answer)
                    .default_service(only("POST")),
            )
            .service(
                resource("/export")
                    .get(data::export)
                    .default_service(only("GET")),
            )
            .service(
                resource("/data")
                    .delete(data::erase)
                    .default_service(only("DELETE")),
            )
            .service(
                resource("/history")
                    .get(history::show)
                    .default_service(only("GET")),
            )
            .service(
                resource("/session")
                    .route(get().to(sessions::show))
                    .route(delete().to(sessions::clear))
                    .default_service(only("GET, DELETE")),
            )
            .default_service(web::to(not_found)),
    )
    .service(
        scope("/api/v1/chat")
            .wrap(from_fn(auth::authenticate))
            .configure(users),
    )
    .service(
        scope("/v1/chat")
            .wrap(from_fn(auth::authenticate))
            .configure(users),
    )
    .service(
        resource("/ws/echo")
            .get(ws::echo)
            .default_service(only("GET")),
    )
    .service(
        resource("/openapi.json")
            .get(openapi::document)
            .default_service(only("GET")),
    )
    .service(
        resource("/docs")
            .route(get().to(assets::docs))
            .route(head().to(assets::docs))
            .default_service(only("GET, HEAD")),
    )
    .service(
        resource("/healthz")
            .route(get().to(ops::health))
            .route(head().to(ops::health))
            .default_service(only("GET, HEAD")),
    )
    .service(
        resource("/readyz")
            .route(get().to(ops::ready))
            .route(head().to(ops::ready))
            .default_service(only("GET, HEAD")),
    )
    .service(
        resource("/metrics")
            .get(ops::metrics)
            .default_service(only("GET")),
    )
    .service(
        resource("/")
            .route(get().to(assets::page))
            .route(head().to(assets::page))
            .default_service(only("GET, HEAD")),
    )
    .service(
        resource("/me")
            .route(get().to(assets::own))
            .route(head().to(assets::own))
            .default_service(only("GET, HEAD")),
    )
    .service(
        resource("/console")
            .route(get().to(assets::console))
            .route(head().to(assets::console))
            .default_service(only("GET, HEAD")),
    )
    .service(
        resource("/widget.js")
            .get(assets::widget)
            .default_service(only("GET")),
    )
    .service(
        resource("/assets/{file}")
            .get(assets::file)
            .default_service(only("GET")),
    )
    .default_service(web::to(not_found));
}

/// What is only for those who are signed in.
fn users(urls: &mut ServiceConfig) {
    urls.service(
        resource("/messages")
            .post(messages::send)
            .default_service(only("POST")),
    )
    .service(
        resource("/messages/stream")
            .post(messages::stream)
            .default_service(only("POST")),
    )
    .service(
        resource("/messages/stream/{turn_id}")
            .route(get().to(messages::resume))
            .route(delete().to(messages::stop))
            .default_service(only("GET, DELETE")),
    )
    .service(
        resource("/widgets/{message_id}")
            .post(widgets::answer_signed_in)
            .default_service(only("POST")),
    )
    .service(
        resource("/conversations")
            .route(get().to(conversations::list))
            .route(post().to(conversations::open))
            .default_service(only("GET, POST")),
    )
    .service(
        resource("/conversations/{id}")
            .route(get().to(conversations::show))
            .route(patch().to(conversations::change))
            .route(delete().to(conversations::delete))
            .default_service(only("GET, PATCH, DELETE")),
    )
    .service(
        resource("/conversations/{id}/messages")
            .get(conversations::messages)
            .default_service(only("GET")),
    )
    .service(
        resource("/conversations/{id}/events")
            .get(events::of_conversation)
            .default_service(only("GET")),
    )
    .service(
        resource("/conversations/{id}/typing")
            .post(typing::of_user)
            .default_service(only("POST")),
    )
    .service(
        resource("/experts/events")
            .get(events::feed::of_desk)
            .default_service(only("GET")),
    )
    .service(
        resource("/conversations/{id}/claim")
            .post(experts::claim)
            .default_service(only("POST")),
    )
    .service(
        resource("/conversations/{id}/draft")
            .post(experts::draft)
            .default_service(only("POST")),
    )
    .service(
        resource("/conversations/{id}/release")
            .post(experts::release)
            .default_service(only("POST")),
    )
    .service(
        resource("/conversations/{id}/resolve")
            .post(experts::resolve)
            .default_service(only("POST")),
    )
    .service(
        resource("/conversations/{id}/transfer")
            .post(experts::transfer)
            .default_service(only("POST")),
    )
    .service(
        resource("/experts/queue")
            .get(experts::queue)
            .default_service(only("GET")),
    )
    .service(
        resource("/experts")
            .get(experts::list)
            .default_service(only("GET")),
    )
    .service(
        resource("/experts/me")
            .route(get().to(experts::show))
            .route(put().to(experts::change))
            .default_service(only("GET, PUT")),
    )
    .service(
        resource("/evaluations")
            .get(evaluations::list)
            .default_service(only("GET")),
    )
    .service(
        resource("/evaluations/{id}/review")
            .post(evaluations::review)
            .default_service(only("POST")),
    )
    .service(
        resource("/audit")
            .get(experts::audit)
            .default_service(only("GET")),
    )
    .service(
        resource("/ws")
            .get(ws::connect)
            .default_service(only("GET")),
    )
    .service(
        resource("/stream")
            .get(ws::connect)
            .default_service(only("GET")),
    )
    .service(
        resource("/expert")
            .post(end_user::ask)
            .default_service(only("POST")),
    )
    .service(
        resource("/passthrough")
            .post(end_user::pass)
            .default_service(only("POST")),
    )
    .service(
        resource("/end-user")
            .post(end_user::say)
            .default_service(only("POST")),
    )
    .service(
        resource("/history/{session_id}")
            .get(end_user::history)
            .default_service(only("GET")),
    )
    .default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Error> {
    Err(Error::new(Code::NotFound))
}

/// What any other method gets.
fn only(methods: &'static str) -> Route {
    web::to(move || async move {
        let mut response = Error::new(Code::MethodNotAllowed).error_response();
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static(methods));
        response
    })
}
