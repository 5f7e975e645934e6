//! What experts see of conversations. Compiled once for each database.

use std::cmp::Reverse;

use diesel::prelude::*;

use super::{
    audit,
    columns::columns,
    conversations as conversation_rows,
    dialect::{Conn, write_tx},
    locks, messages as message_rows,
};
use crate::store::{
    ConversationId, MessageId, Owner, StoreError, TurnId,
    audit::Actor,
    conversations::{AgentView, Conversation},
    experts::Visibility,
    messages::Paged,
    schema::{conversations, turns},
    sessions::Mode,
};

/// How many running conversations are read. The newest of them are shown.
const RUNNING: i64 = 1_000;

pub fn queue(conn: &mut Conn, sight: Visibility, limit: i64) -> QueryResult<Vec<Conversation>> {
    let held = conversations::table
        .filter(conversations::expert_id.is_not_null())
        .order(conversations::updated_at.desc())
        .limit(limit)
        .select(columns!(brief))
        .into_boxed();
    let held = match sight {
        Visibility::Own(expert) => held.filter(conversations::expert_id.eq(expert)),
        Visibility::All => held,
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

/// The conversations that agents are answering now, the newest first.
pub fn answering(conn: &mut Conn, limit: usize) -> QueryResult<Vec<Conversation>> {
    let mut running: Vec<Conversation> = conversations::table
        .filter(conversations::running_turn.is_not_null())
        .filter(conversations::mode.eq(Mode::Ai))
        // The order of the partial index on running conversations.
        .order(conversations::lease_until.desc())
        .limit(RUNNING)
        .select(columns!(brief))
        .load(conn)?;
    // An order that lease renewals do not change.
    running.sort_by_key(|running| Reverse(running.id));
    running.truncate(limit);
    Ok(running)
}

/// A conversation, if the expert may see it.
pub fn seen(
    conn: &mut Conn,
    sight: Visibility,
    id: ConversationId,
) -> QueryResult<Option<Conversation>> {
    let found = conversations::table
        .filter(conversations::id.eq(id))
        .select(columns!())
        .into_boxed();
    let found = match sight {
        Visibility::All => found,
        Visibility::Own(expert) => found.filter(
            conversations::expert_id
                .eq(expert)
                .or(conversations::waiting_since.is_not_null().nullable()),
        ),
    };
    found.first(conn).optional()
}

pub fn look(
    conn: &mut Conn,
    sight: Visibility,
    id: ConversationId,
    actor: &Actor,
) -> Result<Option<Conversation>, StoreError> {
    write_tx(conn, |conn| Ok(look_within(conn, sight, id, actor)?))
}

fn look_within(
    conn: &mut Conn,
    sight: Visibility,
    id: ConversationId,
    actor: &Actor,
) -> QueryResult<Option<Conversation>> {
    let found = seen(conn, sight, id)?;
    if found.is_some() {
        audit::write(conn, actor, id)?;
    }
    Ok(found)
}

/// Reads a conversation if the expert may see it, and records that in the audit log, in one transaction.
fn look_into<T>(
    conn: &mut Conn,
    sight: Visibility,
    id: ConversationId,
    actor: &Actor,
    read: impl FnOnce(&mut Conn) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    write_tx(conn, |conn| {
        // Locked, so that no other expert claims the conversation meanwhile.
        let Some(_) = locks::lock(conn, id)? else {
            return Ok(None);
        };
        match look_within(conn, sight, id, actor)? {
            Some(_) => read(conn).map(Some),
            None => Ok(None),
        }
    })
}

/// A page of its messages.
pub fn messages(
    conn: &mut Conn,
    sight: Visibility,
    id: ConversationId,
    actor: &Actor,
    (before, limit): (Option<MessageId>, i64),
) -> Result<Paged, StoreError> {
    let page = look_into(conn, sight, id, actor, |conn| {
        message_rows::page(conn, id, before, limit).map(Paged::from)
    })?;
    Ok(page.unwrap_or(Paged::NoConversation))
}

/// What its agent would receive.
pub fn known_of(
    conn: &mut Conn,
    sight: Visibility,
    id: ConversationId,
    actor: &Actor,
    history: i64,
) -> Result<Option<AgentView>, StoreError> {
    let known = look_into(conn, sight, id, actor, |conn| {
        Ok(conversation_rows::known(conn, id, history)?)
    })?;
    Ok(known.flatten())
}

/// A turn's owner, if the expert may see its conversation.
pub fn turn(
    conn: &mut Conn,
    sight: Visibility,
    turn: TurnId,
    actor: &Actor,
) -> Result<Option<Owner>, StoreError> {
    let found: Option<(ConversationId, Option<String>)> = turns::table
        .filter(turns::id.eq(turn))
        .select((turns::conversation_id, turns::device_id))
        .first(conn)
        .optional()?;
    let Some((conversation, Some(device))) = found else {
        return Ok(None);
    };
    let seen = look(conn, sight, conversation, actor)?;
    Ok(seen.map(|_| Owner::stored(device)))
}
