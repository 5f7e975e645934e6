//! A turn's rounds: the agent is asked, its tools are called, and it is asked again with their results. After a
//! handoff the next agent is asked.

use super::{
    Engine,
    ask_agent::{AgentOutcome, ask_agent, nothing_said, repeat},
    frame::Frame,
    handoff::{asks_for_person, hand_to_person},
    output::{Progress, TurnOutput},
    tool_calls::{RequestedCalls, VisitorContext, carry_out},
};
use crate::{
    agents::{HandedOver, Preamble, Round, TurnInput},
    error::Error,
    llm::ToolCall,
    store::{begin::Started, messages::FinishReason},
};

/// Maximum bytes of tool arguments and results that a turn's model reads. At this size it must answer without
/// more calls.
const MAX_ROUNDS_BYTES: usize = 128 * 1024;

/// The session's agent, and the turn; none if that is not stored.
#[derive(Clone, Copy)]
pub(super) struct SessionTurn<'a> {
    pub agent: Option<&'a str>,
    pub stored: Option<&'a Started>,
}

/// Asks an agent, carries out its calls, and asks again until it has answered. After a handoff the next agent
/// continues.
pub(super) async fn answer(
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
    // Rounds of an earlier attempt are not done again, handoffs included; their text is sent again.
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
        show_agent(engine, &agent, output).await?;
    }
    ask_for_consents(engine, input, place, progress, output).await?;
    loop {
        if input.rounds.last().is_some_and(Round::only_shows) {
            return Ok(FinishReason::Stop);
        }
        input.may_call = place.stored.is_some() && has_room(engine, &agent, input);
        let before = output.shown.len();
        let calls = match ask_agent(engine, &agent, input, progress, output).await? {
            AgentOutcome::All(reason) => return Ok(reason),
            AgentOutcome::Refused(why) => {
                let asks = engine.handoff_request(why, Some(&agent));
                return hand_to_person(engine, asks, progress, output).await;
            }
            AgentOutcome::Calls(calls) => calls,
        };
        let turn = place.stored.ok_or_else(nothing_said)?;
        if let Some(context) = &progress.effects.context {
            input.context.clone_from(context);
        }
        let wanted = RequestedCalls {
            agent: &agent,
            before: &input.rounds,
            calls,
            consent: None,
            said: preamble(progress, output, before),
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
            show_agent(engine, &agent, output).await?;
        }
    }
}

/// Sends a frame that says which agent answers from now on.
async fn show_agent(
    engine: &Engine,
    agent: &str,
    output: &mut TurnOutput<'_>,
) -> Result<(), Error> {
    output.append(engine, |now| Frame::agent(agent, now)).await
}

/// True if the agent may call tools again in this turn.
fn has_room(engine: &Engine, agent: &str, input: &TurnInput) -> bool {
    let most = engine.agents.tool_rounds(agent);
    let most = most.unwrap_or(engine.settings.turn.tool_rounds);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let bytes: usize = input.own_rounds().map(Round::bytes).sum();
    input.rounds.len() < most && bytes < MAX_ROUNDS_BYTES
}

/// What an agent said and showed before its calls. `shown` is the number of widgets before that.
fn preamble(progress: &Progress, output: &TurnOutput<'_>, shown: usize) -> Preamble {
    let text = progress.text.get(progress.from..);
    let own = output.shown.iter().skip(shown);
    Preamble {
        text: text.unwrap_or_default().to_owned(),
        widgets: own.map(|(shown, _)| shown.widget.clone()).collect(),
        state: progress.effects.state.clone(),
    }
}

/// Lets an agent that is new to the turn add to the visitor's context.
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

/// Makes the calls that the visitor consented to and records the refused ones, each for the agent that wanted
/// it.
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
    // Those that an earlier attempt has carried out are already rounds.
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
            said: Preamble::default(),
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

/// Adds a round that is done. True if another agent continues after it.
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
