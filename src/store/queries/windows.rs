//! Message counts of the rate limit that outlive a deleted session lock, so that deleting does not reset the limit.
//! Compiled once for each database.

use diesel::{prelude::*, sql_types::Bool, upsert::excluded};

use super::dialect::Conn;
use crate::store::{
    ConversationId, LimitKey, Owner, milliseconds,
    schema::{db_now_plus, kept_windows, session_locks},
    sessions::WINDOW,
    types::SqlTime,
};

/// Deletes an owner's session lock, or only one on the conversation `on`, and keeps its message count. Returns
/// whether there was such a lock.
pub fn delete_lock(
    conn: &mut Conn,
    device: &Owner,
    key: &LimitKey,
    on: Option<ConversationId>,
) -> QueryResult<bool> {
    let is_meant = session_locks::conversation_id
        .eq_any(on)
        .or(on.is_none().into_sql::<Bool>());
    let lock = session_locks::table
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(is_meant);
    let written: Option<(SqlTime, i64)> = diesel::delete(lock)
        .returning((session_locks::window_began, session_locks::window_count))
        .get_result(conn)
        .optional()?;
    let Some((began, count)) = written else {
        return Ok(false);
    };
    diesel::insert_into(kept_windows::table)
        .values((
            kept_windows::limit_key.eq(&key.0),
            kept_windows::window_began.eq(began),
            kept_windows::window_count.eq(count),
        ))
        .on_conflict(kept_windows::limit_key)
        .do_update()
        .set((
            kept_windows::window_began.eq(excluded(kept_windows::window_began)),
            kept_windows::window_count.eq(excluded(kept_windows::window_count)),
        ))
        .execute(conn)?;
    Ok(true)
}

/// The start and the message count of a window that is still running.
pub fn kept(conn: &mut Conn, key: &LimitKey) -> QueryResult<Option<(SqlTime, i64)>> {
    kept_windows::table
        .filter(kept_windows::limit_key.eq(&key.0))
        .filter(kept_windows::window_began.gt(db_now_plus(-milliseconds(WINDOW))))
        .select((kept_windows::window_began, kept_windows::window_count))
        .first(conn)
        .optional()
}

/// Deletes the windows that are over.
pub fn forget(conn: &mut Conn) -> QueryResult<usize> {
    let over = kept_windows::window_began.le(db_now_plus(-milliseconds(WINDOW)));
    diesel::delete(kept_windows::table.filter(over)).execute(conn)
}
