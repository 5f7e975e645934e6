//! Extracts names, contacts, subjects, and yes or no from text without a model.
//!
//! Ambiguous text gives no value: it is better to ask again than to book for a visitor called
//! "Tomorrow".

use std::sync::LazyLock;

use regex::Regex;

use super::times;
use crate::text::tidy;

/// A constant pattern. The `unwrap` cannot fail: the tests below compile every pattern.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).unwrap());
    };
}

pattern!(
    NAME_FOLLOWS,
    r"(?i)\b(?:my name is|my name['’]s|mi nombre es|me llamo|ich heiße|mein name ist|je m['’]appelle)\s+"
);
pattern!(
    SELF_FOLLOWS,
    r"\b(?:I am|I['’]m|i am|i['’]m|This is|this is)\s+(\p{Lu})"
);
pattern!(
    SELF,
    r"(?i)^\W*(?:i am|i['’]?m|it['’]?s|this is|ich bin|soy|je suis)\s+"
);
pattern!(EMAIL, r"[^\s@,;:<>()]+@[^\s@,;:<>()]+\.[^\s@.,;:<>()]{2,}");
pattern!(PHONE, r"\+?\(?\d[\d\s()./-]{5,}\d");
pattern!(
    DATE,
    r"\d{4}-\d{1,2}-\d{1,2}|\b\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})\b|\d{1,2}:\d{2}"
);
/// Words that are never part of a name; in running text they end it.
const NOT_A_NAME: [&str; 69] = [
    "and",
    "i",
    "i'm",
    "im",
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
    "which",
    "when",
    "where",
    "how",
    "not",
    "is",
    "it's",
    "its",
    "want",
    "need",
    "you",
    "of",
    "at",
    "to",
    "for",
    "me",
    "back",
    "good",
    "morning",
    "evening",
    "maybe",
    "later",
    "tomorrow",
    "today",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "interested",
    "looking",
    "can",
    "could",
    "und",
    "y",
    "et",
    "nein",
    "danke",
    "nicht",
    "quiero",
];

/// The subject of a request. `None` if all its words are filler: the slot's own, articles, prepositions.
pub(super) fn subject(text: &str, filler: &[String]) -> Option<String> {
    let subject = tidy(times::before(text))?;
    let is_filler = |word: &str| {
        ["an", "a", "my", "the", "on", "at", "for", "next"].contains(&word)
            || filler.iter().any(|filler| filler == word)
    };
    let lowercase = subject.to_lowercase();
    let says_something = lowercase.split(' ').any(|word| !is_filler(word));
    says_something.then_some(subject)
}

/// The name in a self-introduction ("my name is …"), in any message.
pub(super) fn introduced_name(text: &str, filler: &[String]) -> Option<String> {
    let after = NAME_FOLLOWS.find(text).map(|found| found.end());
    let after = after.or_else(|| Some(SELF_FOLLOWS.captures(text)?.get(1)?.start()))?;
    leading_name(text.get(after..)?, filler)
}

/// A name as the answer to "what's your name?". Only the text before a comma, semicolon or newline counts.
pub(super) fn bare_name(text: &str, filler: &[String]) -> Option<String> {
    let text = SELF
        .find(text)
        .map_or(text, |found| text.get(found.end()..).unwrap_or_default());
    let first = text.split([',', ';', '\n']).next().unwrap_or_default();
    let name = leading_name(first, filler)?;
    let words = first.split_whitespace().count();
    (words <= 4 && name.split_whitespace().count() == words).then_some(name)
}

/// Up to four words at the beginning of a text that can be a name.
fn leading_name(text: &str, filler: &[String]) -> Option<String> {
    let is_no_name =
        |word: &str| NOT_A_NAME.contains(&word) || filler.iter().any(|filler| filler == word);
    let mut name: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphabetic());
        let fits = !bare.is_empty()
            && bare.chars().count() <= 40
            && bare
                .chars()
                .all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '-' | '.'))
            && !is_no_name(&bare.to_lowercase());
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

/// The first e-mail address in a text.
pub(super) fn email(text: &str) -> Option<String> {
    let found = EMAIL.find(text)?.as_str().trim_end_matches(['.', '!', '?']);
    (found.len() <= 254).then(|| found.to_owned())
}

/// The first phone number in a text: 7 to 15 digits. Dates and times are skipped.
pub(super) fn phone(text: &str) -> Option<String> {
    let text = DATE.replace_all(text, "|");
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    let mut found = PHONE.find_iter(&text).map(|found| found.as_str().trim());
    found
        .find(|text| (7..=15).contains(&digits(text)))
        .map(str::to_owned)
}

