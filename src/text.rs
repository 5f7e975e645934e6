//! Cleans text from outside so that it can be stored and sent, and other helpers for text.
//!
//! PostgreSQL refuses NUL, and UTF-8 has no lone surrogates, but visitors and models send
//! both. Both are replaced by U+FFFD on arrival, with either database.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The text with every NUL replaced.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Like [`clean`] for owned text, which is copied only if it has to change.
pub fn cleaned(text: String) -> String {
    match clean(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(cleaned) => cleaned,
    }
}

/// Cleans every string in a JSON document, keys included.
pub fn clean_json(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(cleaned(text)),
        Value::Array(items) => items.into_iter().map(clean_json).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (cleaned(key), clean_json(value)))
            .collect(),
        other => other,
    }
}

/// The longest text that [`tidy`] returns, in characters.
const TIDY_CHARACTERS: usize = 300;

/// A text on one line, without punctuation at its end, cut to 300 characters. `None` if it has no letter or digit.
pub fn tidy(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches(['.', ',', ';', '!', '?']);
    let text: String = text.chars().take(TIDY_CHARACTERS).collect();
    text.chars().any(char::is_alphanumeric).then_some(text)
}

/// Parses JSON in which invalid UTF-8 and lone surrogates count as U+FFFD.
///
/// # Errors
/// serde_json's error, if the document is invalid for another reason.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    parse_json_text(&String::from_utf8_lossy(bytes))
}

/// Like [`parse_json`] for text that is valid UTF-8 already, which is not checked again.
///
/// # Errors
/// As [`parse_json`].
pub fn parse_json_text<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json).or_else(|error| match mend_surrogates(json) {
        Cow::Owned(mended) => serde_json::from_str(&mended),
        Cow::Borrowed(_) => Err(error),
    })
}

/// JSON source with each `\uD800`…`\uDFFF` escape that has no partner replaced by `\uFFFD`.
fn mend_surrogates(json: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
            (Some(_), _) => {
                mended.push_str("\\uFFFD");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = escape.split_at(length);
        mended.push_str(kept);
        rest = after;
    }
    mended.push_str(rest);
    if mended == json {
        Cow::Borrowed(json)
    } else {
        Cow::Owned(mended)
    }
}

/// The code unit, if the text begins with the escape of a surrogate.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xD800..0xE000).contains(&unit).then_some(unit)
}

/// Estimates a text's tokens without a vendor's vocabulary: one for four ASCII characters, one
/// for any other character. Too high for European languages; close for Chinese, Japanese and
/// Korean.
pub fn estimate_tokens(text: &str) -> usize {
    let (ascii, other) = text.chars().fold((0, 0), |(ascii, other), c| {
        if c.is_ascii() {
            (ascii + 1, other)
        } else {
            (ascii, other + 1)
        }
    });
    usize::div_ceil(ascii, 4) + other
}

/// Fills `{names}` into a template. A name without a value is removed.
pub fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = template.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        filled.push_str(&value(name).unwrap_or_default());
        filled.push_str(rest);
    }
    filled
}

/// The first line, cut to `most` characters.
pub fn first_line(text: &str, most: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line.to_owned(),
    }
}

/// A member of a JSON object; null if absent.
pub fn member<'a>(value: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    value.get(name).unwrap_or(&serde_json::Value::Null)
}

/// A string as it is, null as an empty string, other JSON as JSON text.
pub fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_and_invalid_utf8_become_replacement_characters() {
        let parse = |json: &[u8]| parse_json::<String>(json).ok();
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(parse(br#""a\ud83d""#), of("a\u{FFFD}"));
        assert_eq!(parse(br#""\ude00b""#), of("\u{FFFD}b"));
        assert_eq!(parse(br#""\ud83d\ude00""#), of("😀"));
        assert_eq!(parse(br#""\ud83d\ud83d\ude00""#), of("\u{FFFD}😀"));
        assert_eq!(parse(br#""\\ud83d""#), of("\\ud83d"));
        assert_eq!(parse(b"\"a\xff\""), of("a\u{FFFD}"));
        assert_eq!(parse(br#""\ud83"#), None);
    }

    #[test]
    fn nul_is_replaced_in_keys_and_values() {
        let value = serde_json::json!({"a\0": ["b\0", 1]});
        assert_eq!(
            clean_json(value),
            serde_json::json!({"a\u{FFFD}": ["b\u{FFFD}", 1]})
        );
    }
}
