//! Exports and erases a visitor's data. Compiled once for each database.

use std::time::Duration;

use diesel::{
    dsl::{exists, not},
    prelude::*,
};

use super::{
    budgets,
    dialect::{Conn, scrub, write_tx},
    windows,
};
use crate::store::{
    ConversationId, LimitKey, Owner, StoreError, UserId,
    data::{ExportedConversation, ExportedUser},
    milliseconds,
    schema::{budgets as budget_rows, conversations, db_now_plus, session_locks, users},
};

pub fn visitor(conn: &mut Conn, handle: &str) -> QueryResult<Option<ExportedUser>> {
    users::table
        .filter(users::phone_number.eq(handle))
        .select(ExportedUser::as_select())
        .first(conn)
        .optional()
}

/// A later id sorts later.
pub fn next_conversation(
    conn: &mut Conn,
    user: UserId,
    after: Option<ConversationId>,
) -> QueryResult<Option<ExportedConversation>> {
    let mut of_user = conversations::table
        .filter(conversations::user_id.eq(user))
        .order(conversations::id)
        .select(ExportedConversation::as_select())
        .into_boxed();
    if let Some(after) = after {
        of_user = of_user.filter(conversations::id.gt(after));
    }
    of_user.first(conn).optional()
}

pub fn conversations(conn: &mut Conn, handle: &str) -> QueryResult<Vec<ExportedConversation>> {
    conversations::table
        .inner_join(users::table.on(users::id.eq(conversations::user_id)))
        .filter(users::phone_number.eq(handle))
        .order(conversations::created_at)
        .select(ExportedConversation::as_select())
        .load(conn)
}

/// Deletes the session lock first, as everywhere. Foreign keys delete the rest with the user.
pub fn erase(conn: &mut Conn, device: &Owner, key: &LimitKey) -> Result<bool, StoreError> {
    let erased = write_tx(conn, |conn| -> Result<bool, StoreError> {
        let had_lock = windows::delete_lock(conn, device, key, None)?;
        let user = || users::table.filter(users::phone_number.eq(device.handle()));
        let own = conversations::table
            .filter(conversations::user_id.eq_any(user().select(users::id)))
            .select(conversations::id);
        let own = own.load(conn)?;
        let reserved = budgets::take_reserved(conn, own)?;
        let users = diesel::delete(user()).execute(conn)?;
        budgets::count_spent(conn, reserved)?;
        // The scope's name in earlier versions, which had no limit key.
        let by_id = format!("device:{}", device.as_str());
        diesel::delete(budget_rows::table.filter(budget_rows::scope.eq(by_id))).execute(conn)?;
        Ok(had_lock || users > 0)
    })?;
    scrub(conn)?;
    Ok(erased)
}

/// `before`: an upper bound for the ids of conversations that may be erased. Ids sort by creation, so no
/// index on the time is needed. Deletes session locks first, as everywhere.
pub fn erase_old(
    conn: &mut Conn,
    before: ConversationId,
    kept: Duration,
    limit: i64,
) -> Result<usize, StoreError> {
    let since = || db_now_plus(-milliseconds(kept));
    write_tx(conn, |conn| {
        let old = conversations::table
            .filter(conversations::id.lt(before))
            .filter(conversations::updated_at.lt(since()))
            .filter(conversations::running_turn.is_null())
            .order(conversations::id)
            .limit(limit)
            .select((conversations::id, conversations::user_id));
        let old: Vec<(ConversationId, UserId)> = old.load(conn)?;
        if old.is_empty() {
            return Ok(0);
        }
        let ids = || old.iter().map(|(id, _)| *id);
        let locks = session_locks::table
            .filter(session_locks::conversation_id.eq_any(ids()))
            .filter(session_locks::locked_at.lt(since()));
        diesel::delete(locks).execute(conn)?;
        // Checks again: a visitor who has just come back keeps the conversation and the user row.
        let rows = conversations::table
            .filter(conversations::id.eq_any(ids()))
            .filter(conversations::updated_at.lt(since()))
            .filter(conversations::running_turn.is_null());
        let erased = diesel::delete(rows).execute(conn)?;
        let people = users::table
            .filter(users::id.eq_any(old.iter().map(|(_, user)| *user)))
            .filter(users::last_seen_at.lt(since()))
            .filter(not(exists(
                conversations::table.filter(conversations::user_id.eq(users::id)),
            )));
        diesel::delete(people).execute(conn)?;
        Ok(erased)
    })
}
