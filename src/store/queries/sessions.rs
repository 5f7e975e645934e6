//! Session locks: get, set, clear, clean up. Compiled once for each database.

use std::time::Duration;

use diesel::{dsl::case_when, prelude::*, sql_types::Bool, upsert::excluded};

use super::{
    conversations,
    dialect::{Conn, skip_locked, write_tx},
    queue, windows,
};
use crate::store::{
    ConversationId, Owner, StoreError,
    cached::cached,
    milliseconds,
    schema::{conversations as conversation_rows, db_now, db_now_plus, session_locks},
    seconds,
    sessions::{LockRequest, Mode, SessionLock, WINDOW, Within},
};

/// Lifetime of a session lock while an expert has the conversation, or is asked for.
const WITH_PERSON: Duration = Duration::from_secs(30 * 24 * 3600);

pub fn get(conn: &mut Conn, device: &Owner) -> QueryResult<Option<(SessionLock, Mode)>> {
    session_locks::table
        .inner_join(
            conversation_rows::table.on(conversation_rows::id.eq(session_locks::conversation_id)),
        )
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(session_locks::expires_at.gt(db_now()))
        .select((SessionLock::as_select(), conversation_rows::mode))
        .first(conn)
        .optional()
}

/// Takes the lock or refreshes it. An expired lock starts over, with the new conversation and
/// the request's agent, if any. The returned lock's conversation is the new one if and only if
/// there was no live lock.
pub fn set(conn: &mut Conn, request: &LockRequest) -> QueryResult<SessionLock> {
    use session_locks::{
        active_agent, conversation_id, device_id, expires_at, locked_at, session_ttl, window_began,
        window_count,
    };
    let ttl = request.ttl();
    let count = i64::from(request.messages);
    let moves = request.agent.is_some();
    // A live lock keeps its agent and lifetime, unless the request moves it to another agent.
    let anew = || expires_at.le(db_now()).or(moves.into_sql::<Bool>());
    let expired = || expires_at.le(db_now());
    let window_over = || window_began.le(db_now_plus(-milliseconds(WINDOW)));
    let lock = diesel::insert_into(session_locks::table)
        .values((
            device_id.eq(request.device.as_str()),
            conversation_id.eq(request.new_conversation),
            active_agent.eq(request.agent.as_deref()),
            locked_at.eq(db_now()),
            session_ttl.eq(seconds(ttl)),
            expires_at.eq(db_now_plus(milliseconds(ttl))),
            window_began.eq(db_now()),
            window_count.eq(count),
        ))
        .on_conflict(device_id)
        .do_update()
        .set((
            conversation_id
                .eq(case_when(expired(), excluded(conversation_id)).otherwise(conversation_id)),
            active_agent.eq(case_when(anew(), excluded(active_agent)).otherwise(active_agent)),
            locked_at.eq(excluded(locked_at)),
            session_ttl.eq(case_when(anew(), excluded(session_ttl)).otherwise(session_ttl)),
            expires_at.eq(case_when(anew(), excluded(expires_at))
                .otherwise(db_now_plus(session_ttl * 1_000_i64))),
            window_began
                .eq(case_when(window_over(), excluded(window_began)).otherwise(window_began)),
            window_count
                .eq(case_when(window_over(), excluded(window_count))
                    .otherwise(window_count + count)),
        ))
        .returning(SessionLock::as_returning());
    let lock: SessionLock = cached(lock).get_result(conn)?;
    // A new lock or a new window: the window of a deleted lock may still be running.
    match lock.window_count == count {
        true => count_kept(conn, request, lock),
        false => Ok(lock),
    }
}

/// Adds the count of the owner's deleted lock, if its window is still running.
fn count_kept(
    conn: &mut Conn,
    request: &LockRequest,
    lock: SessionLock,
) -> QueryResult<SessionLock> {
    let Some((began, count)) = windows::kept(conn, &request.limit_key)? else {
        return Ok(lock);
    };
    diesel::update(session_locks::table)
        .filter(session_locks::device_id.eq(request.device.as_str()))
        .set((
            session_locks::window_began.eq(began),
            session_locks::window_count.eq(session_locks::window_count + count),
        ))
        .returning(SessionLock::as_returning())
        .get_result(conn)
}

/// Extends the locks on a conversation in expert mode: the expert may answer tomorrow. `if_theirs`: not if the
/// conversation was given back to the agents meanwhile.
pub fn keep(conn: &mut Conn, conversation: ConversationId, if_theirs: bool) -> QueryResult<usize> {
    let held = conversation_rows::table
        .filter(conversation_rows::id.eq(conversation))
        .filter(
            conversation_rows::mode
                .eq(Mode::Expert)
                .or((!if_theirs).into_sql::<Bool>()),
        )
        .select(conversation_rows::id);
    diesel::update(session_locks::table)
        .filter(session_locks::conversation_id.eq_any(held))
        .filter(session_locks::expires_at.gt(db_now()))
        .set(session_locks::expires_at.eq(db_now_plus(milliseconds(WITH_PERSON))))
        .execute(conn)
}

