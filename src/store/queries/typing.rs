//! Typing signals. Compiled once for each database.

use std::time::Duration;

use diesel::prelude::*;

use super::dialect::Conn;
use crate::store::{
    ConversationId, milliseconds,
    schema::{conversations, db_now_plus, users},
    sessions::Mode,
    typing::Typist,
};

/// The conversation, if it is the typist's and in expert mode.
macro_rules! held {
    ($id:expr, $typist:expr) => {{
        let held = conversations::table
            .filter(conversations::id.eq($id))
            .filter(conversations::mode.eq(Mode::Expert));
        let (device, expert) = match $typist {
            Typist::Owner(device) => (Some(device.handle()), None),
            Typist::Expert(expert) => (None, Some(*expert)),
        };
        let owner = users::table
            .filter(users::phone_number.nullable().eq(device))
            .select(users::id);
        held.filter(
            conversations::user_id
                .eq_any(owner)
                .nullable()
                .or(conversations::expert_id.eq(expert)),
        )
    }};
}

/// Whether a typing signal is news: true if the stored one ends within `left`. `None` if the conversation is
/// not the typist's, or not in expert mode.
pub fn is_news(
    conn: &mut Conn,
    id: ConversationId,
    typist: &Typist,
    left: Duration,
) -> QueryResult<Option<bool>> {
    let fresh = || db_now_plus(milliseconds(left)).nullable();
    let fresh: Option<(Option<bool>, Option<bool>)> = held!(id, typist)
        .select((
            conversations::visitor_types_until.gt(fresh()),
            conversations::expert_types_until.gt(fresh()),
        ))
        .first(conn)
        .optional()?;
    Ok(fresh.map(|(visitor, expert)| match typist {
        Typist::Owner(_) => visitor != Some(true),
        Typist::Expert(_) => expert != Some(true),
    }))
}

pub fn note(
    conn: &mut Conn,
    id: ConversationId,
    typist: &Typist,
    lasts: Duration,
) -> QueryResult<usize> {
    let until = db_now_plus(milliseconds(lasts)).nullable();
    match typist {
        Typist::Owner(_) => diesel::update(held!(id, typist))
            .set(conversations::visitor_types_until.eq(until))
            .execute(conn),
        Typist::Expert(_) => diesel::update(held!(id, typist))
            .set(conversations::expert_types_until.eq(until))
            .execute(conn),
    }
}
