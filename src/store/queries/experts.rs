//! The people at the desk. Compiled once for each database.

use std::{cmp::Reverse, time::Duration};

use diesel::prelude::*;
use serde_json::json;

use super::{
    audit,
    conversations::{self as conversation_rows, columns},
    dialect::{Conn, write_tx},
    holds, messages as message_rows,
};
use crate::store::{
    ConversationId, DeviceId, ExpertId, MessageId, StoreError, TurnId,
    audit::Actor,
    conversations::{Conversation, Known},
    experts::{Expert, Presence, Sight},
    messages::Page,
    milliseconds,
    schema::{conversations, db_now, db_now_plus, experts, turns},
    sessions::Mode,
    types::Json,
};

/// Whoever was not seen for so long is not there: the console shows itself every minute.
pub const AWAY: Duration = Duration::from_secs(300);

/// How many conversations are looked at that are being answered.
const RUNNING: i64 = 1_000;

/// What was asked of who leaves is asked of nobody from then on.
pub fn known(
    conn: &mut Conn,
    new: ExpertId,
    sub: &str,
    presence: &Presence,
) -> Result<Expert, StoreError> {
    if presence.available != Some(false) {
        return Ok(seen_at_desk(conn, new, sub, presence)?);
    }
    write_tx(conn, |conn| {
        let expert = seen_at_desk(conn, new, sub, presence)?;
        let asked = conversations::table
            .filter(conversations::waiting_since.is_not_null())
            .filter(conversations::assigned_to.eq(expert.id));
        diesel::update(asked)
            .set(conversations::assigned_to.eq(None::<ExpertId>))
            .execute(conn)?;
        Ok(expert)
    })
}

fn seen_at_desk(
    conn: &mut Conn,
    new: ExpertId,
    sub: &str,
    presence: &Presence,
) -> QueryResult<Expert> {
    let skills = presence.skills.as_ref().map(|skills| Json(json!(skills)));
    diesel::insert_into(experts::table)
        .values((
            experts::id.eq(new),
            experts::sub.eq(sub),
            experts::name.eq(&presence.name),
            experts::available.eq(presence.available.unwrap_or_default()),
            experts::skills.eq(skills.clone().unwrap_or(Json(json!([])))),
            experts::created_at.eq(db_now()),
            experts::seen_at.eq(db_now()),
        ))
        .on_conflict(experts::sub)
        .do_update()
        .set((
            experts::seen_at.eq(db_now()),
            // What is `None` stays as it is.
            presence.name.as_ref().map(|name| experts::name.eq(name)),
            presence.available.map(|is| experts::available.eq(is)),
            skills.map(|skills| experts::skills.eq(skills)),
        ))
        .returning(Expert::as_returning())
        .get_result(conn)
}

/// Whether somebody says that they are there, and was seen a moment ago.
macro_rules! is_there {
    () => {
        experts::available
            .eq(true)
            .and(experts::seen_at.gt(db_now_plus(-milliseconds(AWAY))))
    };
}

/// Each with whether they are there.
pub fn team(conn: &mut Conn) -> QueryResult<Vec<(Expert, bool)>> {
    experts::table
        .order(experts::sub)
        .select((Expert::as_select(), is_there!()))
        .load(conn)
}

/// Those who are there.
pub fn there(conn: &mut Conn) -> QueryResult<Vec<Expert>> {
    experts::table
        .filter(is_there!())
        .order(experts::sub)
        .select(Expert::as_select())
        .load(conn)
}

pub fn queue(conn: &mut Conn, sight: Sight, limit: i64) -> QueryResult<Vec<Conversation>> {
    let held = conversations::table
        .filter(conversations::expert_id.is_not_null())
        .order(conversations::updated_at.desc())
        .limit(limit)
        .select(columns!(brief))
        .into_boxed();
    let held = match sight {
        Sight::Own(expert) => held.filter(conversations::expert_id.eq(expert)),
        Sight::All => held,
    };
    let waiting = conversations::table
        .filter(conversations::waiting_since.is_not_null())
        .order((conversations::waiting_since, conversations::id))
        .limit(limit)
        .select(columns!(brief));
    let mut all = waiting.load(conn)?;
    all.extend(held.load(conn)?);
    Ok(all)
}

