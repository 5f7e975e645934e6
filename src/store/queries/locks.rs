//! Locks on a conversation's row. Compiled once for each database. The fence is checked in `fence.rs`; a claim raises
//! it in `assignments.rs`.

use diesel::prelude::*;

use super::dialect::{Conn, lock_rows};
use crate::store::{
    ConversationId, ExpertId, MessageSeq, TurnId, UserId, schema::conversations, sessions::Mode,
};

/// The columns read when a conversation's row is locked.
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

/// Locks the conversations of running turns in the same order as batches, to avoid deadlocks.
pub fn lock_in_order(conn: &mut Conn, turns: &[TurnId]) -> QueryResult<()> {
    let held = conversations::table
        .filter(conversations::running_turn.eq_any(turns.iter().map(|turn| Some(*turn))))
        .order(conversations::id)
        .select(conversations::id);
    lock_rows!(held).load::<ConversationId>(conn).map(drop)
}