/// Gives the locks their normal lifetime again, once agents answer.
pub fn let_go(conn: &mut Conn, conversation: ConversationId) -> QueryResult<usize> {
    diesel::update(session_locks::table)
        .filter(session_locks::conversation_id.eq(conversation))
        .filter(session_locks::expires_at.gt(db_now()))
        .set(session_locks::expires_at.eq(db_now_plus(session_locks::session_ttl * 1_000_i64)))
        .execute(conn)
}

/// Moves a lock to the request's conversation; `None` if that is not the user's. A resumed
/// conversation keeps its agent, unless the request names one.
pub fn go_to(
    conn: &mut Conn,
    request: &LockRequest,
    lock: SessionLock,
) -> QueryResult<Option<SessionLock>> {
    let (conversation, agent) = match &request.within {
        Within::Session => return Ok(Some(lock)),
        Within::New => (request.new_conversation, None),
        Within::Named(name) => {
            let known = conversations::of_session(conn, &request.device, name)?;
            known.unwrap_or((request.new_conversation, None))
        }
        Within::Conversation(id) => match conversations::by_id(conn, &request.device, *id)? {
            Some(known) => known,
            None => return Ok(None),
        },
    };
    if conversation == lock.conversation_id {
        return Ok(Some(lock));
    }
    let moved = diesel::update(session_locks::table)
        .filter(session_locks::device_id.eq(request.device.as_str()))
        .set((
            session_locks::conversation_id.eq(conversation),
            session_locks::active_agent.eq(request.agent.clone().or(agent)),
            session_locks::session_ttl.eq(seconds(request.ttl())),
            session_locks::expires_at.eq(db_now_plus(milliseconds(request.ttl()))),
        ))
        .returning(SessionLock::as_returning());
    cached(moved).get_result(conn).map(Some)
}

/// Moves an owner's lock on a conversation to an agent, and sets the agent's lifetime.
pub fn hand_to_agent(
    conn: &mut Conn,
    device: &Owner,
    conversation: ConversationId,
    agent: &str,
    ttl: Duration,
) -> QueryResult<Option<ConversationId>> {
    let handed = diesel::update(session_locks::table)
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(session_locks::conversation_id.eq(conversation))
        .set((
            session_locks::active_agent.eq(agent),
            session_locks::locked_at.eq(db_now()),
            session_locks::session_ttl.eq(seconds(ttl)),
            session_locks::expires_at.eq(db_now_plus(milliseconds(ttl))),
        ))
        .returning(session_locks::conversation_id);
    cached(handed).get_result(conn).optional()
}

pub fn clear(conn: &mut Conn, device: &Owner) -> Result<bool, StoreError> {
    write_tx(conn, |conn| {
        let left = end(conn, device)?;
        // The owner will not come back to the conversation.
        if let Some(conversation) = left {
            queue::leave(conn, conversation)?;
        }
        Ok(left.is_some())
    })
}

/// Ends an owner's live lock. Returns its conversation.
pub fn end(conn: &mut Conn, device: &Owner) -> QueryResult<Option<ConversationId>> {
    let live = session_locks::table
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(session_locks::expires_at.gt(db_now()));
    diesel::update(live)
        .set(session_locks::expires_at.eq(db_now()))
        .returning(session_locks::conversation_id)
        .get_result(conn)
        .optional()
}

/// Selects the ids first, skipping locked rows, so that two sweepers never wait for each other.
pub fn clean_up(conn: &mut Conn, limit: i64) -> Result<usize, StoreError> {
    windows::forget(conn)?;
    let expired: Vec<SessionLock> = write_tx(conn, |conn| -> Result<_, StoreError> {
        let expired = session_locks::table
            .filter(session_locks::expires_at.le(db_now()))
            .filter(session_locks::window_began.le(db_now_plus(-milliseconds(WINDOW))))
            .order(session_locks::expires_at)
            .limit(limit)
            .select(session_locks::device_id);
        let devices: Vec<String> = skip_locked!(expired).load(conn)?;
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let rows = session_locks::table.filter(session_locks::device_id.eq_any(devices));
        let deleted = diesel::delete(rows).returning(SessionLock::as_returning());
        Ok(deleted.get_results(conn)?)
    })?;
    for lock in &expired {
        tracing::debug!(
            conversation.id = %lock.conversation_id,
            session.agent = lock.active_agent,
            session.ttl_seconds = lock.session_ttl,
            session.lock = "expired",
            "session lock"
        );
    }
    Ok(expired.len())
}
