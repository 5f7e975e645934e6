//! Authentication: checks the bearer token before a handler for users or experts sees the request.

use std::future::{Ready, ready};

use actix_web::{
    Error as ActixError, FromRequest, HttpMessage, HttpRequest, ResponseError as _,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue},
    middleware::Next,
    web::Data,
};

use super::extract::Query;
use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
};

/// A middleware that rejects requests without a valid token.
pub(super) async fn authenticate(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> std::result::Result<ServiceResponse<BoxBody>, ActixError> {
    let user = match user_of(&mut request).await {
        Ok(user) => user,
        Err(error) => return Ok(request.into_response(error.error_response())),
    };
    request.extensions_mut().insert(user);
    let mut response = next.call(request).await?.map_into_boxed_body();
    let headers = response.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

async fn user_of(request: &mut ServiceRequest) -> Result<User> {
    let app = request
        .extract::<Data<App>>()
        .await
        .map_err(|_| Error::new(Code::Internal))?;
    let missing =
        || Error::new(Code::Unauthorized).detail("Send the header Authorization: Bearer TOKEN.");
    let Some(header) = request.headers().get(AUTHORIZATION) else {
        // Browsers cannot send headers with a WebSocket handshake, so the token may be in the query string.
        let path = request.path();
        let is_socket = path.ends_with("/v1/chat/ws") || path.ends_with("/v1/chat/stream");
        let query = Query::of(request.request());
        let token = query.get("token").filter(|_| is_socket);
        let token = token.ok_or_else(missing)?.to_owned();
        return counted(&app, &token).await;
    };
    // RFC 9110 §11.1: the scheme's case does not matter.
    let token = header
        .to_str()
        .ok()
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(missing)?;
    counted(&app, token.trim()).await
}

/// The user of a token. Counts the request against their rate limit.
async fn counted(app: &App, token: &str) -> Result<User> {
    let user = app.auth.user(token).await?;
    app.limits.count_request(&user.id)?;
    Ok(user)
}

/// The user that [`authenticate`] found.
impl FromRequest for User {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let user = request.extensions().get::<Self>().cloned();
        ready(user.ok_or_else(|| Error::new(Code::Internal)))
    }
}
