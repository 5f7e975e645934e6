//! One turn, from its committed message to its committed answer.
//!
//! The task outlives the client that began the turn. The log gets exactly one final frame, or none if this
//! instance hands over or loses the turn.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use super::{
    Engine,
    finish::{FinishedTurn, finish},
    frame::Frame,
    lease::Lease,
    log::Log,
    metadata::{ASKS_FOR, SKILL},
    output::{Ending, Progress, TurnOutput},
    prompt,
    replay::{consents, done_before},
    rounds::{self, SessionTurn},
    signal::{Cause, Signal},
};
use crate::{
    agents::TurnInput,
    error::{Code, Error},
    store::{
        begin::Started,
        messages::{FinishReason, Message},
        sessions::Mode,
    },
    text::member,
};

/// Why this instance stops running a turn.
enum EarlyEnd {
    /// It is over.
    Over(Ending),
    /// The server shuts down: another instance may adopt the turn.
    HandedOver,
    /// This instance no longer owns the turn.
    Lost,
}

impl From<Ending> for EarlyEnd {
    fn from(ending: Ending) -> Self {
        Self::Over(ending)
    }
}

/// Runs a turn that has begun. Its log lines name the turn, the conversation, the agent and the model.
// Level `error`, so that no log filter drops the span.
#[tracing::instrument(
    name = "turn", level = "error", skip_all,
    fields(
        turn.id = %started.turn_id,
        turn.attempt = started.attempt.0,
        conversation.id = %started.conversation_id,
        agent = Empty,
        llm.model = Empty,
    )
)]
pub(super) async fn run(
    engine: Arc<Engine>,
    started: Started,
    log: Arc<Log>,
    lease: Arc<Lease>,
    signal: Arc<Signal>,
    address: Option<IpAddr>,
) {
    let began = Instant::now();
    let mut progress = Progress::default();
    let mut input = input_of(&engine, &started);
    let mut output = TurnOutput {
        log: &log,
        lease: Some(lease),
        degraded: false,
        shown: Vec::new(),
    };
    let place = SessionTurn {
        agent: started.agent.as_deref(),
        stored: Some(&started),
    };
    let asked = asks_for_person(&engine, &input);
    let end = if started.mode == Mode::Expert || asked.is_some() {
        if started.mode == Mode::Ai {
            let reason = "The visitor asked for a person.".to_owned();
            let mut asks = engine.handoff_request(reason, place.agent);
            asks.skill = asked.and_then(|asked| asked.skill).or(asks.skill);
            progress.asks = Some(asks);
        }
        leave_to_person(&engine, &mut output).await.into()
    } else if engine.may_spend(&started, address).await {
        let (progress, output) = (&mut progress, &mut output);
        answer(&engine, &mut input, place, progress, output, &signal).await
    } else {
        refuse(&engine, &mut progress, &mut output).await.into()
    };
    let spent = progress.spent.plus(progress.asking);
    let first_word = progress.first_word;
    let reason = match end {
        EarlyEnd::Over(ending) => {
            let ended = FinishedTurn {
                progress,
                shown: output.shown,
                ending,
            };
            finish(&engine, &started, &log, ended).await
        }
        EarlyEnd::HandedOver => return hand_over(&engine, &started, &log).await,
        EarlyEnd::Lost => engine.lose(&started, &log).await,
    };
    let Some(reason) = reason else {
        return;
    };
    engine.metrics.turn(reason.as_str());
    let since = |then: Instant| u64::try_from(then.duration_since(began).as_millis()).ok();
    tracing::info!(
        turn.finish_reason = reason.as_str(),
        turn.first_word_ms = first_word.and_then(since),
        turn.duration_ms = since(Instant::now()),
        llm.input_tokens = spent.input,
        llm.output_tokens = spent.output,
        "turn finished"
    );
}

/// The input for the agents.
fn input_of(engine: &Engine, started: &Started) -> TurnInput {
    let context = started.context.as_ref().and_then(Value::as_object);
    TurnInput {
        turn_id: Some(started.turn_id),
        conversation_id: Some(started.conversation_id),
        history: prompt::window(started.history.clone(), engine.settings.turn.history_tokens),
        state: started.state.clone(),
        context: context.cloned().unwrap_or_default(),
        user_name: started.user_name.clone(),
        rounds: done_before(&started.history, started.turn_id),
        may_call: true,
        unfinished: prompt::unfinished(&started.history, started.turn_id),
        consents: consents(&started.history, started.turn_id),
        handed_over: None,
        ..TurnInput::default()
    }
}

