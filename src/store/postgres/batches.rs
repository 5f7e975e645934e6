//! Begins and finishes many turns at once: one statement per batch.

use std::{collections::HashMap, sync::Arc, time::Duration};

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text},
};
use serde_json::Value;

use super::{
    dialect::{Conn, batch},
    functions::{BEGIN_TURNS, FINISH_TURNS, RENEW_LEASES, WRITE_LOGS},
    users,
};
use crate::store::{
    Attempt, ConversationId, Fence, InstanceId, JobId, MessageId, MessageSeq, StoreError, TurnId,
    UserId,
    begin::{Begin, BeginTurn, Started},
    cached::cached,
    logs::NewLogSegment,
    messages::Message,
    milliseconds,
    schema::{conversations, messages},
    seconds,
    sessions::{Mode, WINDOW, Within},
    turns::{Finish, FinishTurn, Renewed},
    types::{Doc, JsonColumn, SqlTime, Ts, Uid},
};

/// A turn that has begun.
#[derive(QueryableByName)]
struct BegunRow {
    #[diesel(sql_type = Uid)]
    turn_id: TurnId,
    #[diesel(sql_type = Nullable<Text>)]
    active_agent: Option<String>,
    #[diesel(sql_type = Uid)]
    conversation_id: ConversationId,
    #[diesel(sql_type = Uid)]
    user_id: UserId,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = BigInt)]
    fence: Fence,
    #[diesel(sql_type = BigInt)]
    last_seq: MessageSeq,
    #[diesel(sql_type = Nullable<Text>)]
    agent_path: Option<String>,
    #[diesel(sql_type = Text)]
    mode: Mode,
    #[diesel(sql_type = Doc)]
    state: JsonColumn,
    #[diesel(sql_type = Nullable<Doc>)]
    context: Option<JsonColumn>,
    #[diesel(sql_type = Ts)]
    created_at: SqlTime,
}

pub fn begin_turns(
    conn: &mut Conn,
    turns: &[Arc<BeginTurn>],
    is_read_committed: bool,
) -> Result<Vec<Option<Begin>>, StoreError> {
    let is_plain = |turn: &&Arc<BeginTurn>| {
        turn.earlier.is_empty()
            && turn.said.answers.is_none()
            && turn.context.is_none()
            && turn.lock.within == Within::Session
            && turn
                .said
                .idempotency()
                .is_none_or(|key| key.turn().is_none())
            && turn.sent.send()
    };
    let mut fit: Vec<_> = turns.iter().filter(is_plain).cloned().collect();
    fit.sort_by(|one, other| one.lock.device.cmp(&other.lock.device));
    let mut begun = or_none(batch(conn, is_read_committed, |conn| begin_all(conn, &fit)))?;
    // The turns have begun by now: a caller who gets this error looks for its turn.
    let mut histories =
        histories(conn, &fit, &begun).map_err(|error| StoreError::Unknown(error.to_string()))?;
    let started = turns.iter().map(|turn| {
        let begun = begun.remove(&turn.turn_id)?;
        users::log_new(begun.user_id, turn.new_user);
        let history = histories.remove(&begun.conversation_id);
        let history = history.unwrap_or_else(|| {
            let (id, seq) = (begun.conversation_id, begun.last_seq);
            vec![turn.said.message(turn.turn_id, id, seq, begun.created_at.0)]
        });
        Some(Begin::Started(Box::new(Started {
            turn_id: turn.turn_id,
            attempt: Attempt::FIRST,
            device: turn.lock.device.clone(),
            conversation_id: begun.conversation_id,
            user_id: begun.user_id,
            user_name: begun.user_name,
            fence: begun.fence,
            agent: begun.active_agent,
            agent_before: begun.agent_path,
            mode: begun.mode,
            state: begun.state.0,
            context: begun.context.map(|context| context.0),
            history,
        })))
    });
    Ok(started.collect())
}

/// A batch that waited too long for a row, or had a wrong value, has done nothing. Its steps are then
/// run alone, where one cannot fail the others.
fn or_none<T: Default>(done: Result<T, StoreError>) -> Result<T, StoreError> {
    match done {
        Err(error) if error.is_passing() => Ok(T::default()),
        Err(StoreError::Refused(_)) => Ok(T::default()),
        done => done,
    }
}