/// Phrases that override their single words; `None` means neither yes nor no.
const PHRASES: [(&str, Option<&str>); 9] = [
    ("no problem", Some("yes")),
    ("why not", Some("yes")),
    ("of course", Some("yes")),
    ("go ahead", Some("yes")),
    ("not sure", None),
    ("don't know", None),
    ("no idea", None),
    ("all right", Some("yes")),
    ("go on", Some("yes")),
];
const YES: [&str; 24] = [
    "yes",
    "yeah",
    "yep",
    "yup",
    "sure",
    "ok",
    "okay",
    "alright",
    "right",
    "correct",
    "fine",
    "please",
    "absolutely",
    "certainly",
    "perfect",
    "great",
    "y",
    "exactly",
    "sí",
    "si",
    "ja",
    "gerne",
    "oui",
    "klar",
];
const NO: [&str; 13] = [
    "no",
    "nope",
    "nah",
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

/// `yes` or `no`, from the first word or phrase that says either.
pub(super) fn yes_or_no(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let phrase = PHRASES
        .iter()
        .filter_map(|(phrase, means)| Some((text.find(phrase)?, *means)))
        .min();
    let is_separator = |c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’');
    let mut at = 0;
    for piece in text.split_inclusive(is_separator) {
        let word = piece.trim_end_matches(is_separator);
        if let Some((_, means)) = phrase.filter(|(start, _)| *start <= at) {
            return means;
        }
        match (YES.contains(&word), NO.contains(&word)) {
            (true, _) => return Some("yes"),
            (_, true) => return Some("no"),
            _ => at += piece.len(),
        }
    }
    phrase.and_then(|(_, means)| means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_where_words_leave_no_doubt() {
        for (text, name) in [
            (
                "My name is John Doe and I need help with hair transplant",
                "John Doe",
            ),
            ("my name's john", "john"),
            ("Hi, I'm María-José O'Neil, hello", "María-José O'Neil"),
            ("ich heiße Jürgen und möchte einen Termin", "Jürgen"),
            ("me llamo Juan y quiero una cita", "Juan"),
            ("I'm interested in a check-up", ""),
            ("I'm Interested in botox", ""),
            ("It's Monday that suits me best", ""),
            ("call me at 555 123 4567", ""),
            ("call me tomorrow please", ""),
            ("Hello, I want to schedule an appointment", ""),
        ] {
            assert_eq!(
                introduced_name(text, &[]).unwrap_or_default(),
                name,
                "{text}"
            );
        }
        for (text, name) in [
            ("john doe", "john doe"),
            ("it's john", "john"),
            ("im john", "john"),
            ("i am john", "john"),
            ("John, john@x.org, botox, Tuesday morning", "John"),
            ("Good morning", ""),
            ("Nein danke", ""),
            ("Maybe later", ""),
            ("yes", ""),
        ] {
            assert_eq!(bare_name(text, &[]).unwrap_or_default(), name, "{text}");
        }
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
        assert_eq!(
            phone("call me at 555 123 4567").as_deref(),
            Some("555 123 4567")
        );
        for date in [
            "at 10:30 on 12.5.",
            "2026-12-01 at 10:30",
            "12.05.2026",
            "on 12/05/26",
        ] {
            assert_eq!(phone(date), None, "{date}");
        }
    }

    #[test]
    fn a_request_is_about_something_else_than_filler() {
        let filler = ["booking", "appointment"].map(str::to_owned);
        assert_eq!(
            subject("hair transplant", &filler).as_deref(),
            Some("hair transplant")
        );
        assert_eq!(
            subject("a check-up on Monday", &filler).as_deref(),
            Some("a check-up")
        );
        assert_eq!(subject("booking an appointment", &filler), None);
        assert_eq!(subject("next Monday", &filler), None);
    }

    #[test]
    fn yes_and_no_are_read_by_the_first_words_that_say_so() {
        for (text, expected) in [
            ("Yes, no problem", "yes"),
            ("no, not now", "no"),
            ("no problem", "yes"),
            ("Well… no problem", "yes"),
            ("why not", "yes"),
            ("I'm not sure", ""),
            ("alright", "yes"),
            ("Good question, what for?", ""),
            ("what is this?", ""),
        ] {
            assert_eq!(yes_or_no(text).unwrap_or_default(), expected, "{text}");
        }
    }
}
