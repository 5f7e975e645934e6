//! What is said in a turn: an agent is asked, and asked again with what came of its tools; or another
//! one is, to whom the conversation was handed.

use futures_util::StreamExt;
use tokio::time::Instant;

use super::{
    Engine,
    event::Frame,
    run::{Ending, Output, Progress},
    steps::{Done, carry_out, last_handoff},
};
use crate::{
    agents::{Round, TurnInput},
    error::{Code, Error},
    llm::{Calls, ToolCall},
    store::{begin::Started, messages::FinishReason},
    text,
};

/// The longest answer, in bytes of text.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The longest log, in frames: a model that sends single letters must not fill the memory.
const ANSWER_FRAMES: usize = 400_000;
/// How much arguments and results a turn's model reads; once they are more, it has to answer.
const ROUNDS_BYTES: usize = 128 * 1024;
/// How often a conversation may be handed from agent to agent in one turn.
const HANDOFFS: usize = 3;

/// Which agent has the session, which had it before this message, and where what is done is recorded.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub agent: Option<&'a str>,
    pub before: Option<&'a str>,
    /// The turn, where it is stored.
    pub stored: Option<&'a Started>,
}

/// Lets an agent answer: asks it, carries out what it calls, and asks it again, until it has answered or
/// another one has.
pub(super) async fn speak(
    engine: &Engine,
    input: &mut TurnInput,
    place: Place<'_>,
    progress: &mut Progress,
    output: &mut Output<'_>,
) -> Ending {
    let may_move = place.agent == place.before;
    let mut agent = engine.agents.choose(place.agent, may_move, input).await;
    progress.agent = Some(agent.clone());
    if place.before.is_some_and(|before| before != agent) {
        let moved = output.append(engine, |now| Frame::agent(&agent, now)).await;
        if let Err(error) = moved {
            return Ending::failed(error);
        }
    }
    let most = usize::try_from(engine.settings.turn.tool_rounds).unwrap_or(usize::MAX);
    let (mut rounds, mut handoffs) = (input.rounds.len(), 0);
    // Another server may have died after it.
    if let Some(handoff) = last_handoff(engine, &mut input.rounds) {
        let from = std::mem::replace(&mut agent, handoff.to.clone());
        input.handed_over = Some((from, handoff));
        progress.agent = Some(agent.clone());
    }
    loop {
        let has_room = input.rounds.iter().map(Round::bytes).sum::<usize>() < ROUNDS_BYTES;
        input.may_call = place.stored.is_some() && rounds < most && has_room;
        let before = progress.text.len();
        let said = say(engine, &agent, input, progress, output).await;
        let (calls, turn) = match (said, place.stored) {
            (Ok(Said::All(reason)), _) => return reason.into(),
            (Ok(Said::Calls(calls)), Some(turn)) => (calls, turn),
            (Ok(Said::Calls(_)), None) => return Ending::failed(nothing_said()),
            (Err(error), _) => return Ending::failed(error),
        };
        let may_hand_over = handoffs < HANDOFFS;
        let done = carry_out(
            engine,
            turn,
            &agent,
            (rounds, &input.rounds),
            &calls,
            may_hand_over,
            output,
        )
        .await;
        let Done { results, handoff } = match done {
            Ok(done) => done,
            Err(error) => return Ending::failed(error),
        };
        rounds += 1;
        if let Some(handoff) = handoff {
            handoffs += 1;
            let from = std::mem::replace(&mut agent, handoff.to.clone());
            input.take_over(from, handoff);
            progress.agent = Some(agent.clone());
            let moved = output.append(engine, |now| Frame::agent(&agent, now)).await;
            if let Err(error) = moved {
                return Ending::failed(error);
            }
            continue;
        }
        let text = progress.text.get(before..).unwrap_or_default().to_owned();
        input.rounds.push(Round {
            text,
            calls,
            results,
        });
    }
}

/// What came of asking an agent.
enum Said {
    /// It has answered.
    All(FinishReason),
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
    output: &mut Output<'_>,
) -> Result<Said, Error> {
    let began = Instant::now();
    let mut reply = engine.agents.respond(agent, input).await?;
    progress.effects = std::mem::take(&mut reply.effects);
    let mut calls = Calls::default();
    // What it says after its tools is another paragraph.
    let mut gap = progress.text.ends_with(|last: char| !last.is_whitespace());
    while let Some(chunk) = reply.chunks.next().await {
        let came = Instant::now();
        let chunk = chunk?;
        for part in chunk.calls {
            calls.add(part)?;
        }
        let text = match gap && !chunk.text.is_empty() {
            true => format!("\n\n{}", chunk.text),
            false => chunk.text,
        };
        gap &= text.is_empty();
        let text = text::cleaned(text);
        let room = ANSWER_BYTES - progress.text.len();
        let fitting = text
            .get(..text.floor_char_boundary(room))
            .unwrap_or_default();
        if !fitting.is_empty() {
            output
                .append(engine, |now| Frame::text(fitting, now))
                .await?;
            if progress.frames == 0 {
                engine.metrics.first_chunk(began.elapsed());
            }
            progress.text.push_str(fitting);
            progress.frames += 1;
            engine.metrics.chunk(came.elapsed());
        }
        if fitting.len() < text.len() || progress.frames >= ANSWER_FRAMES {
            return Ok(Said::All(FinishReason::Length));
        }
        match chunk.finish {
            // Calls that were cut off are not what was meant.
            Some(FinishReason::Stop) if input.may_call && !calls.is_empty() => {
                return Ok(Said::Calls(calls.done()));
            }
            Some(_) if progress.text.is_empty() => break,
            Some(reason) => return Ok(Said::All(reason)),
            None => {}
        }
    }
    Err(nothing_said())
}
