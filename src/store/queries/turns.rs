//! Finishes, closes and reads turns; [`super::begin`] begins them. Compiled once for each database.

use std::time::Instant;

use diesel::{dsl::exists, prelude::*, select};

use super::{
    dialect::{Conn, write_tx},
    fence, jobs, messages, queue, sessions,
};
use crate::store::{
    Attempt, ConversationId, FrameSeq, InstanceId, MessageSeq, Owner, StoreError, TurnId,
    cached::cached,
    error::Abort,
    jobs::Judging,
    messages::{FinishReason, MessageType, NewMessage},
    milliseconds,
    schema::{
        conversations, db_now, db_now_plus, session_locks, turn_events, turn_pieces, turns, users,
    },
    turns::{Finish, FinishTurn, KeptLog, StoredTurn, TurnRow, WidgetMessage},
    types::{JsonColumn, SqlTime},
};

pub fn finish(conn: &mut Conn, turn: &FinishTurn) -> Result<Finish, StoreError> {
    let finished = write_tx(conn, |conn| finish_within(conn, turn));
    Abort::outcome(finished, |()| Finish::Done)
}

fn finish_within(conn: &mut Conn, turn: &FinishTurn) -> Result<(), Abort<Finish>> {
    if let Some((agent, ttl)) = &turn.agent {
        sessions::hand_to_agent(conn, &turn.device, turn.conversation_id, agent, *ttl)?;
    }
    if turn.asks.is_some() || turn.with_person {
        sessions::keep(conn, turn.conversation_id, turn.asks.is_none())?;
    }
    if let Some(name) = &turn.user_name {
        let user = users::table.filter(users::id.eq(turn.user_id));
        diesel::update(user)
            .set(users::name.eq(name))
            .execute(conn)?;
    }
    let Some(seq) = release_lease(conn, turn)? else {
        return Err(Abort::With(finished_before(conn, turn)?));
    };
    if Instant::now() > turn.deadline {
        return Err(Abort::Failed(StoreError::Late));
    }
    end(conn, turn, seq)?;
    if let Some(ask) = &turn.asks {
        queue::ask(conn, turn.conversation_id, seq + 1, ask)?;
    }
    Ok(())
}

/// Stores a turn's end: answer, widgets, log. `seq` is the number of its last message.
pub fn end(conn: &mut Conn, turn: &FinishTurn, seq: MessageSeq) -> QueryResult<()> {
    if let Some(answer) = &turn.answer {
        let at = (turn.conversation_id, seq + 1 - turn.messages());
        let new = NewMessage {
            turn_id: Some(turn.turn_id),
            finish_reason: Some(turn.finish_reason),
            metadata: answer.metadata.clone().map(JsonColumn),
            ..NewMessage::new(
                answer.message_id,
                at,
                MessageType::AssistantResponse,
                &answer.body,
            )
        };
        messages::insert(conn, new)?;
    }
    if let Some(judging) = &turn.judging {
        jobs::add(conn, Judging::KIND, judging.into())?;
    }
    let first = seq + 1 - turn.messages() + i64::from(turn.answer.is_some());
    for (at, shown) in (0..).zip(&turn.widgets) {
        insert_widget(conn, turn, shown, first + at)?;
    }
    let ended = diesel::update(turns::table.filter(turns::id.eq(turn.turn_id))).set((
        turns::finish_reason.eq(turn.finish_reason),
        turns::error_code.eq(&turn.error_code),
        turns::input_tokens.eq(turn.usage.map(|usage| usage.0)),
        turns::output_tokens.eq(turn.usage.map(|usage| usage.1)),
        turns::finished_at.eq(db_now().nullable()),
    ));
    let _: TurnId = cached(ended.returning(turns::id)).get_result(conn)?;
    diesel::insert_into(turn_events::table)
        .values((
            turn_events::turn_id.eq(turn.turn_id),
            turn_events::attempt.eq(turn.attempt),
            turn_events::last_seq.eq(turn.last_seq),
            turn_events::records.eq(&turn.records),
            turn_events::expires_at.eq(db_now_plus(milliseconds(turn.log_kept))),
        ))
        .execute(conn)?;
    let pieces = turn_pieces::table
        .filter(turn_pieces::turn_id.eq(turn.turn_id))
        .filter(turn_pieces::attempt.eq(turn.attempt));
    diesel::delete(pieces).execute(conn)?;
    Ok(())
}

