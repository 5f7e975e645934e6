//! Whoever is refused while they still send learns why: what is left of their body is read before the answer
//! leaves. A connection that is closed on what was not read is reset, and the answer with it.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    Error as ActixError, HttpMessage,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::header::CONTENT_LENGTH,
    middleware::Next,
    web::Bytes,
};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

/// How much of a body is read that is refused, and for how long.
const MAX_DRAINED_BYTES: usize = 4 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads on before a refusal leaves.
pub(crate) async fn read_on<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, ActixError> {
    let length = request.headers().get(CONTENT_LENGTH);
    // What has no length is read to its end by actix.
    if length.is_none_or(|length| length == "0") {
        return next.call(request).await;
    }
    let body = Body(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream {
        payload: Box::pin(Body(Rc::clone(&body.0))),
    });
    let response = next.call(request).await;
    let status = response.as_ref().map(|response| response.status());
    if status.is_ok_and(|status| status.is_client_error() || status.is_server_error()) {
        drop(timeout(DRAIN_TIMEOUT, body.rest()).await);
    }
    response
}

/// A body that the handler reads, or else this.
struct Body(Rc<RefCell<Payload>>);

impl Body {
    async fn rest(mut self) {
        let mut left = MAX_DRAINED_BYTES;
        while let Some(Ok(piece)) = self.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}
