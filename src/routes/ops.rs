//! For operators: whether the process is up, and whether it can serve.

use std::time::Duration;

use actix_web::{HttpResponse, Responder, web::Data};
use tokio::time::timeout;

use super::responses::Unready;
use crate::{
    app::App,
    error::{Code, Error, Result},
};

/// How long the database may take to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// The process is up; depends on nothing.
#[utoipa::path(
    get, path = "/healthz",
    operation_id = "ops_health",
    tag = "operations",
    responses((status = 200, description = "It is", body = String, content_type = "text/plain", example = "ok"))
)]
pub(super) async fn health() -> impl Responder {
    plain("ok")
}

/// The database answers, has its schema, and the server is not shutting down.
#[utoipa::path(
    get, path = "/readyz",
    operation_id = "ops_ready",
    tag = "operations",
    responses((status = 200, description = "Send visitors here", body = String, content_type = "text/plain", example = "ready"), Unready)
)]
pub(super) async fn ready(app: Data<App>) -> Result<HttpResponse> {
    let unready = |detail: &str| Error::new(Code::Unavailable).detail(detail);
    if app.engine.is_closing() {
        return Err(unready("This server is shutting down."));
    }
    match timeout(READY_TIMEOUT, app.store.ping()).await {
        Ok(Ok(())) => Ok(plain("ready")),
        _ => Err(unready("The database does not answer.")),
    }
}

/// What operators watch (OpenMetrics text).
#[utoipa::path(
    get, path = "/metrics",
    operation_id = "ops_metrics",
    tag = "operations",
    responses((status = 200, description = "Every figure of this instance", body = String, content_type = "application/openmetrics-text", example = "frontdesk_turns_total{finish_reason=\"stop\"} 2\n# EOF\n"))
)]
pub(super) async fn metrics(app: Data<App>) -> impl Responder {
    let (connections, idle) = app.store.connections();
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(app.metrics.render(connections, idle))
}

fn plain(text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(text)
}
