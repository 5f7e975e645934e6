//! The guard: a judge checks an answer sentence by sentence before the visitor sees it.
//!
//! Text that arrives during a judge call is judged together in the next call, so a slow judge does not delay
//! each sentence separately. If the judge rejects a sentence, or fails, the visitor does not see it; the
//! conversation goes to the expert queue.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt, future::BoxFuture};
use serde_json::Value;

use crate::{
    agents::{AgentReply, Agents, CallPurpose, ReplyPart, TurnInput},
    error::Result,
    judges::{Judgement, Judges, Submission, said},
    llm::{Calls, Chunk, Usage},
};

use super::Engine;

/// Judge at this size even without a sentence end.
const MAX_JUDGED_BYTES: usize = 8 * 1024;
/// Stop reading the reply while this much text waits for the judge.
const MAX_HELD_BYTES: usize = 256 * 1024;
/// Minimum size of each judge call after the first: every call costs money and time. A slow judge gets more at
/// once.
const MIN_JUDGED_BYTES: usize = 200;
/// How much each judge call gets of the conversation, and of the text of this answer that has passed, in bytes.
const HISTORY_BYTES: usize = 8 * 1024;
const PASSED_BYTES: usize = 8 * 1024;
/// How much of a rejected text the expert sees, in characters.
const REFUSED_CHARACTERS: usize = 2_000;

/// An agent's reply behind its guard, if it has one.
pub(super) struct Guarded {
    reply: AgentReply,
    guard: Option<Guard>,
}

/// The next part to show, or the rejection that ends the reply.
pub(super) enum GuardOutcome {
    Piece(ReplyPart),
    /// The reason, for the expert, and the tokens used so far.
    Refused(String, Usage),
}

impl Guarded {
    /// Puts an agent's reply behind the guard that is configured for the agent.
    pub(super) fn new(
        engine: &Engine,
        agent: &str,
        input: &TurnInput,
        passed: &str,
        reply: AgentReply,
    ) -> Self {
        let guard = engine.agents.guard(agent).map(|judge| Guard {
            agents: Arc::clone(&engine.agents),
            path: agent.to_owned(),
            judges: Arc::clone(&engine.judges),
            judge: judge.to_owned(),
            submission: Submission {
                conversation_id: input.conversation_id,
                message_id: None,
                agent: agent.to_owned(),
                history: said(&input.history, HISTORY_BYTES),
                passed: passed.to_owned(),
                answer: String::new(),
            },
            held: String::new(),
            calls: Calls::default(),
            in_widget: String::new(),
            ready: VecDeque::new(),
            after: None,
            judging: None,
            model: Usage::default(),
            spent: Usage::default(),
        });
        Self { reply, guard }
    }

    /// The next part that may be shown.
    pub(super) async fn next(&mut self) -> Option<Result<GuardOutcome>> {
        match &mut self.guard {
            None => Some(self.reply.next().await?.map(GuardOutcome::Piece)),
            Some(guard) => guard.next(&mut self.reply).await,
        }
    }
}

/// The judged text, and the judge's answer.
type Judged = (HeldText, std::result::Result<Option<Judgement>, String>);

/// A part of the reply that has to wait until all held text is judged.
enum NextPart {
    Piece(Result<ReplyPart>),
    End,
}

/// Text in a judge call.
struct HeldText {
    /// Text of the answer.
    text: String,
    /// Text of the widgets and questions that follow.
    shown: String,
}

struct Guard {
    judges: Arc<Judges>,
    judge: String,
    submission: Submission,
    agents: Arc<Agents>,
    path: String,
    /// Text that is not judged yet.
    held: String,
    /// The agent's calls so far.
    calls: Calls,
    /// The text of the widget in `after`.
    in_widget: String,
    /// Parts that may be shown.
    ready: VecDeque<ReplyPart>,
    /// Waits until all held text is judged. While this is set, nothing more is read.
    after: Option<NextPart>,
    judging: Option<BoxFuture<'static, Judged>>,
    /// Tokens used by the model, and by the judge.
    model: Usage,
    spent: Usage,
}

