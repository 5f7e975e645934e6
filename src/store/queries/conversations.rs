//! The conversations of a signed-in user. Compiled once for each database.

use diesel::{dsl::exists, prelude::*, sql_types::BigInt};

use super::{
    budgets,
    columns::{ConversationState, columns},
    dialect::{Conn, lock_rows, scrub, write_tx},
    messages, queue, users as people, windows,
};
use crate::store::{
    ConversationId, LimitKey, Owner, StoreError, TurnId, UserId,
    conversations::{AgentView, Changes, Conversation, MoveOutcome, Snapshot, Status},
    error::Abort,
    schema::{conversations, db_now, session_locks, turns, users},
};

/// Filters for the conversations of the user with this handle.
macro_rules! of_handle {
    ($handle:expr) => {
        conversations::user_id.eq_any(
            users::table
                .filter(users::phone_number.eq($handle))
                .select(users::id),
        )
    };
}

pub fn count(conn: &mut Conn, handle: &str, status: Option<Status>) -> QueryResult<i64> {
    let mut found = conversations::table
        .filter(of_handle!(handle))
        .count()
        .into_boxed();
    if let Some(status) = status {
        found = found.filter(conversations::status.eq(status));
    }
    found.get_result(conn)
}

/// The newest first. Ids break ties: a later id sorts later.
pub fn list(
    conn: &mut Conn,
    handle: &str,
    status: Option<Status>,
    (limit, skipped): (i64, i64),
) -> QueryResult<Vec<Conversation>> {
    let mut found = conversations::table
        .filter(of_handle!(handle))
        .order((conversations::created_at.desc(), conversations::id.desc()))
        .limit(limit)
        .offset(skipped)
        .select(columns!(brief))
        .into_boxed();
    if let Some(status) = status {
        found = found.filter(conversations::status.eq(status));
    }
    found.load(conn)
}

pub fn get(conn: &mut Conn, handle: &str, id: ConversationId) -> QueryResult<Option<Conversation>> {
    conversations::table
        .filter(conversations::id.eq(id))
        .filter(of_handle!(handle))
        .select(columns!())
        .first(conn)
        .optional()
}

/// A user's conversation and its agent.
pub fn by_id(
    conn: &mut Conn,
    user: &Owner,
    id: ConversationId,
) -> QueryResult<Option<(ConversationId, Option<String>)>> {
    conversations::table
        .filter(conversations::id.eq(id))
        .filter(of_handle!(user.handle()))
        .select((conversations::id, conversations::agent_path))
        .first(conn)
        .optional()
}

/// The user's conversation with this client-chosen name or, failing that, with this id; and its agent.
pub fn of_session(
    conn: &mut Conn,
    user: &Owner,
    name: &str,
) -> QueryResult<Option<(ConversationId, Option<String>)>> {
    let named = conversations::table
        .filter(of_handle!(user.handle()))
        .filter(conversations::session_key.eq(name))
        .select((conversations::id, conversations::agent_path))
        .first(conn)
        .optional()?;
    match (named, name.parse::<ConversationId>()) {
        (None, Ok(id)) => by_id(conn, user, id),
        (named, _) => Ok(named),
    }
}

/// Like [`of_session`], for a user's id and without the agent.
pub fn session_of_user(
    conn: &mut Conn,
    user: UserId,
    name: &str,
) -> QueryResult<Option<ConversationId>> {
    let of_user = || conversations::table.filter(conversations::user_id.eq(user));
    let named = of_user()
        .filter(conversations::session_key.eq(name))
        .select(conversations::id)
        .first(conn)
        .optional()?;
    match (named, name.parse::<ConversationId>()) {
        (None, Ok(id)) => of_user()
            .filter(conversations::id.eq(id))
            .select(conversations::id)
            .first(conn)
            .optional(),
        (named, _) => Ok(named),
    }
}

pub fn known(conn: &mut Conn, id: ConversationId, count: i64) -> QueryResult<Option<AgentView>> {
    let held = conversations::table
        .filter(conversations::id.eq(id))
        .select(ConversationState::as_select())
        .first(conn)
        .optional()?;
    let Some(held) = held else {
        return Ok(None);
    };
    let history = messages::window(conn, id, held.last_seq, count)?;
    Ok(Some(AgentView {
        agent_path: held.agent_path,
        state: held.state,
        context: held.context.map(|context| context.0),
        history,
    }))
}

pub fn snapshots(
    conn: &mut Conn,
    ids: &[ConversationId],
) -> QueryResult<Vec<(ConversationId, Snapshot)>> {
    let mut snapshots: Vec<(ConversationId, Snapshot)> = conversations::table
        .filter(conversations::id.eq_any(ids))
        .select((
            conversations::id,
            (
                conversations::last_seq,
                conversations::mode,
                conversations::running_turn,
                conversations::user_id,
                conversations::expert_id,
                conversations::waiting_since.is_not_null(),
                0_i64.into_sql::<BigInt>(),
                exists(
                    session_locks::table
                        .filter(session_locks::conversation_id.eq(conversations::id)),
                ),
                conversations::visitor_types_until.gt(db_now().nullable()),
                conversations::expert_types_until.gt(db_now().nullable()),
            ),
        ))
        .load(conn)?;
    if snapshots.iter().any(|(_, snapshot)| snapshot.is_waiting) {
        let places = queue::places(conn)?;
        for (id, snapshot) in snapshots
            .iter_mut()
            .filter(|(_, snapshot)| snapshot.is_waiting)
        {
            snapshot.position = queue::position(&places, *id);
        }
    }
    Ok(snapshots)
}

