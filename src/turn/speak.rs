//! What is said in a turn: an agent is asked, and asked again with what came of its tools; or another
//! one is, to whom the conversation was handed.

use tokio::time::Instant;

use super::{
    Engine,
    frame::Frame,
    guard::{GuardOutcome, Guarded},
    output::{Progress, TurnOutput},
    steps::{RequestedCalls, VisitorContext, carry_out},
};
use crate::{
    agents::{self, HandedOver, ReplyPart, Round, ShownWidget, TurnInput},
    config::HUMAN,
    error::{Code, Error},
    llm::{Calls, ToolCall},
    store::{
        begin::Started,
        messages::FinishReason,
        queue::{HandoffRequest, QueueNotice},
        sessions::Mode,
    },
    text,
};

/// The longest answer, in bytes of text.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The longest log, in frames: a model that sends single letters must not fill the memory.
const MAX_ANSWER_FRAMES: usize = 400_000;
/// How much arguments and results a turn's model reads; once they are more, it has to answer.
const MAX_ROUNDS_BYTES: usize = 128 * 1024;

/// What stands between what is said before tools and after them.
const GAP: &str = "\n\n";

/// Which agent the session has, and which turn this is, where it is stored.
#[derive(Clone, Copy)]
pub(super) struct SessionTurn<'a> {
    pub agent: Option<&'a str>,
    pub stored: Option<&'a Started>,
}

/// Lets an agent answer: asks it, carries out what it calls, and asks it again, until it has answered or
/// another one has.
pub(super) async fn speak(
    engine: &Engine,
    input: &mut TurnInput,
    place: SessionTurn<'_>,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<FinishReason, Error> {
    let had = place.stored.and_then(|turn| turn.agent_before.as_deref());
    let may_move = place.agent == had;
    let (mut agent, routed) = engine.agents.choose(place.agent, may_move, input).await;
    progress.spent = routed;
    // What an earlier attempt did counts, its handoffs too; what it said is said again.
    for round in std::mem::take(&mut input.rounds) {
        repeat(engine, &agent, input, &round, progress, output).await?;
        if let Some(asks) = asks_for_person(engine, &agent, &round) {
            progress.answers(agent);
            return hand_to_person(engine, asks, progress, output).await;
        }
        add(engine, input, round, &mut agent);
    }
    progress.answers(agent.clone());
    meet(engine, &agent, input, place, progress).await?;
    if input.handed_over.is_some() || had.is_some_and(|had| had != agent) {
        output
            .append(engine, |now| Frame::agent(&agent, now))
            .await?;
    }
    ask_for_consents(engine, input, place, progress, output).await?;
    loop {
        if input.rounds.last().is_some_and(Round::only_shows) {
            return Ok(FinishReason::Stop);
        }
        let has_room = input.own_rounds().map(Round::bytes).sum::<usize>() < MAX_ROUNDS_BYTES;
        let most = engine.agents.tool_rounds(&agent);
        let most = most.unwrap_or(engine.settings.turn.tool_rounds);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        input.may_call = place.stored.is_some() && input.rounds.len() < most && has_room;
        let before = output.shown.len();
        let calls = match say(engine, &agent, input, progress, output).await? {
            AgentOutcome::All(reason) => return Ok(reason),
            AgentOutcome::Refused(why) => {
                let asks = engine.ask(why, Some(&agent));
                return hand_to_person(engine, asks, progress, output).await;
            }
            AgentOutcome::Calls(calls) => calls,
        };
        let turn = place.stored.ok_or_else(nothing_said)?;
        if let Some(context) = &progress.effects.context {
            input.context.clone_from(context);
        }
        let own = output.shown.iter().skip(before);
        let wanted = RequestedCalls {
            agent: &agent,
            before: &input.rounds,
            calls,
            consent: None,
            said: agents::Preamble {
                text: progress
                    .text
                    .get(progress.from..)
                    .unwrap_or_default()
                    .to_owned(),
                widgets: own.map(|(shown, _)| shown.widget.clone()).collect(),
                state: progress.effects.state.clone(),
            },
        };
        let known = VisitorContext {
            context: &mut input.context,
            unsaved: &mut progress.effects.context,
        };
        let round = carry_out(engine, turn, wanted, known, output).await?;
        if let Some(asks) = asks_for_person(engine, &agent, &round) {
            return hand_to_person(engine, asks, progress, output).await;
        }
        if add(engine, input, round, &mut agent) {
            progress.answers(agent.clone());
            meet(engine, &agent, input, place, progress).await?;
            output
                .append(engine, |now| Frame::agent(&agent, now))
                .await?;
        }
    }
}