impl Guard {
    async fn next(&mut self, reply: &mut AgentReply) -> Option<Result<GuardOutcome>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(GuardOutcome::Piece(piece)));
            }
            if self.judging.is_none()
                && !self.begin()
                && let Some(after) = self.after.take()
            {
                let NextPart::Piece(piece) = after else {
                    return None;
                };
                return Some(piece.map(|piece| GuardOutcome::Piece(self.with_cost(piece))));
            }
            let judged = async {
                match &mut self.judging {
                    Some(judging) => judging.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                (held, judgement) = judged => {
                    self.judging = None;
                    if let Err(why) = self.judged(held, judgement) {
                        return Some(Ok(GuardOutcome::Refused(why, self.cost())));
                    }
                }
                piece = reply.next(), if self.after.is_none() && self.held.len() < MAX_HELD_BYTES => self.hold(piece),
            }
        }
    }

    /// Starts to judge the complete sentences. False if there was nothing to judge or to show.
    fn begin(&mut self) -> bool {
        let end = match self.after {
            Some(_) => self.held.len(),
            None if self.held.len() > MAX_JUDGED_BYTES => self.held.len(),
            // Judge the first sentence at once, however short.
            None => Some(sentences(&self.held))
                .filter(|end| self.submission.passed.is_empty() || *end >= MIN_JUDGED_BYTES)
                .unwrap_or_default(),
        };
        let rest = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, rest);
        // Calls are complete only at the end of the reply.
        let shown = match &self.after {
            Some(NextPart::Piece(Ok(ReplyPart::Widget(_)))) => std::mem::take(&mut self.in_widget),
            Some(_) => self.shown_by_calls(),
            None => String::new(),
        };
        if text.trim().is_empty() && shown.is_empty() {
            self.pass(text);
            return !self.ready.is_empty();
        }
        let submission = Submission {
            answer: format!("{text}{shown}"),
            ..self.submission.clone()
        };
        let (judges, judge) = (Arc::clone(&self.judges), self.judge.clone());
        self.judging = Some(Box::pin(async move {
            let judgement = judges.judge(&judge, &submission).await;
            (HeldText { text, shown }, judgement)
        }));
        true
    }

    /// Handles a judgement. A rejection is an error that holds the reason, for the expert.
    fn judged(
        &mut self,
        held: HeldText,
        judgement: std::result::Result<Option<Judgement>, String>,
    ) -> std::result::Result<(), String> {
        let why = match judgement {
            Ok(Some(judgement)) => {
                self.spent = self.spent.plus(judgement.usage);
                if judgement.passed {
                    self.pass(held.text);
                    return Ok(());
                }
                judgement.reason
            }
            Ok(None) => "there is no such judge".to_owned(),
            Err(error) => {
                tracing::warn!(
                    judge = self.judge,
                    error.cause = error,
                    "what an agent says cannot be judged"
                );
                "the judge could not be asked".to_owned()
            }
        };
        let all = format!("{}\n{}", held.text, held.shown);
        let text: String = all.trim().chars().take(REFUSED_CHARACTERS).collect();
        Err(format!("{} held this back ({why}): {}", self.judge, text))
    }

    fn pass(&mut self, text: String) {
        if !text.is_empty() {
            self.submission.passed.push_str(&text);
            let begin = self.submission.passed.len().saturating_sub(PASSED_BYTES);
            let begin = self.submission.passed.ceil_char_boundary(begin);
            self.submission.passed.drain(..begin);
            self.ready.push_back(ReplyPart::Chunk(Chunk {
                usage: Some(self.cost()),
                ..Chunk::said(text)
            }));
        }
    }

    /// Takes the next part of the reply.
    fn hold(&mut self, piece: Option<Result<ReplyPart>>) {
        let mut chunk = match piece {
            Some(Ok(ReplyPart::Effects(effects))) => {
                return self.ready.push_back(ReplyPart::Effects(effects));
            }
            Some(Ok(ReplyPart::Chunk(chunk))) => chunk,
            Some(Ok(ReplyPart::Widget(raw))) => {
                self.in_widget = strings(&raw.data);
                self.after = Some(NextPart::Piece(Ok(ReplyPart::Widget(raw))));
                return;
            }
            Some(failed) => {
                self.after = Some(NextPart::Piece(failed));
                return;
            }
            None => {
                self.after = Some(NextPart::End);
                return;
            }
        };
        self.held.push_str(&std::mem::take(&mut chunk.text));
        for call in &chunk.calls {
            // If this is too much, `ask_agent` fails on the same call.
            drop(self.calls.add(call.clone()));
        }
        self.model = chunk.usage.unwrap_or(self.model);
        // Parts of calls show nothing to the visitor yet.
        if chunk.finish.is_some() {
            self.after = Some(NextPart::Piece(Ok(ReplyPart::Chunk(chunk))));
        } else if !chunk.calls.is_empty() {
            self.ready.push_back(ReplyPart::Chunk(chunk));
        }
    }

    /// What the visitor would read because of the calls: widgets made by the model, and questions that contain
    /// its arguments.
    fn shown_by_calls(&mut self) -> String {
        let calls = std::mem::take(&mut self.calls).done();
        let shown = calls
            .iter()
            .map(|call| match self.agents.asked(&self.path, call) {
                CallPurpose::Widget(Ok(widget)) => strings(&widget.data),
                CallPurpose::Confirm(question) => question,
                // The tool's server may be back when the call is made; the visitor is then asked with these
                // arguments.
                CallPurpose::Tool if !self.agents.knows(call) => strings(&call.input()),
                CallPurpose::Widget(Err(_)) | CallPurpose::Handoff(_) | CallPurpose::Tool => {
                    String::new()
                }
            });
        shown.collect::<Vec<_>>().join("\n").trim().to_owned()
    }

    /// Tokens used by the model and the judge so far.
    fn cost(&self) -> Usage {
        self.model.plus(self.spent)
    }

    fn with_cost(&self, piece: ReplyPart) -> ReplyPart {
        match piece {
            ReplyPart::Chunk(chunk) => ReplyPart::Chunk(Chunk {
                usage: Some(self.cost()),
                ..chunk
            }),
            other => other,
        }
    }
}

/// All strings in a JSON document, one per line.
fn strings(document: &Value) -> String {
    match document {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(strings).collect::<Vec<_>>().join("\n"),
        Value::Object(members) => members.values().map(strings).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// Length in bytes of the complete sentences or lines at the start of a text.
fn sentences(text: &str) -> usize {
    let mut end = 0;
    let mut ended = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' | '。' | '！' | '？' => end = at + c.len_utf8(),
            '.' | '!' | '?' | '…' => ended = true,
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '*' => {}
            _ if c.is_whitespace() && ended => {
                end = at + c.len_utf8();
                ended = false;
            }
            _ => ended = false,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_where_the_next_begins() {
        for (text, complete) in [
            ("", ""),
            ("It costs 3.", ""),
            ("It costs 3.50 at most", ""),
            ("Yes. It", "Yes. "),
            ("She said “no.” Then", "She said “no.” "),
            ("- one\n- two", "- one\n"),
            ("はい。では", "はい。"),
        ] {
            assert_eq!(text.split_at(sentences(text)).0, complete, "{text}");
        }
    }
}
