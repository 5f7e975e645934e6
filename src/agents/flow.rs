//! An agent without a model: it asks for its slots one after the other, and says what its
//! configuration says, word by word.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::{
    Agent, Effects, Reply, TurnInput,
    memory::Memory,
    slots::{Slot, Slots},
    words,
};
use crate::{
    config::{AgentSettings, FlowSettings, SlotKind},
    error::Result,
    llm::Chunk,
    store::messages::FinishReason,
};

/// A configured agent, offline.
pub(super) struct FlowAgent {
    path: String,
    flow: FlowSettings,
    keywords: Vec<String>,
    slots: Slots,
    word_delay: Duration,
}

impl FlowAgent {
    pub(super) fn new(
        path: &str,
        agent: &AgentSettings,
        slots: Slots,
        word_delay: Duration,
    ) -> Self {
        Self {
            path: path.to_owned(),
            flow: agent.flow.clone(),
            keywords: agent.keywords.clone(),
            slots,
            word_delay,
        }
    }

    /// What to say to a message, and what is known after it.
    fn step(&self, text: &str, mut memory: Memory) -> (String, Memory) {
        if memory.done && self.is_asked_anew(text) {
            memory = self.begin_anew(memory);
        }
        let heard = self.hear(text, &mut memory);
        let mut said = Vec::new();
        if !memory.greeted {
            said.push(self.flow.greeting.clone());
            memory.greeted = true;
        }
        let next = self.slots.next_unknown(&memory);
        match (heard, next) {
            (Heard::Refused { say, ask_on: false }, _) => said.push(say),
            (Heard::Nothing, Some(slot)) if Some(&slot.settings.name) == memory.asked.as_ref() => {
                said.push(slot.settings.retry.clone());
            }
            (heard, Some(slot)) => {
                if let Heard::Refused { say, .. } = heard {
                    said.push(say);
                }
                said.push(slot.settings.ask.clone());
                memory.asked = Some(slot.settings.name.clone());
                memory.misses = 0;
            }
            (_, None) if memory.done && words::yes_or_no(text) == Some("no") => {
                said.push(self.flow.bye.clone())
            }
            (_, None) => {
                said.push(if memory.done {
                    self.flow.again.clone()
                } else {
                    self.flow.done.clone()
                });
                memory.asked = None;
                memory.done = true;
            }
        }
        (fill(&said.join(" "), &self.slots, &memory), memory)
    }

    /// Whether a visitor whose request is done comes with another.
    fn is_asked_anew(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
        words.any(|word| {
            self.keywords
                .iter()
                .any(|keyword| keyword.to_lowercase() == word)
        })
    }

    /// Keeps only who the visitor is.
    fn begin_anew(&self, mut memory: Memory) -> Memory {
        for slot in self
            .slots
            .iter()
            .filter(|slot| !slot.is_personal() && !slot.settings.implied)
        {
            memory.slots.remove(&slot.settings.name);
        }
        memory.done = false;
        memory
    }

    /// Takes from a message what it answers and what it volunteers.
    fn hear(&self, text: &str, memory: &mut Memory) -> Heard {
        let volunteered = self.slots.volunteered(text, memory);
        let gave_something = !volunteered.is_empty();
        memory.slots.extend(volunteered);
        if gave_something {
            self.slots.imply(memory);
        }
        let asked = memory
            .asked
            .as_deref()
            .and_then(|name| self.slots.get(name));
        let Some(asked) = asked.filter(|slot| !memory.slots.contains_key(&slot.settings.name))
        else {
            return Heard::Something;
        };
        // What gives other slots is not taken for the words of this one.
        let is_text = asked.settings.kind == SlotKind::Text;
        match asked
            .answer(text)
            .filter(|_| !(gave_something && is_text))
            .as_deref()
        {
            Some("no") if asked.settings.kind == SlotKind::YesNo => {
                self.refuse(asked, text, memory)
            }
            Some(value) => {
                memory
                    .slots
                    .insert(asked.settings.name.clone(), value.to_owned());
                Heard::Something
            }
            None if gave_something => Heard::Something,
            None => miss(asked, memory),
        }
    }

