//! Tool calls of a turn. Each call is recorded before it is made, and its result before the agent gets it, so
//! that an instance that adopts the turn does nothing twice.

use std::sync::Arc;

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, pending},
    stream::FuturesUnordered,
};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{
    Engine,
    commit::{FINISH_TIMEOUT, write},
    frame::{Frame, ToolStatus},
    metadata::{CONFIRMS, MADE, SAID},
    output::TurnOutput,
};
use crate::{
    agents::{CallPurpose, Consent, Preamble, Round, ShownWidget, ToolInvocation},
    error::Result,
    llm::{ToolCall, ToolResult},
    store::{
        MessageId,
        begin::Started,
        messages::MessageType,
        steps::{NewStep, NewSteps},
    },
    text,
    tools::ToolOutcome,
    widgets::Widget,
};

/// Maximum number of parallel tool calls in a turn.
const MAX_PARALLEL_CALLS: usize = 4;
/// Maximum number of handoffs between agents in one turn.
const MAX_HANDOFFS: usize = 3;
/// The result of a handoff after too many in one turn.
const TOO_OFTEN: &str = "It was handed over before: answer it yourself.";
/// The result of a call that was running when the server died.
pub(super) const UNKNOWN: &str =
    "It is not known whether this was done: the server stopped meanwhile.";
/// The result of showing a widget.
const SHOWN_TO_VISITOR: &str =
    "Shown to the visitor. What they answer comes as their next message.";
/// The result of a call that needs the visitor's consent.
const TO_CONFIRM: &str =
    "Not done yet: the visitor is asked whether it may be. It is done when they say yes.";

/// Carries out an agent's calls: in parallel, with the results in order of the calls. Only the first handoff
/// counts, unless there were too many in this turn.
///
/// # Errors
/// If the database is away for too long. Then a call that was not recorded was not made.
pub(super) async fn carry_out(
    engine: &Engine,
    turn: &Started,
    wanted: RequestedCalls<'_>,
    known: VisitorContext<'_>,
    output: &mut TurnOutput<'_>,
) -> Result<Round> {
    let round = wanted.before.len();
    let ids = record_calls(engine, turn, round, &wanted).await?;
    for call in ids.iter().copied().zip(&wanted.calls) {
        show(engine, wanted.agent, call, ToolStatus::Running, output).await?;
    }
    engine.agents.reach(&wanted.calls).await;
    let learnt = Mutex::new(known);
    let mut called = call_all(engine, turn, &wanted, &learnt).await;
    let mut results = Vec::with_capacity(wanted.calls.len());
    while let Some((at, came)) = called.next().await {
        let (result, shown) = came?;
        let status = match (result.is_error, &shown) {
            (true, _) => ToolStatus::Failed,
            // It has not been called yet.
            (false, Some(shown)) if shown.asks() => ToolStatus::Waiting,
            (false, _) => ToolStatus::Done,
        };
        if let Some((id, call)) = ids.get(at).zip(wanted.calls.get(at)) {
            show(engine, wanted.agent, (*id, call), status, output).await?;
        }
        // Show the widget now, so that its question is kept if the turn is stopped here.
        if let Some(shown) = &shown {
            output.show(engine, shown.clone()).await?;
        }
        results.push((at, (result, shown)));
    }
    drop(called);
    results.sort_by_key(|(at, _)| *at);
    let (results, widgets): (Vec<_>, Vec<_>) = results.into_iter().map(|(_, came)| came).unzip();
    Ok(Round {
        said: wanted.said,
        calls: wanted.calls,
        results,
        widgets: widgets.into_iter().flatten().collect(),
    })
}

/// Records the calls before any of them is made. Returns the ids of their messages.
async fn record_calls(
    engine: &Engine,
    turn: &Started,
    round: usize,
    wanted: &RequestedCalls<'_>,
) -> Result<Vec<MessageId>> {
    let steps = wanted.calls.iter().enumerate().map(|(at, call)| {
        let mut made = step(MessageType::ToolCall, round, call, &call.arguments);
        if at == 0 {
            note(&mut made, SAID, json!(wanted.said));
        }
        made
    });
    let steps: Vec<NewStep> = steps.collect();
    let ids = steps.iter().map(|step| step.id).collect();
    record(engine, turn, steps, None).await?;
    Ok(ids)
}

/// The result for the model, and the widget that the call showed.
type Recorded = Result<(ToolResult, Option<ShownWidget>)>;

