//! Reading what an agent wants to know from what a visitor says.
//!
//! A slot is read in two ways: *volunteered*, from any message, only where the words leave no
//! doubt; and as the *answer* to the agent's question, where a bare "John" is a name.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

use super::memory::Memory;
use crate::config::{AgentSettings, SlotKind, SlotSettings};

/// The longest value that is kept, in characters.
const LONGEST: usize = 300;

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

    /// The first slot that is not known yet.
    pub(super) fn next_unknown(&self, memory: &Memory) -> Option<&Slot> {
        self.slots
            .iter()
            .find(|slot| !memory.slots.contains_key(&slot.settings.name))
    }

    /// What a message gives away of slots that are not known yet.
    pub(super) fn volunteered(&self, text: &str, memory: &Memory) -> BTreeMap<String, String> {
        let unknown = self
            .slots
            .iter()
            .filter(|slot| !memory.slots.contains_key(&slot.settings.name));
        unknown
            .filter_map(|slot| Some((slot.settings.name.clone(), slot.volunteered(text)?)))
            .collect()
    }

    /// Fills what follows from a visitor's giving something unasked: who tells their name has
    /// said yes to being asked.
    pub(super) fn imply(&self, memory: &mut Memory) {
        for slot in self.slots.iter().filter(|slot| slot.settings.implied) {
            memory
                .slots
                .entry(slot.settings.name.clone())
                .or_insert_with(|| "yes".to_owned());
        }
    }

    /// The slot that keeps the visitor's name.
    pub(super) fn name_slot(&self) -> Option<&Slot> {
        self.slots
            .iter()
            .find(|slot| slot.settings.kind == SlotKind::Name)
    }
}

impl Slot {
    fn volunteered(&self, text: &str) -> Option<String> {
        let configured = self
            .volunteered
            .iter()
            .find_map(|pattern| pattern.captures(text)?.get(1));
        if let Some(found) = configured {
            return tidy(found.as_str());
        }
        match self.settings.kind {
            SlotKind::Name => introduced_name(text),
            SlotKind::Email => email(text),
            SlotKind::Phone => phone(text),
            SlotKind::Contact => email(text).or_else(|| phone(text)),
            SlotKind::Time | SlotKind::YesNo | SlotKind::Text => None,
        }
    }

    /// The slot's value in an answer to its question. For yes or no: `yes` or `no`.
    pub(super) fn answer(&self, text: &str) -> Option<String> {
        self.volunteered(text).or_else(|| match self.settings.kind {
            SlotKind::Name => bare_name(text),
            SlotKind::Email | SlotKind::Phone | SlotKind::Contact => None,
            SlotKind::Time => TIME.is_match(text).then(|| tidy(text)).flatten(),
            SlotKind::YesNo => yes_or_no(text).map(str::to_owned),
            SlotKind::Text => tidy(text).filter(|text| text.chars().count() >= 3),
        })
    }
}

fn tidy(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text
        .trim_end_matches(['.', ',', ';', '!', '?'])
        .chars()
        .take(LONGEST)
        .collect();
    text.chars().any(char::is_alphanumeric).then_some(text)
}

/// A constant pattern; a test compiles them all.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).unwrap());
    };
}

pattern!(
    NAME_FOLLOWS,
    r"(?i)\b(?:my name is|my name's|name is|call me|mi nombre es|ich heiße|je m'appelle)\s+"
);
pattern!(
    SELF_FOLLOWS,
    r"\b(?:I am|I'm|I’m|i am|i'm|This is|this is|It's|it's)\s+(\p{Lu})"
);
pattern!(EMAIL, r"[^\s@,;:<>()]+@[^\s@,;:<>()]+\.[^\s@.,;:<>()]{2,}");
pattern!(PHONE, r"\+?\(?\d[\d\s()./-]{5,}\d");
pattern!(
    TIME,
    r"(?i)\b(?:mon|tues?|wednes|thurs?|fri|satur|sun)(?:day)?s?\b|\b(?:today|tomorrow|tonight|morning|noon|afternoon|evening|weekend|week|month|asap|soon|any ?time|whenever|january|february|march|april|may|june|july|august|september|october|november|december)\b|\b\d{1,2}\s*(?:am|pm|h|o'clock)\b|\b\d{1,2}[:.]\d{2}\b|\b\d{1,2}[./-]\d{1,2}\b|\b\d{1,2}(?:st|nd|rd|th)\b|\b\d{4}-\d{2}-\d{2}\b"
);

