//! Reading a conversation. Compiled once for each database.

use diesel::prelude::*;

use super::dialect::Conn;
use crate::store::{
    ConversationId, MessageId, StoreError, TurnId,
    messages::{Message, Page, Role},
    schema::messages,
};

/// The newest messages with numbers in `(last - count, last]`, oldest first.
pub fn window(
    conn: &mut Conn,
    conversation: ConversationId,
    last: i64,
    count: i64,
) -> QueryResult<Vec<Message>> {
    messages::table
        .filter(messages::conversation_id.eq(conversation))
        .filter(messages::seq.gt(last.saturating_sub(count)))
        .filter(messages::seq.le(last))
        .order(messages::seq)
        .select(Message::as_select())
        .load(conn)
}

/// The messages of a turn, oldest first.
pub fn of_turn(conn: &mut Conn, turn: TurnId) -> QueryResult<Vec<Message>> {
    messages::table
        .filter(messages::turn_id.eq(turn))
        .order(messages::seq)
        .select(Message::as_select())
        .load(conn)
}

pub fn page(
    conn: &mut Conn,
    conversation: ConversationId,
    before: Option<MessageId>,
    limit: i64,
) -> Result<Option<Page>, StoreError> {
    let mut below = i64::MAX;
    if let Some(before) = before {
        let seq = messages::table
            .filter(messages::id.eq(before))
            .filter(messages::conversation_id.eq(conversation))
            .select(messages::seq)
            .first(conn)
            .optional()?;
        let Some(seq) = seq else { return Ok(None) };
        below = seq;
    }
    let mut found = messages::table
        .filter(messages::conversation_id.eq(conversation))
        .filter(messages::seq.lt(below))
        .order(messages::seq.desc())
        .limit(limit + 1)
        .select(Message::as_select())
        .load(conn)?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let has_more = found.len() > limit;
    found.truncate(limit);
    found.reverse();
    Ok(Some(Page {
        messages: found,
        has_more,
    }))
}

/// What a turn answered, if it stored an answer.
pub fn answer(conn: &mut Conn, turn: TurnId) -> QueryResult<Option<Message>> {
    messages::table
        .filter(messages::turn_id.eq(turn))
        .filter(messages::role.eq(Role::Assistant))
        .order(messages::seq.desc())
        .select(Message::as_select())
        .first(conn)
        .optional()
}