    /// A "no": what it clears is asked again, unless the same message corrects a part of it.
    fn refuse(&self, asked: &Slot, text: &str, memory: &mut Memory) -> Heard {
        let clears = &asked.settings.refused_clears;
        let mut cleared = memory.clone();
        cleared.slots.retain(|name, _| !clears.contains(name));
        let corrected = self.slots.volunteered(text, &cleared);
        if clears.is_empty() || corrected.is_empty() {
            *memory = cleared;
            let say = asked
                .settings
                .refused
                .clone()
                .unwrap_or_else(|| asked.settings.retry.clone());
            return Heard::Refused {
                say,
                ask_on: !clears.is_empty(),
            };
        }
        memory.slots.extend(corrected);
        memory.asked = None;
        Heard::Something
    }
}

/// An answer that does not fit. After the second the flow goes on without it, unless a yes is
/// what everything hangs on: nobody is asked the same thing for ever.
fn miss(asked: &Slot, memory: &mut Memory) -> Heard {
    memory.misses += 1;
    if memory.misses < 2 || asked.settings.kind == SlotKind::YesNo {
        return Heard::Nothing;
    }
    memory
        .slots
        .insert(asked.settings.name.clone(), NOT_GIVEN.to_owned());
    Heard::Something
}

/// What stands for something that a visitor could not or would not say.
const NOT_GIVEN: &str = "(not given)";

/// What was in a message.
enum Heard {
    /// An answer, or something else that helps.
    Something,
    /// A "no", what to say to it, and whether to go on asking.
    Refused { say: String, ask_on: bool },
    /// Nothing that fits.
    Nothing,
}

impl Agent for FlowAgent {
    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<Reply>> {
        let mut memory = Memory::of(&self.path, &turn.state);
        let name_slot = self
            .slots
            .name_slot()
            .map(|slot| slot.settings.name.clone());
        if let Some((slot, name)) = name_slot.clone().zip(turn.user_name.clone()) {
            memory.slots.entry(slot).or_insert(name);
        }
        let known_before = name_slot
            .as_ref()
            .and_then(|slot| memory.slots.get(slot))
            .cloned();
        let (text, memory) = self.step(&turn.text(), memory);
        let name = name_slot.and_then(|slot| memory.slots.get(&slot)).cloned();
        let effects = Effects {
            state: Some(memory.store(&self.path, &turn.state)),
            user_name: name.filter(|name| Some(name) != known_before.as_ref() && name != NOT_GIVEN),
        };
        let chunks = speak(text, self.word_delay);
        std::future::ready(Ok(Reply {
            chunks: chunks.boxed(),
            effects,
        }))
        .boxed()
    }
}

/// A text word by word, at a natural pace.
fn speak(text: String, delay: Duration) -> impl futures_util::Stream<Item = Result<Chunk>> + Send {
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    let words = stream::iter(words)
        .enumerate()
        .then(move |(index, text)| async move {
            if index > 0 && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(Chunk {
                text,
                ..Chunk::default()
            })
        });
    let end = Chunk {
        finish: Some(FinishReason::Stop),
        ..Chunk::default()
    };
    words.chain(stream::iter([Ok(end)]))
}

/// A text with `{slot}` and `{first_name}` filled in.
fn fill(text: &str, slots: &Slots, memory: &Memory) -> String {
    let name = slots
        .name_slot()
        .and_then(|slot| memory.slots.get(&slot.settings.name));
    let first_name = name.filter(|name| *name != NOT_GIVEN);
    let first_name = first_name
        .and_then(|name| name.split_whitespace().next())
        .or(Some("there"));
    let mut filled = String::new();
    let mut parts = text.split('{');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (slot, rest) = part.split_once('}').unwrap_or((part, ""));
        let value = if slot == "first_name" {
            first_name
        } else {
            memory.slots.get(slot).map(String::as_str)
        };
        filled.push_str(value.unwrap_or_default());
        filled.push_str(rest);
    }
    filled
}
