//! Whose a conversation is, and locks on its row. Compiled once for each database.

use diesel::{dsl::auto_type, prelude::*};

use super::dialect::{Conn, lock_rows};
use crate::store::{
    ConversationId, ExpertId, Fence, MessageSeq, TurnId, UserId, schema::conversations,
    sessions::Mode,
};

/// The fence predicate: the conversation, while a turn owns it. Every write of a turn updates or locks this row
/// first, so that nothing of it is committed after a takeover. `postgres/owns.sql` is the same for batches.
#[auto_type]
pub fn owned(conversation: ConversationId, turn: TurnId, fence: Fence) -> _ {
    conversations::table
        .filter(conversations::id.eq(conversation))
        .filter(conversations::running_turn.eq(turn))
        .filter(conversations::fence.eq(fence))
}

/// What is read of a conversation under its lock.
#[derive(Queryable)]
pub struct Locked {
    pub user_id: UserId,
    pub expert_id: Option<ExpertId>,
    pub running_turn: Option<TurnId>,
    pub mode: Mode,
    pub last_seq: MessageSeq,
}

pub fn lock(conn: &mut Conn, id: ConversationId) -> QueryResult<Option<Locked>> {
    let row = conversations::table
        .filter(conversations::id.eq(id))
        .select((
            conversations::user_id,
            conversations::expert_id,
            conversations::running_turn,
            conversations::mode,
            conversations::last_seq,
        ));
    lock_rows!(row).first(conn).optional()
}

/// Locks the conversations of running turns, in the order in which batches do.
pub fn lock_in_order(conn: &mut Conn, turns: &[TurnId]) -> QueryResult<()> {
    let held = conversations::table
        .filter(conversations::running_turn.eq_any(turns.iter().map(|turn| Some(*turn))))
        .order(conversations::id)
        .select(conversations::id);
    lock_rows!(held).load::<ConversationId>(conn).map(drop)
}
