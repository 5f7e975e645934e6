//! Calls models until an answer's first word: retries, fallback models, timeouts.
//!
//! After the first word there is no retry: text that was delivered is never continued by a
//! second generation.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Span;

use super::{
    Calls, Chunk, Chunks, Failure, LlmError, Model, Models, PromptMessage, Request, ToolCall,
    Usage, reasoning_filter::ReasoningFilter,
};
use crate::{clock::Timer, metrics::Metrics};

/// The longest wait before a retry. If the vendor asks for more, the next model is tried.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// [`complete`] stops reading once it has more text than this, in bytes.
const WHOLE_BYTES: usize = 4 * 1024;

/// Asks a model, then its fallbacks, until one begins to answer. The stream begins with the first visible
/// text or the first tool call.
///
/// # Errors
/// The last model's failure.
pub async fn open(models: &Models, model: &Model, request: &Request) -> Result<Chunks, LlmError> {
    let deadline = Instant::now() + models.policy.timeouts.total;
    let mut last = LlmError::new(Failure::Connect, "no model");
    for model in models.with_fallbacks(model) {
        // Later log lines of the turn name this model.
        Span::current().record("llm.model", &model.spec);
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

/// Asks for a short answer and waits for all of it; one of more than 4 KiB is cut off.
///
/// # Errors
/// The last model's failure.
pub async fn complete(
    models: &Models,
    model: &Model,
    request: &Request,
) -> Result<Whole, LlmError> {
    let mut chunks = open(models, model, request).await?;
    let (mut text, mut calls, mut usage) = (String::new(), Calls::default(), Usage::default());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        text.push_str(&chunk.text);
        usage = chunk.usage.unwrap_or(usage);
        for part in chunk.calls {
            calls.add(part)?;
        }
        if text.len() > WHOLE_BYTES {
            break;
        }
    }
    let calls = calls.done();
    Ok(Whole { text, calls, usage })
}

/// A short answer.
#[derive(Debug)]
pub struct Whole {
    /// Its text.
    pub text: String,
    /// Its tool calls.
    pub calls: Vec<ToolCall>,
    /// Tokens that it used.
    pub usage: Usage,
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
        models
            .metrics
            .upstream_error(&model.spec, error.kind.name());
        let wait = error.retry_after.unwrap_or_else(|| back_off(tries));
        let in_time = wait <= LONGEST_WAIT && Instant::now() + wait < deadline;
        if tries >= policy.retries || !error.is_passing() || !in_time {
            return Err(error);
        }
        tries += 1;
        sleep(wait).await;
    }
}

/// 250 ms, doubled with each try up to 8 s, times a random factor from 1 to 2.
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
    let asked = Instant::now();
    let first_token = deadline.min(asked + timeouts.first_token);
    let late = |_| LlmError::new(Failure::Timeout, "no beginning of an answer for too long");
    let chunks = timeout_at(first_token, model.provider.ask(model, request))
        .await
        .map_err(late)??;
    let mut timed = Timed {
        chunks,
        timer: Timer::new(first_token),
        payload_idle: timeouts.payload_idle,
        deadline,
        visible: ReasoningFilter::new(),
        first: None,
        usage: Usage::default(),
        prompt_bytes: request.bytes(),
        said_bytes: 0,
        cost: Cost {
            usage: Usage::default(),
            model: model.spec.clone(),
            metrics: Arc::clone(&models.metrics),
        },
    };
    loop {
        match timed.next().await {
            Some(Ok(chunk)) if !chunk.text.is_empty() || !chunk.calls.is_empty() => {
                timed.first = Some(chunk);
                models.metrics.first_chunk(&model.spec, asked.elapsed());
                let (metrics, spec) = (Arc::clone(&models.metrics), model.spec.clone());
                let failed =
                    move |error: &LlmError| metrics.upstream_error(&spec, error.kind.name());
                return Ok(timed.inspect_err(failed).boxed());
            }
            Some(Ok(Chunk { finish: None, .. })) => {}
            // After tool results the model may have nothing to add.
            Some(Ok(chunk)) if request.messages.last().is_some_and(has_results) => {
                return Ok(stream::iter([Ok(chunk)]).boxed());
            }
            Some(Ok(_)) => return Err(LlmError::new(Failure::Empty, "the model said nothing")),
            Some(Err(error)) => return Err(error),
            None => return Err(LlmError::new(Failure::Cut, "the stream ended")),
        }
    }
}

fn has_results(message: &PromptMessage) -> bool {
    !message.results.is_empty()
}

/// The visible part of an answer, with the timeouts between chunks and for the whole answer; the
/// timeout between bytes is in `events`. The stream ends with its first error.
struct Timed {
    chunks: Chunks,
    timer: Timer,
    payload_idle: Duration,
    deadline: Instant,
    visible: ReasoningFilter,
    /// The first chunk with text or a call. It was read to check that there is one, and is yielded first.
    first: Option<Chunk>,
    /// Tokens as the vendor reports them.
    usage: Usage,
    /// Bytes sent, to estimate tokens if the vendor reports none; `said_bytes` are those received.
    prompt_bytes: usize,
    said_bytes: usize,
    cost: Cost,
}

/// A call's tokens. They are added to the metrics when the call is over, however it ends.
struct Cost {
    usage: Usage,
    model: String,
    metrics: Arc<Metrics>,
}

impl Drop for Cost {
    fn drop(&mut self) {
        if self.usage != Usage::default() {
            let Usage { input, output } = self.usage;
            self.metrics.tokens(&self.model, input, output);
        }
    }
}

impl Timed {
    /// Sets a chunk's usage so far: as the vendor reports it, or else estimated at 4 bytes per token.
    fn tally(&mut self, chunk: &mut Chunk) {
        self.said_bytes += chunk.text.len();
        self.said_bytes += chunk
            .calls
            .iter()
            .map(|call| call.arguments.len())
            .sum::<usize>();
        self.usage = self.usage.updated(chunk.usage.take());
        let counted = |bytes: usize| u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
        let or = |said: u64, bytes: usize| if said > 0 { said } else { counted(bytes) };
        self.cost.usage = Usage {
            input: or(self.usage.input, self.prompt_bytes),
            output: or(self.usage.output, self.said_bytes),
        };
        chunk.usage = Some(self.cost.usage);
    }
}

impl Stream for Timed {
    type Item = Result<Chunk, LlmError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match self.chunks.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(mut chunk))) => {
                self.tally(&mut chunk);
                let until = self.deadline.min(Instant::now() + self.payload_idle);
                self.timer.put_off(until);
                Poll::Ready(Some(Ok(self.visible.filter(chunk))))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                ready!(self.timer.poll_ring(cx));
                self.chunks = stream::empty().boxed();
                let late = "no piece of the answer for too long";
                Poll::Ready(Some(Err(LlmError::new(Failure::Timeout, late))))
            }
        }
    }
}
