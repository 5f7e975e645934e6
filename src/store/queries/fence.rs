//! The fence: whether a turn is still its owner's. Compiled once for each database.

use diesel::{dsl::auto_type, prelude::*};

use crate::store::{ConversationId, Fence, TurnId, schema::conversations};

/// The fence predicate: selects the conversation only while the turn owns it. Every write of a turn updates or locks
/// this row first, so that none is committed after a takeover. `postgres/owns.sql` is the same for batches.
#[auto_type]
pub fn owned(conversation: ConversationId, turn: TurnId, fence: Fence) -> _ {
    conversations::table
        .filter(conversations::id.eq(conversation))
        .filter(conversations::running_turn.eq(turn))
        .filter(conversations::fence.eq(fence))
}
