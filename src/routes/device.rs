//! The device of a request: named by the `X-Device-ID` header, else by the cookie, else a new device.
//!
//! Every response under `/chat` carries `X-Device-ID`; a new device gets the cookie too.

use actix_web::{
    Error as ActixError, FromRequest, HttpMessage, HttpRequest, ResponseError as _,
    body::{BoxBody, MessageBody},
    cookie::{Cookie, SameSite, time::Duration},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header::{CACHE_CONTROL, HeaderName, HeaderValue},
    middleware::Next,
    web::Data,
};
use std::future::{Ready, ready};

use super::caller::is_https;
use crate::{
    app::App,
    devices::Device,
    error::{Code, Error, Result},
};

const HEADER: HeaderName = HeaderName::from_static("x-device-id");
const COOKIE: &str = "frontdesk_device";
const COOKIE_LIFE: Duration = Duration::days(365);

/// Identifies the device of a request and names it in the response.
pub(super) async fn identify(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> std::result::Result<ServiceResponse<BoxBody>, ActixError> {
    let (device, is_new) = match device_of(&mut request).await {
        Ok(found) => found,
        Err(error) => return Ok(request.into_response(error.error_response())),
    };
    let app = request.app_data::<Data<App>>().cloned();
    let is_https = app
        .as_ref()
        .is_some_and(|app| is_https(app, request.request()));
    if let Some(Err(error)) = app.as_ref().map(|app| app.limits.count_request(&device.id)) {
        return Ok(request.into_response(error.error_response()));
    }
    request.extensions_mut().insert(device.clone());
    let mut response = next.call(request).await?.map_into_boxed_body();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(device.presented.reveal()) {
        headers.insert(HEADER, value);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if is_new {
        let cookie = Cookie::build(COOKIE, device.presented.reveal())
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(is_https)
            .max_age(COOKIE_LIFE)
            .finish();
        response.response_mut().add_cookie(&cookie)?;
    }
    Ok(response)
}

/// The device, and whether it is new. An invalid id in the header is an error; an invalid cookie is replaced.
async fn device_of(request: &mut ServiceRequest) -> Result<(Device, bool)> {
    let app = request
        .extract::<Data<App>>()
        .await
        .map_err(|_| Error::new(Code::Internal))?;
    match presented(&app, request.request()).await? {
        Some(device) => Ok((device, false)),
        None => Ok((app.devices.issue().await?, true)),
    }
}

/// The device that a request names, if any.
///
/// # Errors
/// `invalid_device_id` if the header is not a valid id.
pub(super) async fn presented(app: &App, request: &HttpRequest) -> Result<Option<Device>> {
    if let Some(header) = request.headers().get(HEADER) {
        let id = header.to_str().unwrap_or_default();
        return app.devices.accept(id).await.map(Some);
    }
    let Some(cookie) = request.cookie(COOKIE) else {
        return Ok(None);
    };
    match app.devices.accept(cookie.value()).await {
        Ok(device) => Ok(Some(device)),
        Err(Error {
            code: Code::InvalidDeviceId,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The device that [`identify`] found.
impl FromRequest for Device {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let device = request.extensions().get::<Self>().cloned();
        ready(device.ok_or_else(|| Error::new(Code::Internal)))
    }
}
