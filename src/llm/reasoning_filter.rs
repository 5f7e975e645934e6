//! Removes reasoning and leading whitespace from a model's text.
//!
//! Servers without a parser for reasoning send it as text, in `<think>` at the beginning. It is
//! removed even if chunks split the tags. Whitespace before the first word is removed because it
//! would count as an answer.

use super::Chunk;

const BEGIN: &str = "<think>";
const END: &str = "</think>";

/// The state of one answer.
#[derive(Debug)]
pub(super) enum ReasoningFilter {
    /// Nothing is visible yet; this text is held back.
    Beginning(String),
    /// Within reasoning; the last characters, which may begin `</think>`.
    Thinking(String),
    /// From here on everything is visible.
    Speaking,
}

impl ReasoningFilter {
    pub(super) fn new() -> Self {
        Self::Beginning(String::new())
    }

    /// The chunk with only the visible part of its text.
    pub(super) fn filter(&mut self, mut chunk: Chunk) -> Chunk {
        loop {
            match self {
                Self::Speaking => return chunk,
                Self::Beginning(held) => {
                    held.push_str(&std::mem::take(&mut chunk.text));
                    let text = held.trim_start();
                    if let Some(thought) = text.strip_prefix(BEGIN) {
                        chunk.text = thought.to_owned();
                        *self = Self::Thinking(String::new());
                    } else if chunk.finish.is_none() && BEGIN.starts_with(text) {
                        return chunk;
                    } else {
                        chunk.text = text.to_owned();
                        *self = Self::Speaking;
                    }
                }
                Self::Thinking(tail) => {
                    tail.push_str(&std::mem::take(&mut chunk.text));
                    if let Some((_, after)) = tail.split_once(END) {
                        chunk.text = after.to_owned();
                        *self = Self::Beginning(String::new());
                    } else {
                        let kept = tail
                            .char_indices()
                            .rev()
                            .nth(END.len())
                            .map_or(0, |(at, _)| at);
                        tail.drain(..kept);
                        return chunk;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&str]) -> String {
        let mut visible = ReasoningFilter::new();
        let last = Chunk {
            finish: Some(crate::store::messages::FinishReason::Stop),
            ..Chunk::default()
        };
        let pieces = pieces.iter().map(|piece| Chunk {
            text: (*piece).to_owned(),
            ..Chunk::default()
        });
        pieces
            .chain([last])
            .map(|chunk| visible.filter(chunk).text)
            .collect()
    }

    #[test]
    fn reasoning_is_dropped_however_it_is_cut() {
        let text = "\n<think>\nsecret </thin plan ü</think>\n\nHi! a < b <think>";
        for size in 1..=text.chars().count() {
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars
                .chunks(size)
                .map(|piece| piece.iter().collect())
                .collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            assert_eq!(seen(&pieces), "Hi! a < b <think>", "pieces of {size}");
        }
    }

    #[test]
    fn text_without_reasoning_is_as_it_was() {
        assert_eq!(seen(&["<", "th", "is> ", " x\n"]), "<this>  x\n");
        assert_eq!(seen(&["\n", " ", "a"]), "a");
        assert_eq!(seen(&["\n\n"]), "");
        assert_eq!(seen(&["<think>never ends"]), "");
    }
}
