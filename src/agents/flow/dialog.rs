//! The logic of the scripted dialog: what to say next and what to remember. It does not send anything.

use super::super::{
    extractors,
    memory::Memory,
    slots::{Slot, Slots},
};
use crate::config::{FlowSettings, SlotKind};

/// The value of a slot that the visitor could not or would not fill.
pub(super) const NOT_GIVEN: &str = "(not given)";

/// The script: slots to ask for, and the texts around them.
pub(super) struct Dialog {
    pub flow: FlowSettings,
    pub slots: Slots,
    keywords: Vec<String>,
}

/// The result of one step of the dialog.
pub(super) struct DialogStep<'a> {
    /// Texts to say.
    pub said: Vec<String>,
    /// The slot that is newly asked for.
    pub asked: Option<&'a Slot>,
    /// True if all slots have just been filled, so that the tool and the handoff are due.
    pub is_complete: bool,
    /// The memory after the step.
    pub memory: Memory,
}

impl Dialog {
    pub(super) fn new(flow: FlowSettings, slots: Slots, keywords: Vec<String>) -> Self {
        Self {
            flow,
            slots,
            keywords,
        }
    }

    /// Handles one message.
    pub(super) fn step(&self, text: &str, mut memory: Memory) -> DialogStep<'_> {
        if memory.done && self.is_asked_anew(text) {
            memory = self.begin_anew(memory);
        }
        let heard = self.hear(text, &mut memory);
        let mut step = DialogStep {
            said: Vec::new(),
            asked: None,
            is_complete: false,
            memory,
        };
        let memory = &mut step.memory;
        if !memory.greeted {
            step.said.push(self.flow.greeting.clone());
            memory.greeted = true;
        }
        let next = self.slots.next_unknown(memory);
        match (heard, next) {
            (ExtractedFrom::Refused { say, ask_on: false }, _) => step.said.push(say),
            (ExtractedFrom::Nothing, Some(slot))
                if Some(&slot.settings.name) == memory.asked.as_ref() =>
            {
                step.said.push(slot.settings.retry.clone());
            }
            (heard, Some(slot)) => {
                if let ExtractedFrom::Refused { say, .. } = heard {
                    step.said.push(say);
                }
                step.said.push(slot.settings.ask.clone());
                step.asked = Some(slot);
                memory.asked = Some(slot.settings.name.clone());
                memory.misses = 0;
            }
            (_, None) if memory.done && extractors::yes_or_no(text) == Some("no") => {
                step.said.push(self.flow.bye.clone());
            }
            (_, None) if memory.done => step.said.push(self.flow.again.clone()),
            (_, None) => {
                step.is_complete = true;
                memory.asked = None;
                memory.done = true;
            }
        }
        step
    }

    /// Fills slots from a form's answer, by field name. A value that does not fit is left out and asked for.
    pub(super) fn fill_in(&self, fields: &serde_json::Value, memory: &mut Memory) {
        for (name, value) in fields.as_object().into_iter().flatten() {
            let given = match value {
                serde_json::Value::Bool(true) => "yes".to_owned(),
                // A "no" can have consequences (`refused_clears`), so the question is asked in the dialog.
                serde_json::Value::Bool(false) => continue,
                value => crate::text::plain(value),
            };
            let slot = self.slots.get(name);
            if let Some(value) = slot.and_then(|slot| slot.answer(&given)) {
                memory.slots.insert(name.clone(), value);
            }
        }
    }

    /// True if the text has one of the agent's keywords: after a finished request, that begins another one.
    fn is_asked_anew(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
        words.any(|word| {
            self.keywords
                .iter()
                .any(|keyword| keyword.to_lowercase() == word)
        })
    }

    /// Clears the memory for another request. Name, contact and implied slots stay.
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

    /// Fills the slot that was asked for, and all slots that the message volunteers.
    fn hear(&self, text: &str, memory: &mut Memory) -> ExtractedFrom {
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
            return ExtractedFrom::Something;
        };
        // A message that filled other slots is not also the value of a free-text slot.
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
                ExtractedFrom::Something
            }
            None if gave_something => ExtractedFrom::Something,
            None => miss(asked, memory),
        }
    }

    /// Handles a "no": clears the slots in `refused_clears` to ask again, unless the same message corrects one.
    fn refuse(&self, asked: &Slot, text: &str, memory: &mut Memory) -> ExtractedFrom {
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
            return ExtractedFrom::Refused {
                say,
                ask_on: !clears.is_empty(),
            };
        }
        memory.slots.extend(corrected);
        memory.asked = None;
        ExtractedFrom::Something
    }
}

/// Counts an answer that does not fit. After the second the slot becomes [`NOT_GIVEN`], so that no
/// question repeats forever. A yes/no question does repeat: the flow needs its answer.
fn miss(asked: &Slot, memory: &mut Memory) -> ExtractedFrom {
    memory.misses += 1;
    if memory.misses < 2 || asked.settings.kind == SlotKind::YesNo {
        return ExtractedFrom::Nothing;
    }
    memory
        .slots
        .insert(asked.settings.name.clone(), NOT_GIVEN.to_owned());
    ExtractedFrom::Something
}

/// What a message contained.
enum ExtractedFrom {
    /// An answer or a value for another slot, or no question was open.
    Something,
    /// A "no", the reply to it, and whether to ask the next question.
    Refused { say: String, ask_on: bool },
    /// Nothing that fits.
    Nothing,
}

/// A text with `{slot}`, `{first_name}` and `{result}` filled in.
pub(super) fn filled(text: &str, slots: &Slots, memory: &Memory, result: &str) -> String {
    let name = slots
        .name_slot()
        .and_then(|slot| memory.slots.get(&slot.settings.name));
    let first_name = name.filter(|name| *name != NOT_GIVEN);
    let first_name = first_name
        .and_then(|name| name.split_whitespace().next())
        .unwrap_or("there");
    crate::text::fill(text, |name| match name {
        "first_name" => Some(first_name.to_owned()),
        "result" => Some(result.to_owned()),
        slot => memory.slots.get(slot).cloned(),
    })
}