/// Words that end a name in running text.
const NOT_A_NAME: [&str; 34] = [
    "and",
    "i",
    "i'm",
    "but",
    "from",
    "with",
    "here",
    "please",
    "my",
    "the",
    "a",
    "an",
    "who",
    "so",
    "yes",
    "no",
    "hello",
    "hi",
    "hey",
    "ok",
    "okay",
    "sure",
    "thanks",
    "thank",
    "why",
    "what",
    "not",
    "is",
    "want",
    "need",
    "book",
    "appointment",
    "you",
    "of",
];

fn introduced_name(text: &str) -> Option<String> {
    let after = NAME_FOLLOWS.find(text).map(|found| found.end());
    let after = after.or_else(|| Some(SELF_FOLLOWS.captures(text)?.get(1)?.start()))?;
    leading_name(text.get(after..)?)
}

fn bare_name(text: &str) -> Option<String> {
    let words = text.split_whitespace().count();
    let name = leading_name(text)?;
    (words <= 4 && name.split_whitespace().count() == words).then_some(name)
}

/// Up to four words that may be a name, from the beginning of a text.
fn leading_name(text: &str) -> Option<String> {
    let mut name: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphabetic());
        let fits = !bare.is_empty()
            && bare.chars().count() <= 40
            && bare
                .chars()
                .all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '-' | '.'))
            && !NOT_A_NAME.contains(&bare.to_lowercase().as_str());
        if !fits || name.len() == 4 {
            break;
        }
        name.push(bare);
        if word.ends_with([',', '.', ';', '!', '?']) {
            break;
        }
    }
    (!name.is_empty()).then(|| name.join(" "))
}

fn email(text: &str) -> Option<String> {
    let found = EMAIL.find(text)?.as_str().trim_end_matches(['.', '!', '?']);
    (found.len() <= 254).then(|| found.to_owned())
}

fn phone(text: &str) -> Option<String> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    let found = PHONE.find_iter(text).map(|found| found.as_str().trim());
    found
        .filter(|text| (7..=15).contains(&digits(text)))
        .map(str::to_owned)
        .next()
}

fn yes_or_no(text: &str) -> Option<&'static str> {
    const YES: [&str; 22] = [
        "yes",
        "yeah",
        "yep",
        "yup",
        "sure",
        "ok",
        "okay",
        "course",
        "right",
        "correct",
        "fine",
        "go",
        "please",
        "absolutely",
        "certainly",
        "perfect",
        "good",
        "y",
        "sí",
        "si",
        "ja",
        "oui",
    ];
    const NO: [&str; 12] = [
        "no",
        "nope",
        "not",
        "don't",
        "dont",
        "don’t",
        "wrong",
        "never",
        "n",
        "incorrect",
        "nein",
        "non",
    ];
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’'))
        .find_map(|word| {
            let word = word.to_lowercase();
            let is_yes = YES.contains(&word.as_str());
            (is_yes || NO.contains(&word.as_str())).then_some(if is_yes { "yes" } else { "no" })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_where_words_leave_no_doubt() {
        let name = |text| introduced_name(text).unwrap_or_default();
        assert_eq!(
            name("My name is John Doe and I need help with hair transplant"),
            "John Doe"
        );
        assert_eq!(
            name("Hi, I'm María-José O'Neil, hello"),
            "María-José O'Neil"
        );
        assert_eq!(name("I'm interested in a check-up"), "");
        assert_eq!(name("Hello, I want to schedule an appointment"), "");
        assert_eq!(bare_name("john doe").as_deref(), Some("john doe"));
        assert_eq!(bare_name("Why do you ask?"), None);
        assert_eq!(bare_name("yes"), None);
    }

    #[test]
    fn contacts_are_read_from_anywhere() {
        assert_eq!(
            email("write to a.b+c@example.co.uk.").as_deref(),
            Some("a.b+c@example.co.uk")
        );
        assert_eq!(email("a@b"), None);
        assert_eq!(
            phone("call +49 (0)30 123-4567 please").as_deref(),
            Some("+49 (0)30 123-4567")
        );
        assert_eq!(phone("at 10:30 on 12.5."), None);
    }

    #[test]
    fn times_and_consent_are_read_from_answers() {
        assert!(TIME.is_match("Tuesday morning"));
        assert!(TIME.is_match("at 3pm"));
        assert!(!TIME.is_match("I don't know"));
        assert_eq!(yes_or_no("Yes, no problem"), Some("yes"));
        assert_eq!(yes_or_no("no, not now"), Some("no"));
        assert_eq!(yes_or_no("what is this?"), None);
    }
}
