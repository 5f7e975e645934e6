//! Finds days and times in a visitor's text: in English, German, Spanish and French.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::tidy;

#[expect(
    clippy::unwrap_used,
    reason = "a constant pattern, compiled by the tests"
)]
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)\b(?:(?:next|this|coming|on|every|any|nächsten?|diesen|am)\s+)?(?:",
        r"(?:mon|tue|tues|wed|wednes|thu|thurs?|fri|sat|satur|sun)(?:day)?s?|",
        r"today|tomorrow|tonight|mornings?|noon|afternoons?|evenings?|weekends?|weeks?|months?|asap|soon|any ?time|any ?day|whenever|",
        r"(?:in\s+)?(?:a|one|two|three|four|\d+)\s+(?:days?|weeks?|months?)|",
        // A month alone may be a name: April, June.
        r"(?:in\s+)?(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?\s+\d{1,2}(?:st|nd|rd|th)?|",
        r"\d{1,2}\.?(?:st|nd|rd|th)?\s+(?:of\s+)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\p{L}*|",
        r"(?:in|early|late|mid)[\s-]+(?:january|february|march|april|may|june|july|august|september|october|november|december)|",
        r"montags?|dienstags?|mittwochs?|donnerstags?|freitags?|samstags?|sonntags?|heute|morgens?|vormittags?|mittags?|nachmittags?|abends?|woche|",
        r"lunes|martes|miércoles|jueves|viernes|sábado|domingo|hoy|mañana|tarde|semana|",
        r"lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|demain|matin|après-midi|soir",
        r")\b|\b(?:at|um|gegen)\s+\d{1,2}(?::\d{2})?(?:\s*(?:am|pm|h|uhr))?\b|\b\d{1,2}\s*(?:am|pm|h|uhr|o'clock)\b|\b\d{1,2}:\d{2}\b|\b\d{1,2}[./-]\d{1,2}(?:[./-]\d{2,4})?\b|\b\d{1,2}(?:st|nd|rd|th)\b|\b\d{4}-\d{2}-\d{2}\b"
    ))
    .unwrap()
});

/// The text from its first day or time to its last; `None` for a question.
pub(super) fn find(text: &str) -> Option<String> {
    if text.trim_end().ends_with('?') {
        return None;
    }
    let first = TIME.find(text)?.start();
    let last = TIME.find_iter(text).last()?.end();
    tidy(text.get(first..last)?)
}

/// The text before its first day or time.
pub(super) fn before(text: &str) -> &str {
    TIME.find(text)
        .map_or(text, |time| text.get(..time.start()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_anywhere_but_questions() {
        for (text, expected) in [
            ("Tuesday morning", "Tuesday morning"),
            ("I'd like an appointment for next Monday", "next Monday"),
            ("for 2026-12-01 at 10:30, please", "2026-12-01 at 10:30"),
            ("Wed at 3pm", "Wed at 3pm"),
            ("Jan 5", "Jan 5"),
            ("in two weeks", "in two weeks"),
            ("any day", "any day"),
            ("Montag Vormittag", "Montag Vormittag"),
            ("nächsten Montag um 9 Uhr", "nächsten Montag um 9 Uhr"),
            ("lunes por la tarde", "lunes por la tarde"),
            (
                "no, my name is Jane Roe, and make it Friday at 10",
                "Friday at 10",
            ),
            ("My name is April", ""),
            ("the 5th of May or in June", "5th of May or in June"),
            ("May I ask something", ""),
            ("What times do you have this week?", ""),
            ("I don't know", ""),
        ] {
            assert_eq!(find(text).unwrap_or_default(), expected, "{text}");
        }
    }
}