fn insert_widget(
    conn: &mut Conn,
    turn: &FinishTurn,
    shown: &WidgetMessage,
    seq: MessageSeq,
) -> QueryResult<()> {
    let at = (turn.conversation_id, seq);
    let new = NewMessage {
        turn_id: Some(turn.turn_id),
        component_type: Some(shown.kind),
        component_data: Some(JsonColumn(shown.data.clone())),
        finish_reason: Some(turn.finish_reason),
        metadata: shown.confirms.clone().map(JsonColumn),
        ..NewMessage::new(shown.message_id, at, MessageType::Widget, &shown.text)
    };
    messages::insert(conn, new)
}

/// Releases the lease and returns the number of the turn's last message; `None` if the fence is not the turn's.
fn release_lease(conn: &mut Conn, turn: &FinishTurn) -> QueryResult<Option<MessageSeq>> {
    use conversations::{agent_path, context, last_seq, state};
    let owned = fence::owned(turn.conversation_id, turn.turn_id, turn.fence);
    diesel::update(owned)
        .set((
            (
                conversations::running_turn.eq(None::<TurnId>),
                conversations::owner.eq(None::<InstanceId>),
                conversations::lease_until.eq(None::<SqlTime>),
                conversations::updated_at.eq(db_now()),
                last_seq.eq(last_seq + turn.messages() + i64::from(turn.asks.is_some())),
            ),
            // `None` leaves a column unchanged.
            turn.agent.as_ref().map(|(agent, _)| agent_path.eq(agent)),
            turn.state.clone().map(|new| state.eq(JsonColumn(new))),
            turn.context
                .clone()
                .map(|new| context.eq(Some(JsonColumn(new)))),
        ))
        .returning(last_seq - i64::from(turn.asks.is_some()))
        .get_result(conn)
        .optional()
}

/// The outcome for a turn that is not running any more: done if an earlier try was committed but its answer got lost.
fn finished_before(conn: &mut Conn, turn: &FinishTurn) -> QueryResult<Finish> {
    let reason: Option<FinishReason> = turns::table
        .filter(turns::id.eq(turn.turn_id))
        .filter(turns::fence.eq(turn.fence))
        // Not if an expert's claim has ended the turn, possibly with the same reason.
        .filter(turns::keep.is_null())
        .select(turns::finish_reason)
        .first(conn)
        .optional()?
        .flatten();
    let own = turn_events::table
        .filter(turn_events::turn_id.eq(turn.turn_id))
        .filter(turn_events::attempt.eq(turn.attempt))
        .count();
    let done = reason == Some(turn.finish_reason) && own.get_result::<i64>(conn)? > 0;
    Ok(if done { Finish::Done } else { Finish::Fenced })
}

/// The columns of a [`TurnRow`].
type Columns = (
    TurnId,
    ConversationId,
    Attempt,
    Option<FinishReason>,
    Option<String>,
    Option<FrameSeq>,
    Option<bool>,
);

/// Turns with their conversations, as [`Columns`].
macro_rules! rows {
    () => {
        turns::table
            .inner_join(conversations::table.on(conversations::id.eq(turns::conversation_id)))
            .select((
                turns::id,
                turns::conversation_id,
                turns::attempt,
                turns::finish_reason,
                turns::error_code,
                turns::keep,
                conversations::lease_until.le(db_now().nullable()),
            ))
    };
}