/// A visitor's request for an expert.
struct PersonWanted {
    /// The skill that the expert needs.
    skill: Option<String>,
}

/// The request for an expert in a message: one of the configured phrases, or the metadata member `asks_for`.
fn asks_for_person(engine: &Engine, input: &TurnInput) -> Option<PersonWanted> {
    // Includes the messages that were merged into this turn.
    let turn = input.history.last().and_then(|last| last.turn_id);
    let asked = input.history.iter().filter(|said| said.turn_id == turn);
    let mut asked = asked.filter_map(|said| said.metadata.as_ref());
    let by_call = asked.find(|metadata| *member(&metadata.0, ASKS_FOR) == json!("person"));
    if let Some(metadata) = by_call {
        let skill = member(&metadata.0, SKILL).as_str().map(str::to_owned);
        return Some(PersonWanted { skill });
    }
    let is_asked_for = engine.settings.experts.is_asked_for(&input.text());
    is_asked_for.then_some(PersonWanted { skill: None })
}

/// An expert answers: the message is stored and no agent is asked.
async fn leave_to_person(engine: &Engine, output: &mut TurnOutput<'_>) -> Ending {
    let said = output
        .append(engine, |now| Frame::mode(Mode::Expert, now))
        .await;
    said.map_or_else(Ending::failed, |()| Ending::from(FinishReason::Handoff))
}

/// Answers that the tokens are used up.
async fn refuse(engine: &Engine, progress: &mut Progress, output: &mut TurnOutput<'_>) -> Ending {
    let answer = engine.settings.budgets.answer.as_str();
    progress.text.push_str(answer);
    let said = output.append(engine, |now| Frame::text(answer, now)).await;
    said.map_or_else(Ending::failed, |()| Ending::from(FinishReason::Stop))
}

/// Leaves a turn to another instance. Its readers' streams end without a final frame, so that clients reconnect
/// to where the turn goes on.
async fn hand_over(engine: &Engine, started: &Started, log: &Log) {
    engine.flush().await;
    let freed = engine.store.release_turn(started);
    if let Err(error) = freed.await {
        tracing::warn!(error.cause = %error, "a turn's lease was not given up");
    }
    log.give_up();
    tracing::info!("turn handed over");
}

/// Runs a turn that is not stored, while the database is away.
pub(super) async fn run_stateless(
    engine: Arc<Engine>,
    message: Message,
    agent: Option<String>,
    log: Arc<Log>,
    shutdown: CancellationToken,
) {
    let mut input = TurnInput {
        history: vec![message],
        ..TurnInput::default()
    };
    let mut progress = Progress::default();
    let mut output = TurnOutput {
        log: &log,
        lease: None,
        degraded: true,
        shown: Vec::new(),
    };
    let place = SessionTurn {
        agent: agent.as_deref(),
        stored: None,
    };
    let never = Signal::default();
    let answer = answer(
        &engine,
        &mut input,
        place,
        &mut progress,
        &mut output,
        &never,
    );
    let end = tokio::select! {
        end = answer => end,
        () = shutdown.cancelled() => EarlyEnd::HandedOver,
    };
    let ending = match end {
        EarlyEnd::Over(ending) => ending,
        EarlyEnd::HandedOver | EarlyEnd::Lost => Ending::failed(Error::new(Code::Interrupted)),
    };
    let mut last = Frame::last(ending.reason, ending.error.as_ref(), engine.clock.now());
    last.degraded = true;
    last.agent = progress.agent.map(Into::into);
    log.close(last);
}

/// Lets the agents answer, until they are done, a signal arrives or the time is up.
async fn answer(
    engine: &Engine,
    input: &mut TurnInput,
    place: SessionTurn<'_>,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
    signal: &Signal,
) -> EarlyEnd {
    let most = Duration::from_secs(engine.settings.turn.most_seconds);
    let speaking =
        AssertUnwindSafe(rounds::answer(engine, input, place, progress, output)).catch_unwind();
    tokio::select! {
        biased;
        cause = signal.raised() => match cause {
            Cause::Lost => EarlyEnd::Lost,
            Cause::Stopped => Ending::from(FinishReason::Cancelled).into(),
            Cause::Shutdown => EarlyEnd::HandedOver,
        },
        () = sleep(most) => {
            let late = Error::new(Code::UpstreamTimeout).caused_by("the turn took too long");
            Ending::failed(late).into()
        }
        spoken = speaking => {
            let panicked = |_| Err(Error::new(Code::Internal).caused_by("an agent panicked"));
            let spoken = spoken.unwrap_or_else(panicked);
            spoken.map_or_else(Ending::failed, Ending::from).into()
        }
    }
}
