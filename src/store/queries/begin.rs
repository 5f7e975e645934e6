//! Begins a turn. Compiled once for each database.
//!
//! To avoid deadlocks, rows are locked in this order everywhere: session lock, user, conversation, turn.

use std::time::Instant;

use diesel::{dsl::exists, prelude::*, select};
use serde_json::{Value, json};

use super::{
    columns::ConversationState,
    dialect::{Conn, write_tx},
    idempotency, locks, messages, sessions, users,
};
use crate::store::{
    Attempt, ConversationId, Fence, MessageId, MessageSeq, StoreError, TurnId, UserId,
    begin::{Begin, BeginTurn, BusyTurn, Started, UserMessage},
    cached::cached,
    conversations::Status,
    data::OpenOutcome,
    error::Abort,
    messages::FinishReason,
    milliseconds,
    schema::{conversations, db_now, db_now_plus, messages as message_rows, turns},
    sessions::LockRequest,
    types::{JsonColumn, SqlTime},
};

pub fn begin(conn: &mut Conn, turn: &BeginTurn) -> Result<Begin, StoreError> {
    if !turn.sent.send() {
        return Err(StoreError::Late);
    }
    let begun = write_tx(conn, |conn| begin_within(conn, turn));
    Abort::outcome(begun, |started| {
        users::log_new(started.user_id, turn.new_user);
        Begin::Started(Box::new(started))
    })
}

fn begin_within(conn: &mut Conn, turn: &BeginTurn) -> Result<Started, Abort<Begin>> {
    let lock = sessions::set(conn, &turn.lock)?;
    // The session lock's row is locked: a request with the same key has committed, or waits for this one.
    for said in turn.earlier.iter().chain([&turn.said]) {
        if let Some(idempotency) = said.idempotency() {
            idempotency::check_key(conn, &turn.lock.device, &idempotency)?;
        }
    }
    if let Some(wait) = lock.wait(turn.lock.limit) {
        return Err(Abort::With(Begin::Limited(wait)));
    }
    let Some(lock) = sessions::go_to(conn, &turn.lock, lock)? else {
        return Err(Abort::With(Begin::NoConversation));
    };
    // A widget's answer is never merged with waiting messages.
    for said in turn.earlier.iter().chain([&turn.said]) {
        if let Some(answers) = &said.answers {
            check_answer(conn, lock.conversation_id, answers.widget)?;
        }
    }
    let (held, user_name) = if lock.conversation_id == turn.lock.new_conversation {
        open_conversation(conn, turn)?
    } else {
        (
            continue_conversation(conn, turn, lock.conversation_id)?,
            None,
        )
    };
    insert_turn(conn, turn, held.id, held.fence)?;
    let first = held.last_seq - count(turn) + 1;
    for (at, said) in (0..).zip(turn.earlier.iter().chain([&turn.said])) {
        messages::insert(conn, said.row(turn.turn_id, held.id, first + at))?;
    }
    let history = messages::window(conn, held.id, held.last_seq, turn.history.into())?;
    if Instant::now() > turn.deadline {
        return Err(Abort::Failed(StoreError::Late));
    }
    Ok(Started {
        turn_id: turn.turn_id,
        attempt: Attempt::FIRST,
        device: turn.lock.device.clone(),
        conversation_id: held.id,
        user_id: held.user_id,
        user_name,
        fence: held.fence,
        agent: lock.active_agent,
        agent_before: held.agent_path,
        mode: held.mode,
        state: held.state,
        context: held.context.map(|context| context.0),
        history,
    })
}

/// Aborts unless the widget is in this conversation and unanswered. The session lock's row must be locked.
fn check_answer(
    conn: &mut Conn,
    conversation: ConversationId,
    widget: MessageId,
) -> Result<(), Abort<Begin>> {
    // From here on the widget cannot be retracted.
    locks::lock(conn, conversation)?;
    if !messages::holds_widget(conn, conversation, widget)? {
        return Err(Abort::With(Begin::NoWidget));
    }
    let answered = message_rows::table.filter(message_rows::answers.eq(widget));
    match select(exists(answered)).get_result(conn)? {
        true => Err(Abort::With(Begin::Answered)),
        false => Ok(()),
    }
}

fn open_conversation(
    conn: &mut Conn,
    turn: &BeginTurn,
) -> QueryResult<(ConversationState, Option<String>)> {
    let (user_id, user_name) = users::person(conn, turn.new_user, &turn.lock.device)?;
    let first = turn.earlier.first().unwrap_or(&turn.said);
    let held = diesel::insert_into(conversations::table)
        .values((
            conversations::id.eq(turn.lock.new_conversation),
            conversations::user_id.eq(user_id),
            conversations::user_input.eq(&first.body),
            conversations::state.eq(JsonColumn(json!({}))),
            conversations::context.eq(turn.context.clone().map(JsonColumn)),
            conversations::session_key.eq(turn.lock.within.name()),
            conversations::last_seq.eq(count(turn)),
            conversations::running_turn.eq(turn.turn_id),
            conversations::owner.eq(turn.instance),
            conversations::lease_until.eq(db_now_plus(milliseconds(turn.lease)).nullable()),
            conversations::fence.eq(Fence(1)),
            conversations::created_at.eq(db_now()),
            conversations::updated_at.eq(db_now()),
        ))
        .returning(ConversationState::as_returning())
        .get_result(conn)?;
    Ok((held, user_name))
}