fn row(columns: Columns) -> TurnRow {
    let (id, conversation_id, attempt, finish_reason, error_code, keep, expired) = columns;
    TurnRow {
        is_abandoned: finish_reason.is_none() && expired == Some(true),
        id,
        conversation_id,
        attempt,
        finish_reason,
        error_code,
        keep,
    }
}

pub fn get(conn: &mut Conn, device: &Owner, turn: TurnId) -> QueryResult<Option<TurnRow>> {
    let found = rows!()
        .filter(turns::id.eq(turn))
        .filter(turns::device_id.eq(device.as_str()))
        .first(conn)
        .optional()?;
    Ok(found.map(row))
}

pub fn began_with(
    conn: &mut Conn,
    device: &Owner,
    turn: TurnId,
    request_hash: &[u8],
) -> QueryResult<bool> {
    let same = turns::table
        .filter(turns::id.eq(turn))
        .filter(turns::device_id.eq(device.as_str()))
        .filter(turns::request_hash.eq(request_hash));
    select(exists(same)).get_result(conn)
}

pub fn newest(conn: &mut Conn, device: &Owner) -> QueryResult<Option<TurnRow>> {
    let conversation: Option<ConversationId> = session_locks::table
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(session_locks::expires_at.gt(db_now()))
        .select(session_locks::conversation_id)
        .first(conn)
        .optional()?;
    let Some(conversation) = conversation else {
        return Ok(None);
    };
    let found = rows!()
        .filter(turns::conversation_id.eq(conversation))
        .filter(turns::merged_into.is_null())
        .order(turns::fence.desc())
        .first(conn)
        .optional()?;
    Ok(found.map(row))
}

/// Ends a turn as interrupted, without its owner. The raised fence blocks the owner's later writes.
pub fn close(conn: &mut Conn, conversation: ConversationId, turn: TurnId) -> QueryResult<()> {
    let held = conversations::table
        .filter(conversations::id.eq(conversation))
        .filter(conversations::running_turn.eq(turn));
    diesel::update(held)
        .set((
            conversations::running_turn.eq(None::<TurnId>),
            conversations::owner.eq(None::<InstanceId>),
            conversations::lease_until.eq(None::<SqlTime>),
            conversations::fence.eq(conversations::fence + 1),
        ))
        .execute(conn)?;
    diesel::update(
        turns::table
            .filter(turns::id.eq(turn))
            .filter(turns::finish_reason.is_null()),
    )
    .set((
        turns::finish_reason.eq(FinishReason::Interrupted),
        turns::error_code.eq("interrupted"),
        turns::finished_at.eq(db_now().nullable()),
    ))
    .execute(conn)?;
    Ok(())
}

/// The current state of these turns.
pub fn all(conn: &mut Conn, turns: impl Iterator<Item = TurnId>) -> QueryResult<Vec<TurnRow>> {
    let found: Vec<Columns> = rows!().filter(turns::id.eq_any(turns)).load(conn)?;
    Ok(found.into_iter().map(row).collect())
}

pub fn kept(conn: &mut Conn, turn: TurnId) -> QueryResult<StoredTurn> {
    let log = kept_log(conn, turn)?;
    let answer = messages::answer(conn, turn)?;
    Ok(StoredTurn { log, answer })
}

pub fn kept_log(conn: &mut Conn, turn: TurnId) -> QueryResult<Option<KeptLog>> {
    turn_events::table
        .filter(turn_events::turn_id.eq(turn))
        .filter(turn_events::expires_at.gt(db_now()))
        .order(turn_events::attempt.desc())
        .select(KeptLog::as_select())
        .first(conn)
        .optional()
}

pub fn request_stop(conn: &mut Conn, turn: TurnId) -> QueryResult<usize> {
    diesel::update(conversations::table.filter(conversations::running_turn.eq(turn)))
        .set(conversations::stop_requested.eq(true))
        .execute(conn)
}
