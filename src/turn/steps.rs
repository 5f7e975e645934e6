//! Tools that a turn calls. Each call is recorded before it is made, and what came of it before the
//! agent hears of it: whoever adopts the turn takes up what was done, and does nothing twice.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::pending, stream::FuturesUnordered};
use serde_json::json;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Engine,
    event::{Frame, ToolStatus},
    finish::write,
    run::{COMMIT_PATIENCE, Output},
};
use crate::{
    agents::Round,
    error::Result,
    llm::{ToolCall, ToolResult},
    store::{
        MessageId, TurnId,
        begin::Started,
        messages::{Message, MessageType},
        steps::{NewStep, NewSteps},
    },
    text,
};

/// How many tools a turn calls at the same time.
const AT_ONCE: usize = 4;
/// How often a conversation may be handed from agent to agent in one turn.
const HANDOFFS: usize = 3;
/// What a model is told that hands the conversation over again and again.
const TOO_OFTEN: &str = "It was handed over before: answer it yourself.";
/// What a model is told of a call that was under way when the server died.
const UNKNOWN: &str = "It is not known whether this was done: the server stopped meanwhile.";

/// Carries out what an agent asks for: several calls at once, their results in order. The first handoff
/// counts, unless there were too many in this turn.
///
/// # Errors
/// When the database is away for too long. Then a call that was not recorded was not made.
pub(super) async fn carry_out(
    engine: &Engine,
    turn: &Started,
    agent: &str,
    before: &[Round],
    calls: &[ToolCall],
    output: &mut Output<'_>,
) -> Result<Vec<ToolResult>> {
    let round = before.len();
    let made = calls.iter().map(|call| {
        let body = call.arguments.as_str();
        step(MessageType::ToolCall, round, call, body, None)
    });
    record(engine, turn, made.collect()).await?;
    for call in calls {
        show(engine, agent, call, ToolStatus::Running, output).await?;
    }
    let places = Semaphore::new(AT_ONCE);
    let handed = before.iter().filter_map(Round::handoff).count();
    let mut may_hand_over = handed < HANDOFFS;
    let mut called = FuturesUnordered::new();
    for (at, call) in calls.iter().enumerate() {
        let result = match engine.agents.handoff(agent, call) {
            Some(_) if !may_hand_over => Some(ToolResult::of(call, Err(TOO_OFTEN.to_owned()))),
            Some(handed) => {
                may_hand_over = handed.is_err();
                let told = handed.map(|_| "Handed over.".to_owned());
                Some(ToolResult::of(call, told))
            }
            None if may_have_been_done(engine, before, call) => Some(unknown(call)),
            None => None,
        };
        let places = &places;
        called.push(
            async move {
                let result = match result {
                    Some(result) => result,
                    None => {
                        let _place = places.acquire().await;
                        engine.agents.call(agent, call, turn.turn_id).await
                    }
                };
                (at, recorded(engine, turn, round, call, result).await)
            }
            .boxed(),
        );
    }
    let mut results = Vec::with_capacity(calls.len());
    while let Some((at, result)) = called.next().await {
        let result = result?;
        let status = match result.is_error {
            true => ToolStatus::Failed,
            false => ToolStatus::Done,
        };
        if let Some(call) = calls.get(at) {
            show(engine, agent, call, status, output).await?;
        }
        results.push((at, result));
    }
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// What came of a call, recorded as soon as it is known.
async fn recorded(
    engine: &Engine,
    turn: &Started,
    round: usize,
    call: &ToolCall,
    mut result: ToolResult,
) -> Result<ToolResult> {
    result.content = text::cleaned(result.content);
    let success = Some(!result.is_error);
    let body = result.content.as_str();
    let came = step(MessageType::ToolResult, round, call, body, success);
    record(engine, turn, vec![came]).await?;
    Ok(result)
}

/// Whether the same call was made before, and it is not known what came of it.
fn may_have_been_done(engine: &Engine, before: &[Round], call: &ToolCall) -> bool {
    let calls = before
        .iter()
        .flat_map(|round| round.calls.iter().zip(&round.results));
    let mut unknown = calls.filter(|(_, result)| result.content == UNKNOWN);
    let is_same =
        |(other, _): (&ToolCall, _)| other.name == call.name && other.input() == call.input();
    !engine.agents.is_safe(&call.name) && unknown.any(is_same)
}

fn unknown(call: &ToolCall) -> ToolResult {
    ToolResult::of(call, Err(UNKNOWN.to_owned()))
}

/// Shows how a call stands, if there is such a tool: visitors are not shown what a model makes up.
async fn show(
    engine: &Engine,
    agent: &str,
    call: &ToolCall,
    status: ToolStatus,
    output: &mut Output<'_>,
) -> Result<()> {
    if !engine.agents.has_tool(agent, &call.name) {
        return Ok(());
    }
    let frame = |now| Frame::tool(&call.name, status, now);
    output.append(engine, frame).await
}

fn step(
    message_type: MessageType,
    round: usize,
    call: &ToolCall,
    body: &str,
    success: Option<bool>,
) -> NewStep {
    NewStep {
        id: MessageId::new(),
        message_type,
        tool: call.name.clone(),
        success,
        body: text::clean(body).into_owned(),
        metadata: json!({"call_id": call.id, "round": round}),
    }
}

/// Records steps, for as long as a final frame would wait. It does not return where the turn is another's
/// by now: then it is told to end.
async fn record(engine: &Engine, turn: &Started, steps: Vec<NewStep>) -> Result<()> {
    let new = Arc::new(NewSteps {
        turn_id: turn.turn_id,
        conversation_id: turn.conversation_id,
        fence: turn.fence,
        steps,
    });
    let deadline = Instant::now() + COMMIT_PATIENCE;
    let is_mine = write(deadline, || engine.store.record_steps(Arc::clone(&new))).await?;
    if !is_mine {
        engine.leases.heard(turn.turn_id, turn.fence, None);
        pending::<()>().await;
    }
    Ok(())
}

/// The rounds that an earlier attempt at this turn has done.
pub(super) fn done_before(history: &[Message], turn: TurnId) -> Vec<Round> {
    let mut rounds: BTreeMap<u64, Round> = BTreeMap::new();
    for message in history
        .iter()
        .filter(|message| message.turn_id == Some(turn))
    {
        let of = |name: &str| {
            message
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.0.get(name))
        };
        let (Some(call_id), Some(round)) = (of("call_id"), of("round")) else {
            continue;
        };
        let call_id = call_id.as_str().unwrap_or_default().to_owned();
        let round = rounds
            .entry(round.as_u64().unwrap_or_default())
            .or_default();
        match message.message_type {
            MessageType::ToolCall => round.calls.push(ToolCall {
                id: call_id,
                name: message.tool_name.clone().unwrap_or_default(),
                arguments: message.body.clone(),
            }),
            MessageType::ToolResult => round.results.push(ToolResult {
                call_id,
                content: message.body.clone(),
                is_error: message.tool_success != Some(true),
            }),
            _ => {}
        }
    }
    rounds.into_values().map(answered).collect()
}

/// The round with a result for each of its calls.
fn answered(mut round: Round) -> Round {
    let results = round.calls.iter().map(|call| {
        let known = round
            .results
            .iter()
            .find(|result| result.call_id == call.id);
        known.cloned().unwrap_or_else(|| unknown(call))
    });
    round.results = results.collect();
    round
}