/// Opens an empty conversation. The owner leaves the current one.
pub fn open(
    conn: &mut Conn,
    new_user: UserId,
    lock: &LockRequest,
    context: Option<Value>,
) -> Result<OpenOutcome, StoreError> {
    let opened = write_tx(conn, |conn| open_within(conn, new_user, lock, context));
    Abort::outcome(opened, |user| {
        users::log_new(user, new_user);
        OpenOutcome::Done(lock.new_conversation)
    })
}

fn open_within(
    conn: &mut Conn,
    new_user: UserId,
    lock: &LockRequest,
    context: Option<Value>,
) -> Result<UserId, Abort<OpenOutcome>> {
    sessions::end(conn, &lock.device)?;
    if let Some(wait) = sessions::set(conn, lock)?.wait(lock.limit) {
        return Err(Abort::With(OpenOutcome::Limited(wait)));
    }
    let (user, _) = users::person(conn, new_user, &lock.device)?;
    diesel::insert_into(conversations::table)
        .values((
            conversations::id.eq(lock.new_conversation),
            conversations::user_id.eq(user),
            conversations::user_input.eq(""),
            conversations::agent_path.eq(&lock.agent),
            conversations::state.eq(JsonColumn(json!({}))),
            conversations::context.eq(context.map(JsonColumn)),
            conversations::last_seq.eq(MessageSeq::START),
            conversations::fence.eq(Fence(0)),
            conversations::created_at.eq(db_now()),
            conversations::updated_at.eq(db_now()),
        ))
        .execute(conn)?;
    Ok(user)
}

/// Takes the lease of a conversation; aborts if a turn is running in it.
fn continue_conversation(
    conn: &mut Conn,
    turn: &BeginTurn,
    conversation: ConversationId,
) -> Result<ConversationState, Abort<Begin>> {
    if let Some(held) = take_lease(conn, turn, conversation)? {
        return Ok(held);
    }
    let row = conversations::table.filter(conversations::id.eq(conversation));
    let row = row.select((
        conversations::running_turn,
        conversations::lease_until.le(db_now().nullable()),
        conversations::agent_path,
    ));
    let (running, abandoned, agent): (Option<TurnId>, Option<bool>, Option<String>) =
        row.first(conn)?;
    Err(Abort::With(Begin::Busy(running.map(|turn_id| BusyTurn {
        turn_id,
        is_abandoned: abandoned.unwrap_or_default(),
        agent,
    }))))
}

fn take_lease(
    conn: &mut Conn,
    turn: &BeginTurn,
    conversation: ConversationId,
) -> QueryResult<Option<ConversationState>> {
    let free = conversations::table
        .filter(conversations::id.eq(conversation))
        .filter(conversations::running_turn.is_null());
    let taken = diesel::update(free)
        .set((
            conversations::running_turn.eq(turn.turn_id),
            conversations::owner.eq(turn.instance),
            conversations::lease_until.eq(db_now_plus(milliseconds(turn.lease)).nullable()),
            conversations::stop_requested.eq(false),
            conversations::status.eq(Status::Active),
            conversations::fence.eq(conversations::fence + 1),
            conversations::last_seq.eq(conversations::last_seq + count(turn)),
            conversations::visitor_types_until.eq(None::<SqlTime>),
            conversations::updated_at.eq(db_now()),
        ))
        .returning(ConversationState::as_returning());
    cached(taken).get_result(conn).optional()
}

/// How many messages the turn stores.
fn count(turn: &BeginTurn) -> i64 {
    i64::try_from(turn.earlier.len() + 1).unwrap_or(i64::MAX)
}

/// Inserts the turn's row, and one for each earlier message with a key that it answers as well. The keys were
/// free under the session lock's row lock. If a request without that lock has taken one since, this is a
/// conflict: the step is repeated and finds that request's turn.
fn insert_turn(
    conn: &mut Conn,
    turn: &BeginTurn,
    conversation: ConversationId,
    fence: Fence,
) -> Result<(), Abort<Begin>> {
    insert_turn_row(conn, turn, &turn.said, None, conversation, fence)?;
    let keyed = turn.earlier.iter().filter(|said| said.key.is_some());
    for said in keyed {
        insert_turn_row(conn, turn, said, Some(turn.turn_id), conversation, fence)?;
    }
    Ok(())
}

fn insert_turn_row(
    conn: &mut Conn,
    turn: &BeginTurn,
    said: &UserMessage,
    merged_into: Option<TurnId>,
    conversation: ConversationId,
    fence: Fence,
) -> Result<(), Abort<Begin>> {
    let row = diesel::insert_into(turns::table)
        .values((
            turns::id.eq(merged_into.map_or(turn.turn_id, |_| TurnId::new())),
            turns::conversation_id.eq(conversation),
            turns::device_id.eq(turn.lock.device.as_str()),
            turns::attempt.eq(Attempt::FIRST),
            turns::fence.eq(fence),
            turns::idempotency_key.eq(&said.key),
            turns::request_hash.eq(&said.request_hash),
            turns::started_at.eq(db_now()),
            turns::merged_into.eq(merged_into),
            turns::finish_reason.eq(merged_into.map(|_| FinishReason::Merged)),
        ))
        .on_conflict((turns::device_id, turns::idempotency_key))
        .do_nothing()
        .returning(turns::id);
    let inserted: Option<TurnId> = cached(row).get_result(conn).optional()?;
    if inserted.is_none() {
        let lost = StoreError::Conflict("the idempotency key was taken meanwhile".to_owned());
        return Err(Abort::Failed(lost));
    }
    Ok(())
}
