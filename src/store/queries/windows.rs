//! How much a device has written in its minute, kept when its session lock is deleted: so nobody writes more by
//! deleting. Compiled once for each database.

use diesel::{prelude::*, sql_types::Bool, upsert::excluded};

use super::dialect::Conn;
use crate::store::{
    ConversationId, LimitKey, Owner, milliseconds,
    schema::{db_now_plus, kept_windows, session_locks},
    sessions::WINDOW,
    types::SqlTime,
};

/// Deletes a device's session lock, or that on one conversation, and keeps how much it has written; whether there
/// was such a lock.
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

/// What was written in a minute that is not over, and when that began.
pub fn kept(conn: &mut Conn, key: &LimitKey) -> QueryResult<Option<(SqlTime, i64)>> {
    kept_windows::table
        .filter(kept_windows::limit_key.eq(&key.0))
        .filter(kept_windows::window_began.gt(db_now_plus(-milliseconds(WINDOW))))
        .select((kept_windows::window_began, kept_windows::window_count))
        .first(conn)
        .optional()
}

/// Forgets those whose minute is over.
pub fn forget(conn: &mut Conn) -> QueryResult<usize> {
    let over = kept_windows::window_began.le(db_now_plus(-milliseconds(WINDOW)));
    diesel::delete(kept_windows::table.filter(over)).execute(conn)
}
