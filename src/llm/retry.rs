//! Asking until there is a first word: repeated calls, fallback models, timers.
//!
//! Once a word was shown there is no second try: text that was delivered is never continued
//! by a second generation.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Chunk, Chunks, Failure, LlmError, Model, Models, Request, visible::Visible};
use crate::config::Timeouts;

/// The longest that a vendor may ask to wait before another try; else the next model's turn.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long an answer as a whole may be.
const WHOLE_BYTES: usize = 4 * 1024;

/// Asks a model, and those to fall back to, until one has begun to answer. The stream begins
/// with its first visible text.
///
/// # Errors
/// The last model's failure.
pub async fn open(models: &Models, model: &Model, request: &Request) -> Result<Chunks, LlmError> {
    let deadline = Instant::now() + models.policy.timeouts.total;
    let mut last = LlmError::new(Failure::Connect, "no model");
    for model in models.with_fallbacks(model) {
        match with_retries(models, &model, request, deadline).await {
            Ok(chunks) => return Ok(chunks),
            Err(error) => {
                tracing::warn!(llm.model = model.spec, error.cause = %error, "the model failed before its first word");
                last = error;
            }
        }
    }
    Err(last)
}

/// Asks for a short answer as a whole; a long one is broken off.
///
/// # Errors
/// The last model's failure.
pub async fn complete(
    models: &Models,
    model: &Model,
    request: &Request,
) -> Result<String, LlmError> {
    let mut chunks = open(models, model, request).await?;
    let mut text = String::new();
    while let Some(chunk) = chunks.next().await {
        text.push_str(&chunk?.text);
        if text.len() > WHOLE_BYTES {
            break;
        }
    }
    Ok(text)
}

async fn with_retries(
    models: &Models,
    model: &Model,
    request: &Request,
    deadline: Instant,
) -> Result<Chunks, LlmError> {
    let policy = models.policy;
    let mut tries = 0;
    loop {
        let error = match first_word(models, model, request, deadline).await {
            Ok(chunks) => return Ok(chunks),
            Err(error) => error,
        };
        models.metrics.upstream_error(error.kind.name());
        let wait = error.retry_after.unwrap_or_else(|| back_off(tries));
        let in_time = wait <= LONGEST_WAIT && Instant::now() + wait < deadline;
        if tries >= policy.retries || !error.is_passing() || !in_time {
            return Err(error);
        }
        tries += 1;
        sleep(wait).await;
    }
}

/// A quarter of a second, doubled each time, by chance up to twice that.
fn back_off(tries: u32) -> Duration {
    let base = Duration::from_millis(250) * 2_u32.saturating_pow(tries.min(5));
    base.mul_f64(rand::rng().random_range(1.0..2.0))
}

async fn first_word(
    models: &Models,
    model: &Model,
    request: &Request,
    deadline: Instant,
) -> Result<Chunks, LlmError> {
    let timeouts = models.policy.timeouts;
    let first_token = deadline.min(Instant::now() + timeouts.first_token);
    let late = |_| LlmError::new(Failure::Timeout, "no beginning of an answer for too long");
    let chunks = timeout_at(first_token, model.provider.ask(model, request))
        .await
        .map_err(late)??;
    let mut chunks = timed(chunks, timeouts, first_token, deadline);
    loop {
        match chunks.next().await {
            Some(Ok(chunk)) if !chunk.text.is_empty() => {
                let metrics = Arc::clone(&models.metrics);
                let rest =
                    chunks.inspect_err(move |error| metrics.upstream_error(error.kind.name()));
                return Ok(stream::iter([Ok(chunk)]).chain(rest).boxed());
            }
            Some(Ok(Chunk { finish: None, .. })) => {}
            Some(Ok(_)) => return Err(LlmError::new(Failure::Empty, "the model said nothing")),
            Some(Err(error)) => return Err(error),
            None => return Err(LlmError::new(Failure::Cut, "the stream ended")),
        }
    }
}

/// What is visible of an answer, with the timers for a piece of it and for the whole; the timer for bytes stands closer
/// to them, in `events`.
fn timed(chunks: Chunks, timeouts: Timeouts, first_token: Instant, deadline: Instant) -> Chunks {
    stream::unfold(
        Some((chunks, first_token, Visible::new())),
        move |state| async move {
            let (mut chunks, until, mut visible) = state?;
            let chunk = match timeout_at(until, chunks.next()).await {
                Ok(Some(Ok(chunk))) => visible.filter(chunk),
                Ok(end) => return end.map(|end| (end, None)),
                Err(_) => {
                    return Some((
                        Err(LlmError::new(
                            Failure::Timeout,
                            "no piece of the answer for too long",
                        )),
                        None,
                    ));
                }
            };
            let until = deadline.min(Instant::now() + timeouts.payload_idle);
            Some((Ok(chunk), Some((chunks, until, visible))))
        },
    )
    .boxed()
}
