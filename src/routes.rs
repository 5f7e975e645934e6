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
    HttpResponse, Resource, ResponseError as _, Route,
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
    urls.service(at("/ws/echo", "GET", [get().to(ws::echo)]))
        .service(at("/openapi.json", "GET", [get().to(openapi::document)]))
        .service(at(
            "/docs",
            "GET, HEAD",
            [get().to(pages::docs), head().to(pages::docs)],
        ))
        .service(at(
            "/healthz",
            "GET, HEAD",
            [get().to(ops::health), head().to(ops::health)],
        ))
        .service(at(
            "/readyz",
            "GET, HEAD",
            [get().to(ops::ready), head().to(ops::ready)],
        ))
        .service(at("/metrics", "GET", [get().to(ops::metrics)]))
        .service(at(
            "/",
            "GET, HEAD",
            [get().to(pages::page), head().to(pages::page)],
        ))
        .service(at(
            "/me",
            "GET, HEAD",
            [get().to(pages::own), head().to(pages::own)],
        ))
        .service(at(
            "/console",
            "GET, HEAD",
            [get().to(pages::console), head().to(pages::console)],
        ))
        .service(at("/widget.js", "GET", [get().to(pages::widget)]))
        .service(at("/assets/{file}", "GET", [get().to(pages::file)]))
        .default_service(web::to(not_found));
}

/// Routes for visitors, who have a device and no login.
fn visitor(urls: &mut ServiceConfig) {
    urls.service(at("", "POST", [post().to(chat::json)]))
        .service(at("/", "POST", [post().to(chat::json)]))
        .service(at(
            "/stream",
            "GET, POST",
            [post().to(chat::stream), get().to(turns::newest)],
        ))
        .service(at(
            "/stream/{turn_id}",
            "GET, DELETE",
            [get().to(turns::resume), delete().to(turns::stop)],
        ))
        .service(at("/events", "GET", [get().to(events::of_device)]))
        .service(at("/typing", "POST", [post().to(typing::of_device)]))
        .service(at(
            "/widgets/{message_id}",
            "POST",
            [post().to(widgets::answer)],
        ))
        .service(at("/export", "GET", [get().to(data::export)]))
        .service(at("/data", "DELETE", [delete().to(data::erase)]))
        .service(at("/history", "GET", [get().to(history::show)]))
        .service(at(
            "/session",
            "GET, DELETE",
            [get().to(sessions::show), delete().to(sessions::clear)],
        ));
}

/// Routes for users.
fn user(urls: &mut ServiceConfig) {
    urls.service(at("/messages", "POST", [post().to(messages::send)]))
        .service(at(
            "/messages/stream",
            "POST",
            [post().to(messages::stream)],
        ))
        .service(at(
            "/messages/stream/{turn_id}",
            "GET, DELETE",
            [get().to(messages::resume), delete().to(messages::stop)],
        ))
        .service(at(
            "/widgets/{message_id}",
            "POST",
            [post().to(widgets::answer_signed_in)],
        ))
        .service(at(
            "/conversations",
            "GET, POST",
            [
                get().to(conversations::list),
                post().to(conversations::opening::open),
            ],
        ))
        .service(at(
            "/conversations/{id}",
            "GET, PATCH, DELETE",
            [
                get().to(conversations::show),
                patch().to(conversations::change),
                delete().to(conversations::delete),
            ],
        ))
        .service(at(
            "/conversations/{id}/messages",
            "GET",
            [get().to(conversations::messages::list)],
        ))
        .service(at(
            "/conversations/{id}/events",
            "GET",
            [get().to(events::of_conversation)],
        ))
        .service(at(
            "/conversations/{id}/typing",
            "POST",
            [post().to(typing::of_user)],
        ))
        .service(at("/ws", "GET", [get().to(ws::connect)]))
        .service(at("/stream", "GET", [get().to(ws::connect)]))
        .service(at("/expert", "POST", [post().to(end_user::ask)]))
        .service(at("/passthrough", "POST", [post().to(end_user::pass)]))
        .service(at("/end-user", "POST", [post().to(end_user::say)]))
        .service(at(
            "/history/{session_id}",
            "GET",
            [get().to(end_user::history)],
        ));
}

/// Routes for experts.
fn desk(urls: &mut ServiceConfig) {
    urls.service(at(
        "/experts/events",
        "GET",
        [get().to(events::feed::of_desk)],
    ))
    .service(at(
        "/conversations/{id}/claim",
        "POST",
        [post().to(experts::claim)],
    ))
    .service(at(
        "/conversations/{id}/draft",
        "POST",
        [post().to(experts::draft)],
    ))
    .service(at(
        "/conversations/{id}/release",
        "POST",
        [post().to(experts::release)],
    ))
    .service(at(
        "/conversations/{id}/resolve",
        "POST",
        [post().to(experts::resolve)],
    ))
    .service(at(
        "/conversations/{id}/transfer",
        "POST",
        [post().to(experts::transfer)],
    ))
    .service(at("/experts/queue", "GET", [get().to(experts::queue)]))
    .service(at("/experts", "GET", [get().to(experts::list)]))
    .service(at(
        "/experts/me",
        "GET, PUT",
        [get().to(experts::show), put().to(experts::change)],
    ))
    .service(at("/evaluations", "GET", [get().to(evaluations::list)]))
    .service(at(
        "/evaluations/{id}/review",
        "POST",
        [post().to(evaluations::review)],
    ))
    .service(at("/audit", "GET", [get().to(experts::audit)]));
}

/// A URL, the methods that it has, and their handlers. Any other method is refused.
fn at(path: &str, methods: &'static str, handlers: impl IntoIterator<Item = Route>) -> Resource {
    let resource = resource(path).default_service(only(methods));
    handlers.into_iter().fold(resource, Resource::route)
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