/// Starts the calls, several at once. Yields each one's index and result when it ends.
async fn call_all<'a>(
    engine: &'a Engine,
    turn: &'a Started,
    wanted: &'a RequestedCalls<'_>,
    learnt: &'a Mutex<VisitorContext<'_>>,
) -> FuturesUnordered<BoxFuture<'a, (usize, Recorded)>> {
    let (agent, round) = (wanted.agent, wanted.before.len());
    let places = Arc::new(Semaphore::new(MAX_PARALLEL_CALLS));
    // All calls get the context from before the round; the lock lets them record changes one at a time.
    let context = Arc::new(learnt.lock().await.context.clone());
    let handed = wanted.before.iter().filter_map(Round::handoff).count();
    let mut may_hand_over = handed < MAX_HANDOFFS;
    let calls = wanted.calls.iter().enumerate().map(|(at, call)| {
        let free = without_calling(engine, wanted, call, &mut may_hand_over);
        let (places, context) = (Arc::clone(&places), Arc::clone(&context));
        let calling = async move {
            let came = match free {
                Some(came) => came,
                None => {
                    let _place = places.acquire().await;
                    let invocation = ToolInvocation {
                        call,
                        turn: turn.turn_id,
                        context: &context,
                        has_consent: wanted.consent == Some(true),
                    };
                    outcome_of(engine, agent, engine.agents.call(agent, invocation).await)
                }
            };
            let mut known = learnt.lock().await;
            let came = recorded(engine, turn, round, call, came, &mut known).await;
            (at, came)
        };
        calling.boxed()
    });
    calls.collect()
}

/// Calls that an agent wants made.
pub(super) struct RequestedCalls<'a> {
    /// The agent.
    pub agent: &'a str,
    /// The turn's earlier rounds.
    pub before: &'a [Round],
    /// The calls.
    pub calls: Vec<ToolCall>,
    /// The visitor's decision, if the visitor was asked.
    pub consent: Option<bool>,
    /// What the agent said and showed before the calls.
    pub said: Preamble,
}

/// The visitor's context.
pub(super) struct VisitorContext<'a> {
    /// All of it.
    pub context: &'a mut Map<String, Value>,
    /// The changed context, if it has to be stored with the answer.
    pub unsaved: &'a mut Option<Map<String, Value>>,
}

/// The outcome of a call.
struct CallOutcome {
    /// The result for the model.
    result: ToolResult,
    /// The widget for the visitor.
    shown: Option<ShownWidget>,
    /// Changes to the visitor's context.
    context: Map<String, Value>,
}

impl CallOutcome {
    fn of(call: &ToolCall, told: std::result::Result<&str, &str>) -> Self {
        Self {
            result: ToolResult::of(call, told.map(str::to_owned).map_err(str::to_owned)),
            shown: None,
            context: Map::new(),
        }
    }

    fn showing(mut self, widget: Widget, confirms: Option<Consent>) -> Self {
        self.shown = Some(ShownWidget {
            widget,
            confirms,
            is_made: false,
        });
        self
    }
}

/// The outcome of a call that needs no tool, or must not reach one. `None` if the tool has to be called.
fn without_calling(
    engine: &Engine,
    wanted: &RequestedCalls<'_>,
    call: &ToolCall,
    may_hand_over: &mut bool,
) -> Option<CallOutcome> {
    let (agent, consent) = (wanted.agent, wanted.consent);
    let told = |told| CallOutcome::of(call, told);
    match engine.agents.asked(agent, call) {
        CallPurpose::Handoff(_) if !*may_hand_over => Some(told(Err(TOO_OFTEN))),
        CallPurpose::Handoff(Ok(_)) => {
            *may_hand_over = false;
            Some(told(Ok("Handed over.")))
        }
        CallPurpose::Widget(Ok(widget)) => Some(told(Ok(SHOWN_TO_VISITOR)).showing(widget, None)),
        CallPurpose::Handoff(Err(fault)) | CallPurpose::Widget(Err(fault)) => {
            Some(told(Err(&fault)))
        }
        _ if consent == Some(false) => Some(told(Err("The visitor was asked, and said no."))),
        _ if may_have_been_done(engine, wanted.before, call) => Some(told(Err(UNKNOWN))),
        CallPurpose::Confirm(question) if consent.is_none() => {
            let question = Widget::confirm(question);
            let consent = Consent {
                agent: agent.to_owned(),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            };
            Some(told(Ok(TO_CONFIRM)).showing(question, Some(consent)))
        }
        CallPurpose::Confirm(_) | CallPurpose::Tool => None,
    }
}

