//! Asks an agent once and passes on its reply: text, widgets, and the calls that it wants made.

use tokio::time::Instant;

use super::{
    Engine,
    frame::Frame,
    guard::{GuardOutcome, Guarded},
    output::{Progress, TurnOutput},
};
use crate::{
    agents::{ReplyPart, Round, ShownWidget, TurnInput},
    error::{Code, Error},
    llm::{Calls, ToolCall},
    store::messages::FinishReason,
    text,
    widgets::RawWidget,
};

/// The longest answer, in bytes of text.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The longest log, in records: bounds the memory if a model sends single letters.
const MAX_ANSWER_RECORDS: usize = 400_000;

/// Separates the text before tool calls from the text after them.
const GAP: &str = "\n\n";

/// The outcome of asking an agent.
pub(super) enum AgentOutcome {
    /// It has answered.
    All(FinishReason),
    /// The guard rejected its text, for this reason.
    Refused(String),
    /// It wants these tools called first.
    Calls(Vec<ToolCall>),
}

pub(super) fn nothing_said() -> Error {
    Error::new(Code::UpstreamError).caused_by("the agent said nothing")
}

/// Asks an agent once and passes on its reply.
pub(super) async fn ask_agent(
    engine: &Engine,
    agent: &str,
    input: &TurnInput,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<AgentOutcome, Error> {
    let reply = engine.agents.respond(agent, input).await?;
    let mut reply = Guarded::new(engine, agent, input, &progress.text, reply);
    let mut calls = Calls::default();
    // The text of this reply starts here. After tool calls it is a new paragraph.
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
            ReplyPart::Widget(raw) => {
                show_widget(engine, raw, output).await?;
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
        if !pass_on(engine, text, came, progress, output).await? {
            return Ok(AgentOutcome::All(FinishReason::Length));
        }
        match chunk.finish {
            // Truncated calls are not what the model meant: make them only after a normal stop.
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

/// Appends text to the log. False if the answer has reached its maximum length.
async fn pass_on(
    engine: &Engine,
    text: String,
    came: Instant,
    progress: &mut Progress,
    output: &mut TurnOutput<'_>,
) -> Result<bool, Error> {
    let text = text::cleaned(text);
    let room = MAX_ANSWER_BYTES.saturating_sub(progress.text.len());
    let fitting = text
        .get(..text.floor_char_boundary(room))
        .unwrap_or_default();
    if !fitting.is_empty() {
        output
            .append(engine, |now| Frame::text(fitting, now))
            .await?;
        progress.first_word.get_or_insert(came);
        progress.text.push_str(fitting);
        progress.records += 1;
        engine.metrics.chunk(came.elapsed());
    }
    Ok(fitting.len() == text.len() && progress.records < MAX_ANSWER_RECORDS)
}

/// Shows a widget that the agent itself made. If nothing is stored the widget is left out: it could not be
/// answered.
async fn show_widget(
    engine: &Engine,
    raw: RawWidget,
    output: &mut TurnOutput<'_>,
) -> Result<(), Error> {
    if !output.is_kept() {
        return Ok(());
    }
    let made = engine.agents.widget(raw);
    let widget = made.map_err(|fault| Error::new(Code::UpstreamError).caused_by(fault))?;
    let shown = ShownWidget {
        widget,
        confirms: None,
        is_made: false,
    };
    output.show(engine, shown).await
}

/// Sends the text and the widgets of an earlier attempt's round again.
pub(super) async fn repeat(
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
        progress.records += 1;
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

/// True if the next text starts a new paragraph.
fn has_gap(engine: &Engine, agent: &str, input: &TurnInput, progress: &Progress) -> bool {
    progress.text.ends_with(|last: char| !last.is_whitespace())
        && engine.agents.begins_a_paragraph(agent, input)
}
