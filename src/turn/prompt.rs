//! How much of a conversation an agent is shown.

use crate::{
    store::messages::{Message, Role},
    text::estimate_tokens,
};

/// Tokens that a message costs beside its text.
const FRAMING: usize = 4;
/// Tokens that an image costs, about.
const IMAGE: usize = 800;

/// The newest messages that cost about so many tokens, oldest first, beginning with one of the
/// visitor's. The last one is there whatever it costs.
pub(super) fn window(history: Vec<Message>, tokens: usize) -> Vec<Message> {
    let mut left = tokens;
    // What tools did is the turn's in which they were called.
    let history: Vec<Message> = history
        .into_iter()
        .filter(|message| message.role != Role::Tool)
        .collect();
    let fits = |message: &&Message| {
        let cost = FRAMING + estimate_tokens(&message.body) + IMAGE * message.media().count();
        let fits = cost <= left;
        left = left.saturating_sub(cost);
        fits
    };
    let fitting = history.iter().rev().take_while(fits).count().max(1);
    let start = history.len().saturating_sub(fitting);
    history
        .into_iter()
        .skip(start)
        .skip_while(|message| message.role != Role::User)
        .collect()
}
