//! For operators: liveness, readiness and metrics.

use std::time::Duration;

use actix_web::{HttpResponse, Responder, web::Data};
use tokio::time::timeout;

use super::responses::Unready;
use crate::{
    app::App,
    error::{Code, Error, Result},
};

/// How long `/readyz` waits for the database to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Liveness: the process is up. Nothing else is checked.
#[utoipa::path(
    get, path = "/healthz",
    operation_id = "ops_health",
    tag = "operations",
    responses((status = 200, description = "The process is up", body = String, content_type = "text/plain", example = "ok"))
)]
pub(super) async fn health() -> impl Responder {
    plain("ok")
}

/// Readiness: the database answers and has its schema, and the server is not shutting down.
#[utoipa::path(
    get, path = "/readyz",
    operation_id = "ops_ready",
    tag = "operations",
    responses((status = 200, description = "This instance can serve", body = String, content_type = "text/plain", example = "ready"), Unready)
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

/// The metrics of this instance (OpenMetrics text).
#[utoipa::path(
    get, path = "/metrics",
    operation_id = "ops_metrics",
    tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text", example = "frontdesk_turns_total{finish_reason=\"stop\"} 2\n# EOF\n"))
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