/// Those that agents are answering at this moment, the newest first.
pub fn answering(conn: &mut Conn, limit: usize) -> QueryResult<Vec<Conversation>> {
    let mut running: Vec<Conversation> = conversations::table
        .filter(conversations::running_turn.is_not_null())
        .filter(conversations::mode.eq(Mode::Ai))
        // As the index has them that holds no others.
        .order(conversations::lease_until.desc())
        .limit(RUNNING)
        .select(columns!(brief))
        .load(conn)?;
    // As they stay, however their leases are renewed.
    running.sort_by_key(|running| Reverse(running.id));
    running.truncate(limit);
    Ok(running)
}

/// A conversation that the desk may see.
pub fn seen(
    conn: &mut Conn,
    sight: Sight,
    id: ConversationId,
) -> QueryResult<Option<Conversation>> {
    let found = conversations::table
        .filter(conversations::id.eq(id))
        .select(columns!())
        .into_boxed();
    let found = match sight {
        Sight::All => found,
        Sight::Own(expert) => found.filter(
            conversations::expert_id
                .eq(expert)
                .or(conversations::waiting_since.is_not_null().nullable()),
        ),
    };
    found.first(conn).optional()
}

pub fn look(
    conn: &mut Conn,
    sight: Sight,
    id: ConversationId,
    actor: &Actor,
) -> Result<Option<Conversation>, StoreError> {
    write_tx(conn, |conn| Ok(look_within(conn, sight, id, actor)?))
}

fn look_within(
    conn: &mut Conn,
    sight: Sight,
    id: ConversationId,
    actor: &Actor,
) -> QueryResult<Option<Conversation>> {
    let found = seen(conn, sight, id)?;
    if found.is_some() {
        audit::write(conn, actor, id)?;
    }
    Ok(found)
}

/// What whoever sees the conversation may read of it: read, and kept that it was, in one piece.
fn look_into<T>(
    conn: &mut Conn,
    sight: Sight,
    id: ConversationId,
    actor: &Actor,
    read: impl FnOnce(&mut Conn) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    write_tx(conn, |conn| {
        // It may be another's in the next moment.
        let Some(_) = holds::lock(conn, id)? else {
            return Ok(None);
        };
        match look_within(conn, sight, id, actor)? {
            Some(_) => read(conn).map(Some),
            None => Ok(None),
        }
    })
}

/// A page of what was said there.
pub fn messages(
    conn: &mut Conn,
    sight: Sight,
    id: ConversationId,
    actor: &Actor,
    (before, limit): (Option<MessageId>, i64),
) -> Result<Option<Option<Page>>, StoreError> {
    look_into(conn, sight, id, actor, |conn| {
        message_rows::page(conn, id, before, limit)
    })
}

/// What its agent would be told.
pub fn known_of(
    conn: &mut Conn,
    sight: Sight,
    id: ConversationId,
    actor: &Actor,
    history: i64,
) -> Result<Option<Known>, StoreError> {
    let known = look_into(conn, sight, id, actor, |conn| {
        Ok(conversation_rows::known(conn, id, history)?)
    })?;
    Ok(known.flatten())
}

/// Whose a turn is, in a conversation that the desk may see.
pub fn turn(
    conn: &mut Conn,
    sight: Sight,
    turn: TurnId,
    actor: &Actor,
) -> Result<Option<DeviceId>, StoreError> {
    let found: Option<(ConversationId, Option<String>)> = turns::table
        .filter(turns::id.eq(turn))
        .select((turns::conversation_id, turns::device_id))
        .first(conn)
        .optional()?;
    let Some((conversation, Some(device))) = found else {
        return Ok(None);
    };
    let seen = look(conn, sight, conversation, actor)?;
    Ok(seen.map(|_| DeviceId::stored(device)))
}
