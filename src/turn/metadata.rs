//! Members of a message's metadata that turns write and read.

/// On a user's message: asks for an expert.
pub(crate) const ASKS_FOR: &str = "asks_for";
/// On a user's message: the skill that the expert needs.
pub(crate) const SKILL: &str = "asks_for_skill";
/// Maximum length of a skill, in characters.
pub(crate) const SKILL_CHARACTERS: usize = 100;
/// On a widget, and on the answer to it: the call that waits for the visitor's consent.
pub(super) const CONFIRMS: &str = "confirms";
/// On a tool's result: whether the tool made the widget.
pub(super) const MADE: &str = "made";
/// On the first call of a round: what the agent said and showed before it.
pub(super) const SAID: &str = "said";