impl Engine {
    /// Asks for a person who can go on from this agent.
    pub(super) fn ask(&self, reason: String, agent: Option<&str>) -> HandoffRequest {
        let skill = agent.and_then(|agent| self.agents.skill(agent));
        HandoffRequest {
            // A model's word.
            reason: text::cleaned(reason),
            skill: skill.map(str::to_owned),
            told: self.told(),
            notify: self.settings.notify.kinds(),
        }
    }

    /// What a visitor reads who waits for a person.
    pub(crate) fn told(&self) -> QueueNotice {
        let experts = &self.settings.experts;
        QueueNotice {
            asked: experts.waiting.clone(),
            nobody: experts.nobody.clone(),
            name: None,
        }
    }
}

/// What an agent says to whoever it hands the conversation to, where that is a person.
fn asks_for_person(engine: &Engine, agent: &str, round: &Round) -> Option<HandoffRequest> {
    let handoff = round.handoff().filter(|handoff| handoff.to == HUMAN)?;
    let reason = match handoff.summary.is_empty() {
        true => handoff.reason,
        false => format!("{} {}", handoff.reason, handoff.summary),
    };
    Some(engine.ask(reason, Some(agent)))
}

async fn hand_to_person(
    engine: &Engine,
    asks: HandoffRequest,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<FinishReason, Error> {
    progress.asks = Some(asks);
    output
        .append(engine, |now| Frame::mode(Mode::Expert, now))
        .await?;
    Ok(FinishReason::Handoff)
}

/// Lets an agent add what it knows of a visitor whom it meets.
async fn meet(
    engine: &Engine,
    agent: &str,
    input: &mut TurnInput,
    place: SessionTurn<'_>,
    progress: &mut Progress,
) -> Result<(), Error> {
    let is_new = place.stored.is_some_and(|turn| turn.context.is_none());
    let known = engine.agents.meet(agent, input, is_new).await?;
    if known != input.context {
        input.context = known;
        progress.effects.context = Some(input.context.clone());
    }
    input.context_before.clone_from(&input.context);
    Ok(())
}

/// Carries out, or does not, what the visitor was asked about, each for the agent that wanted it.
async fn ask_for_consents(
    engine: &Engine,
    input: &mut TurnInput,
    place: SessionTurn<'_>,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<(), Error> {
    let Some(turn) = place.stored else {
        return Ok(());
    };
    // Those that an earlier attempt has carried out are rounds already.
    while let Some((consent, given)) = input.consents.get(input.rounds.len()).cloned() {
        let call = ToolCall {
            id: format!("call_{}", input.rounds.len()),
            name: consent.name,
            arguments: consent.arguments,
        };
        let wanted = RequestedCalls {
            agent: &consent.agent,
            before: &input.rounds,
            calls: vec![call],
            consent: Some(given),
            said: agents::Preamble::default(),
        };
        let known = VisitorContext {
            context: &mut input.context,
            unsaved: &mut progress.effects.context,
        };
        let round = carry_out(engine, turn, wanted, known, output).await?;
        input.rounds.push(round);
    }
    Ok(())
}

/// Says and shows once more what an earlier attempt said and showed in a round.
async fn repeat(
    engine: &Engine,
    agent: &str,
    input: &TurnInput,
    round: &Round,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<(), Error> {
    let said = &round.said;
    if !said.text.is_empty() {
        let gap = if has_gap(engine, agent, input, progress) {
            GAP
        } else {
            ""
        };
        let text = format!("{gap}{}", said.text);
        output
            .append(engine, |now| Frame::text(text.as_str(), now))
            .await?;
        progress.text.push_str(&text);
        progress.frames += 1;
    }
    progress.effects.state.extend(said.state.clone());
    let own = said.widgets.iter().map(|widget| ShownWidget {
        widget: widget.clone(),
        confirms: None,
        is_made: false,
    });
    for shown in own.chain(round.widgets.iter().cloned()) {
        output.show(engine, shown).await?;
    }
    Ok(())
}

/// Whether what is said next is another paragraph.
fn has_gap(engine: &Engine, agent: &str, input: &TurnInput, progress: &Progress) -> bool {
    progress.text.ends_with(|last: char| !last.is_whitespace())
        && engine.agents.begins_a_paragraph(agent, input)
}

/// Adds a round that is done; whether another agent goes on after it.
fn add(engine: &Engine, input: &mut TurnInput, round: Round, agent: &mut String) -> bool {
    let handoff = round.handoff();
    input.rounds.push(round);
    let Some(handoff) = handoff.filter(|handoff| engine.agents.contains(&handoff.to)) else {
        return false;
    };
    let from = std::mem::replace(agent, handoff.to.clone());
    input.handed_over = Some(HandedOver {
        from,
        handoff,
        rounds: input.rounds.len(),
    });
    true
}

/// What came of asking an agent.
enum AgentOutcome {
    /// It has answered.
    All(FinishReason),
    /// What it has said may not be shown, and why.
    Refused(String),
    /// It wants these tools called first.
    Calls(Vec<ToolCall>),
}

fn nothing_said() -> Error {
    Error::new(Code::UpstreamError).caused_by("the agent said nothing")
}

/// Asks an agent once, and passes on what it says.
async fn say(
    engine: &Engine,
    agent: &str,
    input: &TurnInput,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<AgentOutcome, Error> {
    let reply = engine.agents.respond(agent, input).await?;
    let mut reply = Guarded::new(engine, agent, input, &progress.text, reply);
    let mut calls = Calls::default();
    // What it says after its tools is another paragraph.
    progress.from = progress.text.len();
    progress.spent = progress.spent.plus(std::mem::take(&mut progress.asking));
    let mut gap = has_gap(engine, agent, input, progress);
    while let Some(piece) = reply.next().await {
        let came = Instant::now();
        let piece = match piece? {
            GuardOutcome::Piece(piece) => piece,
            GuardOutcome::Refused(why, cost) => {
                progress.asking = cost;
                engine.metrics.guard_refusal();
                return Ok(AgentOutcome::Refused(why));
            }
        };
        let chunk = match piece {
            ReplyPart::Chunk(chunk) => chunk,
            ReplyPart::Effects(effects) => {
                progress.effects.add(effects);
                continue;
            }
            // It could not be answered.
            ReplyPart::Widget(_) if !output.is_kept() => continue,
            ReplyPart::Widget(raw) => {
                let made = engine.agents.widget(raw);
                let widget =
                    made.map_err(|fault| Error::new(Code::UpstreamError).caused_by(fault))?;
                let shown = ShownWidget {
                    widget,
                    confirms: None,
                    is_made: false,
                };
                output.show(engine, shown).await?;
                continue;
            }
        };
        progress.asking = chunk.usage.unwrap_or(progress.asking);
        for part in chunk.calls {
            calls.add(part)?;
        }
        let text = match gap && !chunk.text.is_empty() {
            true => {
                progress.from += GAP.len();
                format!("{GAP}{}", chunk.text)
            }
            false => chunk.text,
        };
        gap &= text.is_empty();
        let text = text::cleaned(text);
        let room = MAX_ANSWER_BYTES - progress.text.len();
        let fitting = text
            .get(..text.floor_char_boundary(room))
            .unwrap_or_default();
        if !fitting.is_empty() {
            output
                .append(engine, |now| Frame::text(fitting, now))
                .await?;
            progress.first_word.get_or_insert(came);
            progress.text.push_str(fitting);
            progress.frames += 1;
            engine.metrics.chunk(came.elapsed());
        }
        if fitting.len() < text.len() || progress.frames >= MAX_ANSWER_FRAMES {
            return Ok(AgentOutcome::All(FinishReason::Length));
        }
        match chunk.finish {
            // Calls that were cut off are not what was meant.
            Some(FinishReason::Stop) if input.may_call && !calls.is_empty() => {
                return Ok(AgentOutcome::Calls(calls.done()));
            }
            Some(_) if progress.text.is_empty() && output.shown.is_empty() => break,
            Some(reason) => return Ok(AgentOutcome::All(reason)),
            None => {}
        }
    }
    Err(nothing_said())
}