pub fn change(
    conn: &mut Conn,
    handle: &str,
    id: ConversationId,
    changes: &Changes,
) -> QueryResult<Option<Conversation>> {
    let title = changes.title.as_deref();
    let title = title.map(|title| Some(title).filter(|title| !title.is_empty()));
    write_tx(conn, |conn| {
        let own = conversations::table
            .filter(conversations::id.eq(id))
            .filter(of_handle!(handle));
        let changed = diesel::update(own)
            .set((
                // `None` leaves a column unchanged.
                title.map(|title| conversations::title.eq(title)),
                changes
                    .status
                    .map(|status| conversations::status.eq(status)),
                conversations::updated_at.eq(db_now()),
            ))
            .execute(conn)?;
        let is_over = changes
            .status
            .is_some_and(|status| status != Status::Active);
        if is_over && changed > 0 {
            queue::leave(conn, id)?;
        }
        get(conn, handle, id)
    })
}

/// Locks session locks first, as everywhere. Foreign keys delete the rest with the conversation.
pub fn delete(
    conn: &mut Conn,
    user: &Owner,
    key: &LimitKey,
    id: ConversationId,
) -> Result<bool, StoreError> {
    let deleted = write_tx(conn, |conn| -> Result<bool, StoreError> {
        let own = || {
            conversations::table
                .filter(conversations::id.eq(id))
                .filter(of_handle!(user.handle()))
        };
        // Whichever conversation the session lock is on: it may be moving to this one.
        let lock = session_locks::table
            .filter(session_locks::device_id.eq(user.as_str()))
            .select(session_locks::device_id);
        let _locked: Option<String> = lock_rows!(lock).first(conn).optional()?;
        windows::delete_lock(conn, user, key, Some(id))?;
        let own_id = own().select(conversations::id).load(conn)?;
        let reserved = budgets::take_reserved(conn, own_id)?;
        let deleted = diesel::delete(own()).execute(conn)?;
        budgets::count_spent(conn, reserved)?;
        Ok(deleted > 0)
    })?;
    scrub(conn)?;
    Ok(deleted)
}

/// Moves a device's conversations to a user, and deletes the device's user row. Its name is kept if the user has none.
pub fn keep(
    conn: &mut Conn,
    device: &Owner,
    key: &LimitKey,
    user: &Owner,
    new_user: UserId,
) -> Result<MoveOutcome, StoreError> {
    let kept = write_tx(conn, |conn| keep_within(conn, device, key, user, new_user));
    Abort::outcome(kept, |user| {
        if let Some(user) = user {
            people::log_new(user, new_user);
        }
        MoveOutcome::Done
    })
}

fn keep_within(
    conn: &mut Conn,
    device: &Owner,
    key: &LimitKey,
    user: &Owner,
    new_user: UserId,
) -> Result<Option<UserId>, Abort<MoveOutcome>> {
    windows::delete_lock(conn, device, key, None)?;
    // Locked, so that a conversation being opened for the device is committed and found below.
    let known = users::table
        .filter(users::phone_number.eq(device.handle()))
        .select((users::id, users::name));
    let known: Option<(UserId, Option<String>)> = lock_rows!(known).first(conn).optional()?;
    windows::delete_lock(conn, device, key, None)?;
    let Some((visitor, name)) = known else {
        return Ok(None);
    };
    let (id, own_name) = people::person(conn, new_user, user)?;
    let of_visitor = || conversations::table.filter(conversations::user_id.eq(visitor));
    let moved: Vec<(ConversationId, Option<TurnId>)> = diesel::update(of_visitor())
        .set(conversations::user_id.eq(id))
        .returning((conversations::id, conversations::running_turn))
        .get_results(conn)?;
    if moved.iter().any(|(_, running)| running.is_some()) {
        return Err(Abort::With(MoveOutcome::Busy));
    }
    diesel::update(
        turns::table.filter(turns::conversation_id.eq_any(moved.iter().map(|(id, _)| *id))),
    )
    .set((
        turns::device_id.eq(user.as_str()),
        // The user may have used the same key.
        turns::idempotency_key.eq(None::<String>),
    ))
    .execute(conn)?;
    if own_name.is_none() && name.is_some() {
        diesel::update(users::table.filter(users::id.eq(id)))
            .set(users::name.eq(name))
            .execute(conn)?;
    }
    diesel::delete(users::table.filter(users::id.eq(visitor))).execute(conn)?;
    Ok(Some(id))
}