fn begin_all(conn: &mut Conn, turns: &[Arc<BeginTurn>]) -> QueryResult<HashMap<TurnId, BegunRow>> {
    let Some(first) = turns.first() else {
        return Ok(HashMap::new());
    };
    let statement = sql_query(BEGIN_TURNS.call.as_str())
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.turn_id))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.said.id))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.new_user))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.lock.new_conversation))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.lock.device.as_str()))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.lock.device.handle()))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| turn.lock.agent.as_deref()))
        .bind::<Array<BigInt>, _>(column(turns, |turn| seconds(turn.lock.ttl())))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.said.body.as_str()))
        .bind::<Array<Doc>, _>(column(turns, |turn| {
            JsonColumn(turn.said.media_urls.clone())
        }))
        .bind::<Array<Doc>, _>(column(turns, |turn| {
            JsonColumn(turn.said.audio_urls.clone())
        }))
        .bind::<Array<Nullable<Doc>>, _>(column(turns, |turn| {
            turn.said.metadata.clone().map(JsonColumn)
        }))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| turn.said.key.as_deref()))
        .bind::<Array<Binary>, _>(column(turns, |turn| turn.said.request_hash.as_slice()))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.lock.limit_key.0.as_str()))
        .bind::<BigInt, _>(milliseconds(WINDOW))
        .bind::<Uid, _>(first.instance)
        .bind::<BigInt, _>(milliseconds(first.lease))
        .bind::<BigInt, _>(first.lock.limit.map_or(i64::MAX, i64::from));
    let begun: Vec<BegunRow> = cached(statement).load(conn)?;
    Ok(begun
        .into_iter()
        .map(|begun| (begun.turn_id, begun))
        .collect())
}

/// The newest messages of the conversations that are continued.
fn histories(
    conn: &mut Conn,
    turns: &[Arc<BeginTurn>],
    begun: &HashMap<TurnId, BegunRow>,
) -> QueryResult<HashMap<ConversationId, Vec<Message>>> {
    let continued = begun
        .values()
        .filter(|begun| begun.last_seq > MessageSeq(1));
    let continued: Vec<ConversationId> = continued.map(|begun| begun.conversation_id).collect();
    let mut histories: HashMap<_, Vec<Message>> = HashMap::new();
    let (Some(first), false) = (turns.first(), continued.is_empty()) else {
        return Ok(histories);
    };
    let count = i64::from(first.history);
    let said: Vec<Message> = messages::table
        .inner_join(conversations::table.on(conversations::id.eq(messages::conversation_id)))
        .filter(conversations::id.eq_any(continued))
        .filter(messages::seq.gt(conversations::last_seq - count))
        .order((messages::conversation_id, messages::seq))
        .select(Message::as_select())
        .load(conn)?;
    for message in said {
        let history = histories.entry(message.conversation_id).or_default();
        history.push(message);
    }
    Ok(histories)
}

pub fn finish_turns(
    conn: &mut Conn,
    turns: &[Arc<FinishTurn>],
    is_read_committed: bool,
) -> Result<Vec<Option<Finish>>, StoreError> {
    let has_metadata = |turn: &FinishTurn| {
        turn.answer
            .as_ref()
            .is_some_and(|answer| answer.metadata.is_some())
    };
    let is_plain = |turn: &&Arc<FinishTurn>| {
        turn.widgets.is_empty() && turn.asks.is_none() && !turn.with_person && !has_metadata(turn)
    };
    let mut sorted: Vec<_> = turns.iter().filter(is_plain).cloned().collect();
    sorted.sort_by_key(|turn| turn.conversation_id);
    if sorted.is_empty() {
        return Ok(turns.iter().map(|_| None).collect());
    }
    let finished = or_none(batch(conn, is_read_committed, |conn| {
        finish_all(conn, &sorted)
    }))?;
    let done = turns
        .iter()
        .map(|turn| finished.contains(&turn.turn_id).then_some(Finish::Done));
    Ok(done.collect())
}

