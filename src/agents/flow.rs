//! The agent for servers without a model: a scripted dialog. It asks for its slots in order, shows their
//! widgets, calls its tool when all slots are filled, and streams configured texts word by word.

mod dialog;

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::{Map, Value, json};

use self::dialog::{Dialog, DialogStep, NOT_GIVEN, filled};
use super::{
    AgentReply, Effects, ReplyPart, Respond, TurnInput, agent_tools::AgentTools, memory::Memory,
    slots::Slots,
};
use crate::{
    config::AgentSettings,
    error::Result,
    llm::{CallPart, Chunk, ToolResult, ToolSpec},
    text::member,
    tools::handoff,
    widgets::RawWidget,
};

/// A configured agent without a model.
pub(super) struct FlowAgent {
    path: String,
    dialog: Dialog,
    given: AgentTools,
    word_delay: Duration,
}

impl FlowAgent {
    pub(super) fn new(
        path: &str,
        agent: &AgentSettings,
        slots: Slots,
        given: AgentTools,
        word_delay: Duration,
    ) -> Self {
        Self {
            path: path.to_owned(),
            dialog: Dialog::new(agent.flow.clone(), slots, agent.keywords.clone()),
            given,
            word_delay,
        }
    }

    /// The memory before the message is read: stored slots, the visitor's name, and a submitted form.
    fn known(&self, turn: &TurnInput) -> Memory {
        let mut memory = Memory::of(&self.path, &turn.state);
        let name_slot = self.dialog.slots.name_slot();
        if let Some((slot, name)) = name_slot.zip(turn.user_name.clone()) {
            let slot = slot.settings.name.clone();
            memory.slots.entry(slot).or_insert(name);
        }
        if let Some(("form" | "appointment_form", answer)) = turn.answer() {
            self.dialog.fill_in(answer, &mut memory);
        }
        memory
    }

    /// Runs when all slots are filled: calls the tool or, once it has answered, says so and hands over.
    async fn complete(&self, step: &mut DialogStep<'_>, turn: &TurnInput) -> Option<CallPart> {
        let flow = &self.dialog.flow;
        let answered = flow.tool.as_ref().and_then(|tool| result_of(tool, turn));
        let result = match (&flow.tool, answered) {
            (Some(tool), None) if turn.may_call => {
                step.memory.done = false;
                let tools = self.given.all().await;
                let spec = tools.iter().find(|spec| spec.name == *tool);
                let arguments = spec.map(|spec| arguments(spec, &step.memory));
                // A tool of a disconnected MCP server has no spec. The call is made anyway and returns the error.
                return Some(CallPart::whole(tool, &arguments.unwrap_or_default()));
            }
            (Some(_), answered) if answered.is_none_or(|result| result.is_error) => {
                step.memory.done = false;
                step.said.extend(flow.failed.clone());
                return None;
            }
            (_, answered) => answered.map_or("", |result| &result.content),
        };
        let done = filled(&flow.done, &self.dialog.slots, &step.memory, result);
        step.said.push(done);
        let to = flow.handoff.as_ref().filter(|_| turn.may_call)?;
        let summary = json!(step.memory.slots).to_string();
        let reason = "All that was asked for is known.";
        let arguments = json!({"agent": to, "reason": reason, "summary": summary});
        Some(CallPart::whole(handoff::NAME, &arguments))
    }

    async fn answer(&self, turn: &TurnInput) -> AgentReply {
        let known = self.known(turn);
        let name_before = self.name_in(&Memory::of(&self.path, &turn.state));
        let name_before = name_before.or(turn.user_name.clone());
        let text = match turn.answer() {
            // The answer's own text is the button's label, which can be anything.
            Some(("confirm", answer)) if *member(answer, "confirmed") == true => "yes".into(),
            Some(("confirm", _)) => "no".into(),
            Some(("form" | "appointment_form", _)) => "".into(),
            _ => turn.text(),
        };
        let mut step = self.dialog.step(&text, known);
        let called = match step.is_complete {
            true => self.complete(&mut step, turn).await,
            false => None,
        };
        let name = self.name_in(&step.memory);
        let effects = Effects {
            state: step.memory.store(&self.path),
            user_name: name.filter(|name| Some(name) != name_before.as_ref() && name != NOT_GIVEN),
            ..Effects::default()
        };
        let widget = step.asked.and_then(|slot| slot.settings.widget.clone());
        let said = step.said.join(" ");
        let said = filled(&said, &self.dialog.slots, &step.memory, "");
        let widget = widget.map(|widget| Ok(ReplyPart::Widget(self.filled(widget, &step.memory))));
        let last = Chunk {
            calls: called.into_iter().collect(),
            ..Chunk::end()
        };
        stream::iter([Ok(ReplyPart::Effects(effects))])
            .chain(speak(said, self.word_delay))
            .chain(stream::iter(widget))
            .chain(stream::iter([Ok(ReplyPart::Chunk(last))]))
            .boxed()
    }

    fn name_in(&self, memory: &Memory) -> Option<String> {
        let slot = self.dialog.slots.name_slot()?;
        memory.slots.get(&slot.settings.name).cloned()
    }

    /// The widget with slot values filled into its title and text.
    fn filled(&self, mut widget: RawWidget, memory: &Memory) -> RawWidget {
        for name in ["title", "text"] {
            let text = widget.data.get_mut(name);
            if let Some(Value::String(text)) = text {
                *text = filled(text, &self.dialog.slots, memory, "");
            }
        }
        widget
    }
}

impl Respond for FlowAgent {
    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<AgentReply>> {
        async move { Ok(self.answer(turn).await) }.boxed()
    }
}

/// The tool's result in this turn, if it was called.
fn result_of<'a>(tool: &str, turn: &'a TurnInput) -> Option<&'a ToolResult> {
    let mut rounds = turn.own_rounds();
    rounds.find_map(|round| {
        let mut done = round.calls.iter().zip(&round.results);
        let (_, result) = done.find(|(call, _)| call.name == tool)?;
        Some(result)
    })
}

/// The arguments for a tool: the filled slots that its schema names.
fn arguments(tool: &ToolSpec, memory: &Memory) -> Value {
    let taken = member(&tool.parameters, "properties").as_object();
    let slots = memory.slots.iter().filter(|(name, value)| {
        taken.is_some_and(|taken| taken.contains_key(*name)) && *value != NOT_GIVEN
    });
    let slots: Map<String, Value> = slots
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    Value::Object(slots)
}

/// Streams a text word by word, with `delay` between words.
fn speak(
    text: String,
    delay: Duration,
) -> impl futures_util::Stream<Item = Result<ReplyPart>> + Send + 'static {
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    stream::iter(words)
        .enumerate()
        .then(move |(index, text)| async move {
            if index > 0 && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(ReplyPart::Chunk(Chunk::said(text)))
        })
}
