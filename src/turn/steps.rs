//! Tools that a turn calls. Each call is recorded before it is made, and what came of it before the
//! agent hears of it: whoever adopts the turn takes up what was done, and does nothing twice.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::pending, stream::FuturesUnordered};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{
    Engine,
    event::{Frame, ToolStatus},
    finish::write,
    run::{COMMIT_PATIENCE, Output},
};
use crate::{
    agents::{Asked, Round, Shown},
    error::Result,
    llm::{ToolCall, ToolResult},
    store::{
        MessageId, TurnId,
        begin::Started,
        messages::{Message, MessageType},
        steps::{NewStep, NewSteps},
    },
    text::{self, of},
    tools::Done,
    widgets::{Widget, WidgetType},
};

/// How many tools a turn calls at the same time.
const AT_ONCE: usize = 4;
/// How often a conversation may be handed from agent to agent in one turn.
const HANDOFFS: usize = 3;
/// What a model is told that hands the conversation over again and again.
const TOO_OFTEN: &str = "It was handed over before: answer it yourself.";
/// What a model is told of a call that was under way when the server died.
const UNKNOWN: &str = "It is not known whether this was done: the server stopped meanwhile.";
/// Where a widget, and the answer to it, has the call that waits for it.
pub(super) const CONFIRMS: &str = "confirms";
/// What a model is told of a widget.
const SHOWN: &str = "Shown to the visitor. What they answer comes as their next message.";
/// What a model is told of a call that the visitor has to allow.
const TO_CONFIRM: &str =
    "Not done yet: the visitor is asked whether it may be. It is done when they say yes.";

/// Carries out what an agent asks for: several calls at once, their results in order. The first handoff
/// counts, unless there were too many in this turn. `consents` is what the visitor said to calls that they
/// were asked about.
///
/// # Errors
/// When the database is away for too long. Then a call that was not recorded was not made.
pub(super) async fn carry_out(
    engine: &Engine,
    turn: &Started,
    agent: &str,
    before: &[Round],
    (calls, consents): (Vec<ToolCall>, &[bool]),
    context: &mut Map<String, Value>,
    output: &mut Output<'_>,
) -> Result<Round> {
    let round = before.len();
    let made = calls.iter().map(|call| {
        let body = call.arguments.as_str();
        step(MessageType::ToolCall, round, call, body)
    });
    record(engine, turn, made.collect(), None).await?;
    for call in &calls {
        show(engine, agent, call, ToolStatus::Running, output).await?;
    }
    let places = Semaphore::new(AT_ONCE);
    // All read what was known before; what they learn is recorded one after the other.
    let known = context.clone();
    let learnt = Mutex::new(context);
    let handed = before.iter().filter_map(Round::handoff).count();
    let mut may_hand_over = handed < HANDOFFS;
    let mut called = FuturesUnordered::new();
    for (at, call) in calls.iter().enumerate() {
        let consent = consents.get(at).copied();
        let free = without_calling(engine, agent, before, call, consent, &mut may_hand_over);
        let (places, known, learnt) = (&places, &known, &learnt);
        called.push(
            async move {
                let came = match free {
                    Some(came) => came,
                    None => {
                        let _place = places.acquire().await;
                        let done = engine.agents.call(agent, call, turn.turn_id, known);
                        came_of(engine, agent, done.await)
                    }
                };
                let mut context = learnt.lock().await;
                (
                    at,
                    recorded(engine, turn, round, call, came, &mut context).await,
                )
            }
            .boxed(),
        );
    }
    let mut results = Vec::with_capacity(calls.len());
    while let Some((at, came)) = called.next().await {
        let came = came?;
        let status = match (came.0.is_error, &came.1) {
            (true, _) => ToolStatus::Failed,
            // It has not been called yet.
            (false, Some(shown)) if shown.asks() => ToolStatus::Waiting,
            (false, _) => ToolStatus::Done,
        };
        if let Some(call) = calls.get(at) {
            show(engine, agent, call, status, output).await?;
        }
        results.push((at, came));
    }
    drop(called);
    results.sort_by_key(|(at, _)| *at);
    let (results, widgets): (Vec<_>, Vec<_>) = results.into_iter().map(|(_, came)| came).unzip();
    Ok(Round {
        text: String::new(),
        shown: 0,
        calls,
        results,
        widgets: widgets.into_iter().flatten().collect(),
    })
}

/// What came of a call.
struct Came {
    /// What the model is told.
    result: ToolResult,
    /// What the visitor is shown.
    shown: Option<Shown>,
    /// What is known of the visitor from now on.
    context: Map<String, Value>,
}

impl Came {
    fn of(call: &ToolCall, told: std::result::Result<&str, &str>) -> Self {
        Self {
            result: ToolResult::of(call, told.map(str::to_owned).map_err(str::to_owned)),
            shown: None,
            context: Map::new(),
        }
    }

    fn showing(mut self, widget: Widget, confirms: Option<ToolCall>) -> Self {
        self.shown = Some(Shown { widget, confirms });
        self
    }
}