fn finish_all(conn: &mut Conn, turns: &[Arc<FinishTurn>]) -> QueryResult<Vec<TurnId>> {
    #[derive(QueryableByName)]
    struct FinishedRow {
        #[diesel(sql_type = Uid)]
        finished_turn: TurnId,
    }
    let answer = |turn: &FinishTurn| turn.answer.as_ref().map(|answer| answer.message_id);
    let statement = sql_query(FINISH_TURNS.call.as_str())
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.turn_id))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.conversation_id))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.user_id))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.device.as_str()))
        .bind::<Array<BigInt>, _>(column(turns, |turn| turn.fence))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.finish_reason.as_str()))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| turn.error_code.as_deref()))
        .bind::<Array<Nullable<Uid>>, _>(column::<_, Option<MessageId>>(turns, answer))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| {
            turn.answer.as_ref().map(|answer| answer.body.as_str())
        }))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| {
            turn.agent.as_ref().map(|(agent, _)| agent.as_str())
        }))
        .bind::<Array<Nullable<BigInt>>, _>(column(turns, |turn| {
            turn.agent.as_ref().map(|(_, ttl)| seconds(*ttl))
        }))
        .bind::<Array<Nullable<Doc>>, _>(column(turns, |turn| {
            turn.state.clone().map(|state: Value| JsonColumn(state))
        }))
        .bind::<Array<Nullable<Doc>>, _>(column(turns, |turn| turn.context.clone().map(JsonColumn)))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| turn.user_name.as_deref()))
        .bind::<Array<Binary>, _>(column(turns, |turn| turn.records.as_slice()))
        .bind::<Array<BigInt>, _>(column(turns, |turn| turn.last_seq))
        .bind::<Array<BigInt>, _>(column(turns, |turn| milliseconds(turn.log_kept)))
        .bind::<Array<Integer>, _>(column(turns, |turn| turn.attempt))
        .bind::<Array<Nullable<BigInt>>, _>(column(turns, |turn| turn.usage.map(|usage| usage.0)))
        .bind::<Array<Nullable<BigInt>>, _>(column(turns, |turn| turn.usage.map(|usage| usage.1)))
        .bind::<Array<Uid>, _>(column(turns, |_| JobId::new()))
        .bind::<Array<Nullable<Doc>>, _>(column(turns, |turn| {
            turn.judging
                .as_ref()
                .map(|judging| JsonColumn(judging.into()))
        }));
    let finished: Vec<FinishedRow> = cached(statement).load(conn)?;
    Ok(finished.into_iter().map(|row| row.finished_turn).collect())
}

/// Appends to the logs of running turns, without waiting for the disk.
pub fn write_logs(
    conn: &mut Conn,
    pieces: &[NewLogSegment],
    is_read_committed: bool,
) -> Result<Vec<Renewed>, StoreError> {
    #[derive(QueryableByName)]
    struct Mine {
        #[diesel(sql_type = Uid)]
        written_turn: TurnId,
        #[diesel(sql_type = Bool)]
        is_to_stop: bool,
        #[diesel(sql_type = Bool)]
        is_read_elsewhere: bool,
    }
    fn column<'a, T>(
        pieces: &'a [NewLogSegment],
        value: impl Fn(&'a NewLogSegment) -> T,
    ) -> Vec<T> {
        pieces.iter().map(value).collect()
    }
    let statement = sql_query(WRITE_LOGS.call.as_str())
        .bind::<Array<Uid>, _>(column(pieces, |piece| piece.turn_id))
        .bind::<Array<Uid>, _>(column(pieces, |piece| piece.conversation_id))
        .bind::<Array<BigInt>, _>(column(pieces, |piece| piece.fence))
        .bind::<Array<Integer>, _>(column(pieces, |piece| piece.attempt))
        .bind::<Array<BigInt>, _>(column(pieces, |piece| piece.first_seq))
        .bind::<Array<BigInt>, _>(column(pieces, |piece| piece.last_seq))
        .bind::<Array<Binary>, _>(column(pieces, |piece| piece.records.as_slice()));
    let mine: Vec<Mine> = batch(conn, is_read_committed, |conn| cached(statement).load(conn))?;
    let mine = mine.into_iter().map(|mine| Renewed {
        turn_id: mine.written_turn,
        stop_requested: mine.is_to_stop,
        is_watched: mine.is_read_elsewhere,
    });
    Ok(mine.collect())
}

/// Renews the leases of an instance's turns.
pub fn renew_leases(
    conn: &mut Conn,
    instance: InstanceId,
    turns: &[TurnId],
    lease: Duration,
    is_read_committed: bool,
) -> Result<Vec<Renewed>, StoreError> {
    #[derive(QueryableByName)]
    struct Own {
        #[diesel(sql_type = Uid)]
        renewed_turn: TurnId,
        #[diesel(sql_type = Bool)]
        is_to_stop: bool,
    }
    let statement = sql_query(RENEW_LEASES.call.as_str())
        .bind::<Array<Uid>, _>(turns)
        .bind::<Uid, _>(instance)
        .bind::<BigInt, _>(milliseconds(lease));
    let own: Vec<Own> = batch(conn, is_read_committed, |conn| cached(statement).load(conn))?;
    let renewed = own.into_iter().map(|own| Renewed {
        turn_id: own.renewed_turn,
        stop_requested: own.is_to_stop,
        is_watched: false,
    });
    Ok(renewed.collect())
}

/// One column of a batch.
fn column<'a, S, T>(steps: &'a [Arc<S>], value: impl Fn(&'a S) -> T) -> Vec<T> {
    steps.iter().map(|step| value(step)).collect()
}
