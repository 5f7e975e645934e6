//! Tool calls that models ask for. They arrive in parts, several calls mixed, and each vendor numbers them
//! differently. This module assembles them.

use serde_json::{Value, json};

use super::{Failure, LlmError};

/// Maximum number of tool calls in one answer.
const MOST_CALLS: usize = 16;
/// Maximum size of a call's arguments, in bytes.
const ARGUMENT_BYTES: usize = 256 * 1024;

/// A tool's description for a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its arguments, as a JSON Schema of an object.
    pub parameters: Value,
}

/// A tool call that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolCall {
    /// The vendor's id of the call.
    pub id: String,
    /// The tool's name as the model wrote it: there may be no such tool.
    pub name: String,
    /// The arguments as the model wrote them: JSON text that may be invalid.
    pub arguments: String,
}

impl ToolCall {
    /// The arguments as a JSON object, for APIs that require one; empty if the model's text is not an object.
    pub fn input(&self) -> Value {
        serde_json::from_str(&self.arguments)
            .ok()
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({}))
    }
}

/// A call's result, as the model gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call's id.
    pub call_id: String,
    /// The tool's answer or the error.
    pub content: String,
    /// Whether the call failed.
    pub is_error: bool,
}

impl ToolResult {
    /// A call's result or its error.
    pub fn of(call: &ToolCall, done: Result<String, String>) -> Self {
        Self {
            call_id: call.id.clone(),
            is_error: done.is_err(),
            content: done.unwrap_or_else(|error| error),
        }
    }
}

/// A part of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallPart {
    /// Index of the call in the answer; `None` if the vendor sends calls whole.
    pub index: Option<u64>,
    /// The call's id, in its first part.
    pub id: Option<String>,
    /// The tool's name, in its first part.
    pub name: Option<String>,
    /// More of the arguments.
    pub arguments: String,
}

impl CallPart {
    /// A whole call.
    pub fn whole(name: &str, arguments: &Value) -> Self {
        Self {
            name: Some(name.to_owned()),
            arguments: arguments.to_string(),
            ..Self::default()
        }
    }
}

/// The calls of one answer that have arrived so far.
#[derive(Debug, Default)]
pub struct Calls(Vec<(Option<u64>, ToolCall)>);

impl Calls {
    /// Adds a part.
    ///
    /// # Errors
    /// If there are too many calls, or a call's arguments are too long.
    pub fn add(&mut self, part: CallPart) -> Result<(), LlmError> {
        // Some servers give all calls the index 0: a new id means a new call.
        let is_same = |(index, call): &(Option<u64>, ToolCall)| {
            part.index.is_some()
                && *index == part.index
                && part
                    .id
                    .as_ref()
                    .is_none_or(|id| id.is_empty() || *id == call.id)
        };
        let too_much = || LlmError::new(Failure::Unreadable, "the model calls too many tools");
        let at = match self.0.iter().rposition(is_same) {
            Some(at) => at,
            None if self.0.len() >= MOST_CALLS => return Err(too_much()),
            None => {
                self.0.push((part.index, ToolCall::default()));
                self.0.len() - 1
            }
        };
        let (_, call) = self.0.get_mut(at).ok_or_else(too_much)?;
        if call.arguments.len() + part.arguments.len() > ARGUMENT_BYTES {
            return Err(too_much());
        }
        call.arguments.push_str(&part.arguments);
        if let Some(id) = part.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        // Some servers send an empty name with every later part.
        if let Some(name) = part.name.filter(|name| !name.is_empty()) {
            call.name = name;
        }
        Ok(())
    }

    /// True if there are no calls.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The assembled calls. A missing or repeated id is replaced; missing arguments become `{}`.
    pub fn done(self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = Vec::with_capacity(self.0.len());
        for (at, (_, mut call)) in self.0.into_iter().enumerate() {
            (call.id, call.name) = (tame(&call.id), tame(&call.name));
            if call.id.is_empty() || calls.iter().any(|other| other.id == call.id) {
                call.id = format!("call_{at}");
            }
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".to_owned();
            }
            calls.push(call);
        }
        calls
    }
}

/// Makes a name or id acceptable to all vendors. A model may invent any name, and vendors refuse a conversation
/// that contains an invalid one. Names of existing tools do not change.
fn tame(name: &str) -> String {
    let is_tame = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name = name.chars().take(64);
    name.map(|c| if is_tame(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str) -> CallPart {
        CallPart {
            index,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        }
    }

    fn calls(parts: impl IntoIterator<Item = CallPart>) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for part in parts {
            calls.add(part).unwrap();
        }
        let done = calls.done().into_iter();
        done.map(|call| (call.id, call.name, call.arguments))
            .collect()
    }

    fn of(call: [&str; 3]) -> (String, String, String) {
        let [id, name, arguments] = call.map(str::to_owned);
        (id, name, arguments)
    }

    #[test]
    fn pieces_of_calls_that_alternate_are_put_together() {
        let parts = [
            part(Some(0), Some("a"), Some("look"), ""),
            part(Some(1), Some("b"), Some("book"), "{\"d"),
            part(Some(0), None, None, "{}"),
            part(Some(1), Some(""), Some(""), "\":1}"),
        ];
        let expected = [of(["a", "look", "{}"]), of(["b", "book", "{\"d\":1}"])];
        assert_eq!(calls(parts), expected);
    }

    #[test]
    fn calls_without_numbers_or_with_the_same_one_are_several() {
        let parts = [
            part(None, None, Some("functions.look"), "{}"),
            part(None, None, Some("book"), ""),
            part(None, Some("a"), Some("look"), "{}"),
            part(None, Some("a"), Some("book"), "{}"),
        ];
        let expected = [
            of(["call_0", "functions_look", "{}"]),
            of(["call_1", "book", "{}"]),
            of(["a", "look", "{}"]),
            of(["call_3", "book", "{}"]),
        ];
        assert_eq!(calls(parts), expected);
        let parts = [
            part(Some(0), Some("a"), Some("look"), "{}"),
            part(Some(0), Some("b"), Some("book"), "{}"),
        ];
        assert_eq!(calls(parts).len(), 2);
    }

    #[test]
    fn a_model_cannot_fill_the_memory_with_calls() {
        let mut calls = Calls::default();
        for index in 0..MOST_CALLS as u64 {
            calls.add(part(Some(index), None, None, "")).unwrap();
        }
        assert!(calls.add(part(None, None, None, "")).is_err());
        let long = "x".repeat(ARGUMENT_BYTES + 1);
        assert!(calls.add(part(Some(0), None, None, &long)).is_err());
    }
}
