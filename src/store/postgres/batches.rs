//! Turns begun and finished many at once: one statement for all of a batch.

use std::{collections::HashMap, sync::Arc, time::Instant};

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text},
};
use serde_json::Value;

use super::dialect::{Conn, batch_tx, log_tx};
use crate::store::{
    ConversationId, MessageId, StoreError, TurnId, UserId,
    batches::Batch,
    begin::{Begin, BeginTurn, Started},
    cached::cached,
    logs::LogPiece,
    messages::Message,
    milliseconds,
    schema::{conversations, messages},
    seconds,
    sessions::{Mode, WINDOW},
    turns::{Finish, FinishTurn, Renewed},
    types::{Doc, Json, SqlTime, Ts, Uid},
};

/// A turn that has begun, unless the transaction is rolled back.
#[derive(QueryableByName)]
struct Begun {
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
    fence: i64,
    #[diesel(sql_type = BigInt)]
    last_seq: i64,
    #[diesel(sql_type = Nullable<Text>)]
    agent_path: Option<String>,
    #[diesel(sql_type = Text)]
    mode: Mode,
    #[diesel(sql_type = Doc)]
    state: Json,
    #[diesel(sql_type = Ts)]
    created_at: SqlTime,
}

pub fn begin_turns(conn: &mut Conn, turns: &[Arc<BeginTurn>]) -> Result<Batch<Begin>, StoreError> {
    let several = places(turns, |turn| !turn.earlier.is_empty());
    if !several.is_empty() {
        return Ok(Batch::Without(several));
    }
    batch_tx(conn, turns.len(), |conn| {
        let mut begun = begin_all(conn, turns)?;
        let is_odd =
            |turn: &BeginTurn| Instant::now() > turn.deadline || !begun.contains_key(&turn.turn_id);
        let odd = places(turns, is_odd);
        if !odd.is_empty() {
            return Ok(Batch::Without(odd));
        }
        let mut histories = histories(conn, turns, &begun)?;
        let started = turns.iter().filter_map(|turn| {
            let begun = begun.remove(&turn.turn_id)?;
            let history = histories.remove(&begun.conversation_id);
            let history = history.unwrap_or_else(|| {
                let (id, seq) = (begun.conversation_id, begun.last_seq);
                vec![turn.said.message(turn.turn_id, id, seq, begun.created_at.0)]
            });
            Some(Ok(Begin::Started(Box::new(Started {
                turn_id: turn.turn_id,
                attempt: 1,
                device: turn.lock.device.clone(),
                conversation_id: begun.conversation_id,
                user_id: begun.user_id,
                user_name: begun.user_name,
                fence: begun.fence,
                agent: begun.active_agent,
                agent_before: begun.agent_path,
                mode: begun.mode,
                state: begun.state.0,
                history,
            }))))
        });
        Ok(Batch::Done(started.collect()))
    })
}

fn begin_all(conn: &mut Conn, turns: &[Arc<BeginTurn>]) -> QueryResult<HashMap<TurnId, Begun>> {
    let Some(first) = turns.first() else {
        return Ok(HashMap::new());
    };
    let statement = sql_query(include_str!("begin_turns.sql"))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.turn_id))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.said.id))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.new_user))
        .bind::<Array<Uid>, _>(column(turns, |turn| turn.lock.new_conversation))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.lock.device.as_str()))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.lock.device.handle()))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| turn.lock.agent.as_deref()))
        .bind::<Array<BigInt>, _>(column(turns, |turn| seconds(turn.lock.ttl())))
        .bind::<Array<Text>, _>(column(turns, |turn| turn.said.body.as_str()))
        .bind::<Array<Doc>, _>(column(turns, |turn| Json(turn.said.media_urls.clone())))
        .bind::<Array<Doc>, _>(column(turns, |turn| Json(turn.said.audio_urls.clone())))
        .bind::<Array<Nullable<Doc>>, _>(column(turns, |turn| turn.said.metadata.clone().map(Json)))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| {
            let key = turn.said.idempotency.as_ref();
            key.map(|key| key.key.as_str())
        }))
        .bind::<Array<Nullable<Binary>>, _>(column(turns, |turn| {
            let key = turn.said.idempotency.as_ref();
            key.map(|key| key.request_hash.as_slice())
        }))
        .bind::<BigInt, _>(milliseconds(WINDOW))
        .bind::<Uid, _>(first.owner)
        .bind::<BigInt, _>(milliseconds(first.lease))
        .bind::<BigInt, _>(first.lock.limit.map_or(i64::MAX, i64::from));
    let begun: Vec<Begun> = cached(statement).load(conn)?;
    Ok(begun
        .into_iter()
        .map(|begun| (begun.turn_id, begun))
        .collect())
}

