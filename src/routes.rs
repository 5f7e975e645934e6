//! The URL table: the handler of each URL and method. It holds no logic, and no routes for features that do not exist.

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
mod pages;
mod responses;
mod sessions;
mod shapes;
mod sse;
mod turns;
mod typing;
mod widgets;
mod ws;

use actix_web::{
    FromRequest, Handler, HttpResponse, Resource, Responder, ResponseError as _, Route,
    http::header,
    middleware::from_fn,
    web::{self, ServiceConfig, delete, get, head, patch, post, put, resource, scope},
};

use crate::error::{Code, Error};

/// Registers every URL.
pub(crate) fn urls(urls: &mut ServiceConfig) {
    urls.service(
        scope("/chat")
            .wrap(from_fn(device::identify))
            .configure(visitor)
            .default_service(web::to(not_found)),
    );
    for prefix in ["/api/v1/chat", "/v1/chat"] {
        urls.service(
            scope(prefix)
                .wrap(from_fn(auth::authenticate))
                .configure(user)
                .configure(desk)
                .default_service(web::to(not_found)),
        );
    }
    urls.service(gets("/ws/echo", ws::echo))
        .service(gets("/openapi.json", openapi::document))
        .service(page("/docs", pages::docs))
        .service(page("/healthz", ops::health))
        .service(page("/readyz", ops::ready))
        .service(gets("/metrics", ops::metrics))
        .service(page("/", pages::page))
        .service(page("/me", pages::own))
        .service(page("/console", pages::console))
        .service(gets("/widget.js", pages::widget))
        .service(gets("/assets/{file}", pages::file))
        .default_service(web::to(not_found));
}

/// Routes for visitors, who have a device and no login.
fn visitor(urls: &mut ServiceConfig) {
    urls.service(posts("", chat::json))
        .service(posts("/", chat::json))
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
        .service(gets("/events", events::of_device))
        .service(posts("/typing", typing::of_device))
        .service(posts("/widgets/{message_id}", widgets::answer))
        .service(gets("/export", data::export))
        .service(
            resource("/data")
                .delete(data::erase)
                .default_service(only("DELETE")),
        )
        .service(gets("/history", history::show))
        .service(
            resource("/session")
                .route(get().to(sessions::show))
                .route(delete().to(sessions::clear))
                .default_service(only("GET, DELETE")),
        );
}

/// Routes for users.
fn user(urls: &mut ServiceConfig) {
    urls.service(posts("/messages", messages::send))
        .service(posts("/messages/stream", messages::stream))
        .service(
            resource("/messages/stream/{turn_id}")
                .route(get().to(messages::resume))
                .route(delete().to(messages::stop))
                .default_service(only("GET, DELETE")),
        )
        .service(posts("/widgets/{message_id}", widgets::answer_signed_in))
        .service(
            resource("/conversations")
                .route(get().to(conversations::list))
                .route(post().to(conversations::opening::open))
                .default_service(only("GET, POST")),
        )
        .service(
            resource("/conversations/{id}")
                .route(get().to(conversations::show))
                .route(patch().to(conversations::change))
                .route(delete().to(conversations::delete))
                .default_service(only("GET, PATCH, DELETE")),
        )
        .service(gets(
            "/conversations/{id}/messages",
            conversations::messages::list,
        ))
        .service(gets("/conversations/{id}/events", events::of_conversation))
        .service(posts("/conversations/{id}/typing", typing::of_user))
        .service(gets("/ws", ws::connect))
        .service(gets("/stream", ws::connect))
        .service(posts("/expert", end_user::ask))
        .service(posts("/passthrough", end_user::pass))
        .service(posts("/end-user", end_user::say))
        .service(gets("/history/{session_id}", end_user::history));
}

/// Routes for experts.
fn desk(urls: &mut ServiceConfig) {
    urls.service(gets("/experts/events", events::feed::of_desk))
        .service(posts("/conversations/{id}/claim", experts::claim))
        .service(posts("/conversations/{id}/draft", experts::draft))
        .service(posts("/conversations/{id}/release", experts::release))
        .service(posts("/conversations/{id}/resolve", experts::resolve))
        .service(posts("/conversations/{id}/transfer", experts::transfer))
        .service(gets("/experts/queue", experts::queue))
        .service(gets("/experts", experts::list))
        .service(
            resource("/experts/me")
                .route(get().to(experts::show))
                .route(put().to(experts::change))
                .default_service(only("GET, PUT")),
        )
        .service(gets("/evaluations", evaluations::list))
        .service(posts("/evaluations/{id}/review", evaluations::review))
        .service(gets("/audit", experts::audit));
}

/// A URL that accepts only `GET`.
fn gets<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path).get(handler).default_service(only("GET"))
}

/// A URL that accepts only `POST`.
fn posts<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path).post(handler).default_service(only("POST"))
}

/// A URL that accepts `GET` and `HEAD`.
fn page<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path)
        .route(get().to(handler.clone()))
        .route(head().to(handler))
        .default_service(only("GET, HEAD"))
}

async fn not_found() -> Result<HttpResponse, Error> {
    Err(Error::new(Code::NotFound))
}

/// Answers any other method with a 405; `Allow` lists the methods that exist.
fn only(methods: &'static str) -> Route {
    web::to(move || async move {
        let mut response = Error::new(Code::MethodNotAllowed).error_response();
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static(methods));
        response
    })
}
