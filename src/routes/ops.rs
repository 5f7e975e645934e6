//! For operators: whether the process is up, and whether it can serve.

use std::time::Duration;

use actix_web::{HttpResponse, Responder, web::Data};
use tokio::time::timeout;

use crate::{
    app::App,
    error::{Code, Error, Result},
};

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process is up; depends on nothing.
pub(super) async fn health() -> impl Responder {
    HttpResponse::Ok().body("ok")
}

/// The database answers, has its schema, and the server is not shutting down.
pub(super) async fn ready(app: Data<App>) -> Result<HttpResponse> {
    let unready = |detail: &str| Error::new(Code::Unavailable).detail(detail);
    if app.engine.is_closing() {
        return Err(unready("This server is shutting down."));
    }
    match timeout(PATIENCE, app.store.ping()).await {
        Ok(Ok(())) => Ok(HttpResponse::Ok().body("ready")),
        _ => Err(unready("The database does not answer.")),
    }
}

/// What operators watch (OpenMetrics text).
pub(super) async fn metrics(app: Data<App>) -> impl Responder {
    let (connections, idle) = app.store.connections();
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(app.metrics.render(connections, idle))
}