/// The outcome of a tool call, without a widget that is invalid and without context that the agent may not
/// have.
fn outcome_of(engine: &Engine, agent: &str, done: ToolOutcome) -> CallOutcome {
    let widget = done.widget.map(|raw| engine.agents.widget(raw));
    if let Some(Err(_)) = &widget {
        tracing::warn!("a tool's widget does not fit and is not shown");
    }
    let widget = widget.and_then(std::result::Result::ok);
    let shown = widget.map(|widget| ShownWidget {
        widget,
        confirms: None,
        is_made: true,
    });
    CallOutcome {
        result: done.result,
        shown,
        context: match engine.agents.may_know(agent, &done.context) {
            true => done.context,
            false => {
                tracing::warn!("what a tool has learnt does not fit the agent's context");
                Map::new()
            }
        },
    }
}

/// Records the outcome of a call as soon as it is known.
async fn recorded(
    engine: &Engine,
    turn: &Started,
    round: usize,
    call: &ToolCall,
    came: CallOutcome,
    known: &mut VisitorContext<'_>,
) -> Recorded {
    let CallOutcome {
        mut result,
        shown,
        context: learnt,
    } = came;
    result.content = text::cleaned(result.content);
    let mut came = step(MessageType::ToolResult, round, call, &result.content);
    came.success = Some(!result.is_error);
    if let Some(shown) = &shown {
        came.widget = Some((shown.widget.kind.as_str(), shown.widget.data.clone()));
        note(&mut came, CONFIRMS, json!(shown.confirms));
        note(&mut came, MADE, shown.is_made.into());
    }
    let context = (!learnt.is_empty()).then(|| {
        known.context.extend(learnt);
        Value::Object(known.context.clone())
    });
    let is_saved = context.is_some();
    record(engine, turn, vec![came], context).await?;
    if is_saved {
        // The context is stored: an older one must not overwrite it at the turn's end.
        *known.unsaved = None;
    }
    Ok((result, shown))
}

/// Adds a member to a step's metadata.
fn note(step: &mut NewStep, name: &str, value: Value) {
    if let Some(metadata) = step.metadata.as_object_mut() {
        metadata.insert(name.to_owned(), text::clean_json(value));
    }
}

/// True if the same call was made before, its outcome is unknown, and it is not safe to repeat.
fn may_have_been_done(engine: &Engine, before: &[Round], call: &ToolCall) -> bool {
    let calls = before
        .iter()
        .flat_map(|round| round.calls.iter().zip(&round.results));
    let mut unknown = calls.filter(|(_, result)| result.content == UNKNOWN);
    let is_same =
        |(other, _): (&ToolCall, _)| other.name == call.name && other.input() == call.input();
    !engine.agents.is_safe(&call.name) && unknown.any(is_same)
}

/// Shows the status of a call, if the agent has such a tool: models make names up.
async fn show(
    engine: &Engine,
    agent: &str,
    (id, call): (MessageId, &ToolCall),
    status: ToolStatus,
    output: &mut TurnOutput<'_>,
) -> Result<()> {
    if !engine.agents.has_tool(agent, &call.name) {
        return Ok(());
    }
    let frame = |now| Frame::tool(id, &call.name, status, now);
    output.append(engine, frame).await
}

fn step(message_type: MessageType, round: usize, call: &ToolCall, body: &str) -> NewStep {
    NewStep {
        id: MessageId::new(),
        message_type,
        tool: call.name.clone(),
        success: None,
        widget: None,
        body: text::clean(body).into_owned(),
        metadata: json!({"call_id": call.id, "round": round}),
    }
}

/// Records steps; retries for up to [`FINISH_TIMEOUT`]. If the turn is lost, signals it to end and never
/// returns.
async fn record(
    engine: &Engine,
    turn: &Started,
    steps: Vec<NewStep>,
    context: Option<Value>,
) -> Result<()> {
    let new = Arc::new(NewSteps {
        turn_id: turn.turn_id,
        conversation_id: turn.conversation_id,
        fence: turn.fence,
        context,
        steps,
    });
    let deadline = Instant::now() + FINISH_TIMEOUT;
    let is_mine = write(deadline, || engine.store.record_steps(Arc::clone(&new))).await?;
    if !is_mine {
        engine.leases.note_renewal(turn.turn_id, turn.fence, None);
        pending::<()>().await;
    }
    Ok(())
}