/// What was said before, of the conversations that are continued.
fn histories(
    conn: &mut Conn,
    turns: &[Arc<BeginTurn>],
    begun: &HashMap<TurnId, Begun>,
) -> QueryResult<HashMap<ConversationId, Vec<Message>>> {
    let continued = begun.values().filter(|begun| begun.last_seq > 1);
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
) -> Result<Batch<Finish>, StoreError> {
    batch_tx(conn, turns.len(), |conn| {
        let released = finish_all(conn, turns)?;
        let is_odd =
            |turn: &FinishTurn| Instant::now() > turn.deadline || !released.contains(&turn.turn_id);
        let odd = places(turns, is_odd);
        Ok(match odd.is_empty() {
            true => Batch::Done(turns.iter().map(|_| Ok(Finish::Done)).collect()),
            false => Batch::Without(odd),
        })
    })
}

fn finish_all(conn: &mut Conn, turns: &[Arc<FinishTurn>]) -> QueryResult<Vec<TurnId>> {
    #[derive(QueryableByName)]
    struct Released {
        #[diesel(sql_type = Uid)]
        turn_id: TurnId,
    }
    let answer = |turn: &FinishTurn| turn.answer.as_ref().map(|answer| answer.message_id);
    let statement = sql_query(include_str!("finish_turns.sql"))
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
            turn.state.clone().map(|state: Value| Json(state))
        }))
        .bind::<Array<Nullable<Text>>, _>(column(turns, |turn| turn.user_name.as_deref()))
        .bind::<Array<Binary>, _>(column(turns, |turn| turn.frames.as_slice()))
        .bind::<Array<BigInt>, _>(column(turns, |turn| turn.last_seq))
        .bind::<Array<BigInt>, _>(column(turns, |turn| milliseconds(turn.log_kept)))
        .bind::<Array<Integer>, _>(column(turns, |turn| turn.attempt));
    let released: Vec<Released> = cached(statement).load(conn)?;
    Ok(released.into_iter().map(|row| row.turn_id).collect())
}

/// Appends to the logs of running turns, without waiting for the disk.
pub fn write_logs(conn: &mut Conn, pieces: &[LogPiece]) -> Result<Vec<Renewed>, StoreError> {
    #[derive(QueryableByName)]
    struct Mine {
        #[diesel(sql_type = Uid)]
        turn_id: TurnId,
        #[diesel(sql_type = Bool)]
        stop_requested: bool,
        #[diesel(sql_type = Bool)]
        is_watched: bool,
    }
    fn column<'a, T>(pieces: &'a [LogPiece], value: impl Fn(&'a LogPiece) -> T) -> Vec<T> {
        pieces.iter().map(value).collect()
    }
    let statement = sql_query(include_str!("write_logs.sql"))
        .bind::<Array<Uid>, _>(column(pieces, |piece| piece.turn_id))
        .bind::<Array<Uid>, _>(column(pieces, |piece| piece.conversation_id))
        .bind::<Array<BigInt>, _>(column(pieces, |piece| piece.fence))
        .bind::<Array<Integer>, _>(column(pieces, |piece| piece.attempt))
        .bind::<Array<BigInt>, _>(column(pieces, |piece| piece.first_seq))
        .bind::<Array<BigInt>, _>(column(pieces, |piece| piece.last_seq))
        .bind::<Array<Binary>, _>(column(pieces, |piece| piece.frames.as_slice()));
    let mine: Vec<Mine> = log_tx(conn, |conn| cached(statement).load(conn))?;
    let mine = mine.into_iter().map(|mine| Renewed {
        turn_id: mine.turn_id,
        stop_requested: mine.stop_requested,
        is_watched: mine.is_watched,
    });
    Ok(mine.collect())
}

/// One column of a batch.
fn column<'a, S, T>(steps: &'a [Arc<S>], value: impl Fn(&'a S) -> T) -> Vec<T> {
    steps.iter().map(|step| value(step)).collect()
}

/// The places of the steps that do not go with the others.
fn places<S>(steps: &[Arc<S>], is_odd: impl Fn(&S) -> bool) -> Vec<usize> {
    let odd = steps.iter().enumerate().filter(|(_, step)| is_odd(step));
    odd.map(|(place, _)| place).collect()
}