/// What comes of a call that no tool has to be called for.
fn without_calling(
    engine: &Engine,
    agent: &str,
    before: &[Round],
    call: &ToolCall,
    consent: Option<bool>,
    may_hand_over: &mut bool,
) -> Option<Came> {
    let told = |told| Came::of(call, told);
    match engine.agents.asked(agent, call) {
        Asked::Handoff(_) if !*may_hand_over => Some(told(Err(TOO_OFTEN))),
        Asked::Handoff(Ok(_)) => {
            *may_hand_over = false;
            Some(told(Ok("Handed over.")))
        }
        Asked::Widget(Ok(widget)) => Some(told(Ok(SHOWN)).showing(widget, None)),
        Asked::Handoff(Err(fault)) | Asked::Widget(Err(fault)) => Some(told(Err(&fault))),
        _ if consent == Some(false) => Some(told(Err("The visitor was asked, and said no."))),
        _ if may_have_been_done(engine, before, call) => Some(told(Err(UNKNOWN))),
        Asked::Confirm(question) if consent.is_none() => {
            let question = Widget::confirm(question);
            Some(told(Ok(TO_CONFIRM)).showing(question, Some(call.clone())))
        }
        Asked::Confirm(_) | Asked::Tool => None,
    }
}

/// What a tool has done, as far as it may: its widget has to be one, and what it has learnt has to fit the
/// agent.
fn came_of(engine: &Engine, agent: &str, done: Done) -> Came {
    let widget = done.widget.map(|raw| engine.agents.widget(raw));
    if let Some(Err(fault)) = &widget {
        tracing::warn!(fault, "a tool's widget is not shown");
    }
    let widget = widget.and_then(std::result::Result::ok);
    let confirms = None;
    Came {
        result: done.result,
        shown: widget.map(|widget| Shown { widget, confirms }),
        context: match engine.agents.may_know(agent, &done.context) {
            true => done.context,
            false => {
                tracing::warn!("what a tool has learnt does not fit the agent's context");
                Map::new()
            }
        },
    }
}

/// What came of a call, recorded as soon as it is known.
async fn recorded(
    engine: &Engine,
    turn: &Started,
    round: usize,
    call: &ToolCall,
    came: Came,
    context: &mut Map<String, Value>,
) -> Result<(ToolResult, Option<Shown>)> {
    let Came {
        mut result,
        shown,
        context: learnt,
    } = came;
    result.content = text::cleaned(result.content);
    let mut came = step(MessageType::ToolResult, round, call, &result.content);
    came.success = Some(!result.is_error);
    let has_learnt = !learnt.is_empty();
    context.extend(learnt);
    if let Some(shown) = &shown {
        came.widget = Some((shown.widget.kind.as_str(), shown.widget.data.clone()));
        if let Some(metadata) = came.metadata.as_object_mut() {
            metadata.insert(CONFIRMS.to_owned(), shown.confirms.is_some().into());
        }
    }
    let context = has_learnt.then(|| Value::Object(context.clone()));
    record(engine, turn, vec![came], context).await?;
    Ok((result, shown))
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

/// Records steps, for as long as a final frame would wait. It does not return where the turn is another's
/// by now: then it is told to end.
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
            MessageType::ToolResult => {
                round.widgets.extend(shown_before(round, &call_id, message));
                round.results.push(ToolResult {
                    call_id,
                    content: message.body.clone(),
                    is_error: message.tool_success != Some(true),
                });
            }
            _ => {}
        }
    }
    rounds.into_values().map(answered).collect()
}

/// The calls that the visitor was asked about and that this turn's message answers, and what they said.
pub(super) fn consents(history: &[Message], turn: TurnId) -> Vec<(ToolCall, bool)> {
    let answers = history.iter().filter(|message| {
        message.turn_id == Some(turn) && message.message_type == MessageType::WidgetAnswer
    });
    let consent = |(at, message): (usize, &Message)| {
        let asked = of(&message.metadata.as_ref()?.0, CONFIRMS);
        let call = ToolCall {
            id: format!("call_{at}"),
            name: of(asked, "name").as_str()?.to_owned(),
            arguments: of(asked, "arguments").as_str()?.to_owned(),
        };
        let answer = &message.component_data.as_ref()?.0;
        Some((call, *of(answer, "confirmed") == true))
    };
    answers.enumerate().filter_map(consent).collect()
}

/// The widget that a call showed.
fn shown_before(round: &Round, call_id: &str, message: &Message) -> Option<Shown> {
    let kind = WidgetType::parse(message.component_type.as_deref()?)?;
    let data = message.component_data.clone()?.0;
    let is_question = of(&message.metadata.as_ref()?.0, CONFIRMS) == true;
    let mut calls = round.calls.iter();
    let call = calls.find(|call| call.id == call_id);
    Some(Shown {
        widget: Widget { kind, data },
        confirms: call.filter(|_| is_question).cloned(),
    })
}

/// The round with a result for each of its calls.
fn answered(mut round: Round) -> Round {
    let results = round.calls.iter().map(|call| {
        let known = round
            .results
            .iter()
            .find(|result| result.call_id == call.id);
        let unknown = || ToolResult::of(call, Err(UNKNOWN.to_owned()));
        known.cloned().unwrap_or_else(unknown)
    });
    round.results = results.collect();
    round
}
