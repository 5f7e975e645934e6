//! Adopts turns whose lease has expired. Compiled once for each database.

use std::time::Duration;

use diesel::prelude::*;

use super::{
    columns::ConversationState,
    dialect::{Conn, lock_rows, write_tx},
    fence, messages,
    turns::close,
};
use crate::store::{
    Attempt, ConversationId, Fence, InstanceId, Owner, StoreError, TurnId,
    adopt::{Adopt, Adoption},
    begin::{BeginTurn, Started},
    milliseconds,
    schema::{conversations, db_now, db_now_plus, session_locks, turns},
};

pub fn adopt(conn: &mut Conn, adopt: &Adopt) -> Result<Adoption, StoreError> {
    write_tx(conn, |conn| adopt_within(conn, adopt))
}

fn adopt_within(conn: &mut Conn, adopt: &Adopt) -> Result<Adoption, StoreError> {
    let abandoned = conversations::table
        .filter(conversations::running_turn.eq(adopt.turn_id))
        .filter(conversations::lease_until.le(db_now().nullable()))
        .select(conversations::id);
    let abandoned: Option<ConversationId> = lock_rows!(abandoned).first(conn).optional()?;
    let Some(conversation) = abandoned else {
        return Ok(Adoption::NotAbandoned);
    };
    let row = turns::table.filter(turns::id.eq(adopt.turn_id));
    let (attempt, device): (Attempt, Option<String>) =
        row.select((turns::attempt, turns::device_id)).first(conn)?;
    let device = device.map(Owner::stored);
    let (true, Some(device)) = (attempt.0 < adopt.attempts, device) else {
        close(conn, conversation, adopt.turn_id)?;
        return Ok(Adoption::Closed);
    };
    let held: ConversationState =
        diesel::update(conversations::table.filter(conversations::id.eq(conversation)))
            .set((
                conversations::owner.eq(adopt.instance),
                conversations::lease_until.eq(db_now_plus(milliseconds(adopt.lease)).nullable()),
                conversations::fence.eq(conversations::fence + 1),
            ))
            .returning(ConversationState::as_returning())
            .get_result(conn)?;
    diesel::update(row)
        .set((
            turns::attempt.eq(attempt.next()),
            turns::fence.eq(held.fence),
        ))
        .execute(conn)?;
    let started = started(
        conn,
        held,
        adopt.turn_id,
        attempt.next(),
        device,
        adopt.history,
    )?;
    Ok(Adoption::Adopted(Box::new(started)))
}

/// What is needed to run a turn that began earlier.
fn started(
    conn: &mut Conn,
    held: ConversationState,
    turn_id: TurnId,
    attempt: Attempt,
    device: Owner,
    history: u32,
) -> QueryResult<Started> {
    let agent = session_locks::table
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(session_locks::conversation_id.eq(held.id))
        .select(session_locks::active_agent)
        .first::<Option<String>>(conn)
        .optional()?
        .flatten();
    let mut history = messages::window(conn, held.id, held.last_seq, history.into())?;
    // All of the turn's own messages, even those beyond the window.
    history.retain(|message| message.turn_id != Some(turn_id));
    history.extend(messages::of_turn(conn, turn_id)?);
    Ok(Started {
        turn_id,
        attempt,
        device,
        conversation_id: held.id,
        user_id: held.user_id,
        user_name: None,
        fence: held.fence,
        agent: agent.or_else(|| held.agent_path.clone()),
        agent_before: held.agent_path,
        mode: held.mode,
        state: held.state,
        context: held.context.map(|context| context.0),
        history,
    })
}

/// A turn whose beginning was committed although its owner did not get the answer.
pub fn begun(conn: &mut Conn, turn: &BeginTurn) -> QueryResult<Option<Started>> {
    let first = turns::table
        .filter(turns::id.eq(turn.turn_id))
        .filter(turns::attempt.eq(Attempt::FIRST))
        .select(turns::fence);
    let held: Option<ConversationState> = conversations::table
        .filter(conversations::running_turn.eq(turn.turn_id))
        .filter(conversations::owner.eq(turn.instance))
        .filter(conversations::fence.eq_any(first))
        .select(ConversationState::as_select())
        .first(conn)
        .optional()?;
    let Some(held) = held else {
        return Ok(None);
    };
    let (id, device) = (turn.turn_id, turn.lock.device.clone());
    started(conn, held, id, Attempt::FIRST, device, turn.history).map(Some)
}

/// Turns whose lease has expired, the oldest lease first.
pub fn abandoned(conn: &mut Conn, limit: i64) -> QueryResult<Vec<TurnId>> {
    let turns: Vec<Option<TurnId>> = conversations::table
        .filter(conversations::running_turn.is_not_null())
        .filter(conversations::lease_until.le(db_now().nullable()))
        .order(conversations::lease_until)
        .limit(limit)
        .select(conversations::running_turn)
        .load(conn)?;
    Ok(turns.into_iter().flatten().collect())
}

/// Releases a turn's lease, so that another instance can adopt the turn at once.
pub fn release(
    conn: &mut Conn,
    conversation: ConversationId,
    turn: TurnId,
    fence: Fence,
) -> QueryResult<usize> {
    diesel::update(fence::owned(conversation, turn, fence))
        .set((
            // So that this instance cannot renew the lease any more.
            conversations::owner.eq(None::<InstanceId>),
            conversations::lease_until.eq(db_now().nullable()),
        ))
        .execute(conn)
}

/// Expires the leases of all other instances. For the start of the only instance that uses a
/// database.
pub fn release_all(conn: &mut Conn, instance: InstanceId) -> QueryResult<usize> {
    let running = conversations::table
        .filter(conversations::running_turn.is_not_null())
        .filter(conversations::owner.ne(instance));
    diesel::update(running)
        .set(conversations::lease_until.eq(db_now().nullable()))
        .execute(conn)
}

/// Closes turns whose lease expired at least `since` ago and that no instance has adopted.
pub fn close_forgotten(conn: &mut Conn, since: Duration, limit: i64) -> Result<usize, StoreError> {
    write_tx(conn, |conn| {
        let forgotten = conversations::table
            .filter(conversations::running_turn.is_not_null())
            .filter(conversations::lease_until.le(db_now_plus(-milliseconds(since)).nullable()))
            .order(conversations::lease_until)
            .limit(limit)
            .select((conversations::id, conversations::running_turn));
        let forgotten: Vec<(ConversationId, Option<TurnId>)> =
            super::dialect::skip_locked!(forgotten).load(conn)?;
        for (conversation, turn) in &forgotten {
            if let Some(turn) = turn {
                close(conn, *conversation, *turn)?;
            }
        }
        Ok(forgotten.len())
    })
}
