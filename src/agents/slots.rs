//! Slots: the values that an agent asks a visitor for, and how they are read from text.
//!
//! A slot is read in two ways: *volunteered*, from any message, only if the words are
//! unambiguous; and as the *answer* to the agent's question, where a bare "John" is a name.

use std::collections::BTreeMap;

use regex::Regex;

use super::{extractors, memory::Memory, times};
use crate::{
    config::{AgentSettings, SlotKind, SlotSettings},
    text::tidy,
};

/// An agent's slots, in the order of asking.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    slots: Vec<Slot>,
}

/// A slot and its patterns.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub settings: SlotSettings,
    volunteered: Vec<Regex>,
}

impl Slots {
    pub(super) fn new(agent: &AgentSettings) -> Result<Self, regex::Error> {
        let slot = |settings: &SlotSettings| {
            let patterns = settings
                .volunteered
                .iter()
                .map(|pattern| Regex::new(pattern));
            Ok(Slot {
                settings: settings.clone(),
                volunteered: patterns.collect::<Result<_, _>>()?,
            })
        };
        Ok(Self {
            slots: agent
                .slots
                .iter()
                .map(slot)
                .collect::<Result<_, regex::Error>>()?,
        })
    }

    /// The slot of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.settings.name == name)
    }

    /// The first slot that has no value yet.
    pub(super) fn next_unknown(&self, memory: &Memory) -> Option<&Slot> {
        self.slots
            .iter()
            .find(|slot| !memory.slots.contains_key(&slot.settings.name))
    }

    /// The values that a message gives for slots without one. An explicit name replaces a known one.
    pub(super) fn volunteered(&self, text: &str, memory: &Memory) -> BTreeMap<String, String> {
        let is_open = |slot: &&Slot| {
            slot.settings.kind == SlotKind::Name || !memory.slots.contains_key(&slot.settings.name)
        };
        let open = self.slots.iter().filter(is_open);
        open.filter_map(|slot| Some((slot.settings.name.clone(), slot.volunteered(text)?)))
            .collect()
    }

    /// All slots, in the order of asking.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Sets all `implied` slots to yes. Called when the visitor gave a value unasked: it means that they agree
    /// to be asked.
    pub(super) fn imply(&self, memory: &mut Memory) {
        for slot in self.slots.iter().filter(|slot| slot.settings.implied) {
            memory
                .slots
                .entry(slot.settings.name.clone())
                .or_insert_with(|| "yes".to_owned());
        }
    }

    /// The slot for the visitor's name.
    pub(super) fn name_slot(&self) -> Option<&Slot> {
        self.slots
            .iter()
            .find(|slot| slot.settings.kind == SlotKind::Name)
    }
}

impl Slot {
    fn volunteered(&self, text: &str) -> Option<String> {
        let filler = &self.settings.filler;
        let mut configured = self
            .volunteered
            .iter()
            .filter_map(|pattern| pattern.captures(text)?.get(1));
        let found = configured.find_map(|found| extractors::subject(found.as_str(), filler));
        found.or_else(|| match self.settings.kind {
            SlotKind::Name => extractors::introduced_name(text, filler),
            SlotKind::Email => extractors::email(text),
            SlotKind::Phone => extractors::phone(text),
            SlotKind::Contact => extractors::email(text).or_else(|| extractors::phone(text)),
            SlotKind::Time => times::find(text),
            SlotKind::YesNo | SlotKind::Text => None,
        })
    }

    /// The slot's value in an answer to its question; `yes` or `no` for a yes/no slot. A question does not
    /// count as an answer.
    pub(super) fn answer(&self, text: &str) -> Option<String> {
        let is_question = text.trim_end().ends_with('?');
        self.volunteered(text).or_else(|| match self.settings.kind {
            SlotKind::YesNo => extractors::yes_or_no(text).map(str::to_owned),
            _ if is_question => None,
            SlotKind::Name => extractors::bare_name(text, &self.settings.filler),
            SlotKind::Text => tidy(text).filter(|text| text.chars().count() >= 3),
            SlotKind::Email | SlotKind::Phone | SlotKind::Contact | SlotKind::Time => None,
        })
    }

    /// True for name and contact slots: they are kept for the visitor's next request.
    pub(super) fn is_personal(&self) -> bool {
        use SlotKind::{Contact, Email, Name, Phone};
        matches!(self.settings.kind, Name | Email | Phone | Contact)
    }
}
