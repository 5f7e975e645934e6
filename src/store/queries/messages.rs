//! The messages of a conversation. Compiled once for each database.

use diesel::{
    dsl::{exists, min, sql},
    expression::SqlLiteral,
    prelude::*,
    select,
    sql_types::BigInt,
};
use serde_json::json;

use super::dialect::Conn;
use crate::store::{
    ConversationId, MessageId, MessageSeq, Owner, StoreError, TurnId,
    messages::{Message, MessagePage, MessageType, NewMessage, OfLine, SystemMessage},
    schema::{conversations, db_now, messages, session_locks, users},
    sessions::Mode,
    types::JsonColumn,
};

/// How many new messages are read at once.
const MAX_NEW_MESSAGES: i64 = 100;
/// Bounds the bytes of the messages that are read at once, approximately. A single message may exceed it.
const PAGE_BYTES: i64 = 512 * 1024;

/// A message's approximate size in bytes. The database knows a text's length without reading the text.
fn bytes() -> SqlLiteral<BigInt> {
    sql(
        "cast(500 + octet_length(body) + octet_length(cast(media_urls as text)) \
         + octet_length(cast(audio_urls as text)) \
         + coalesce(octet_length(cast(component_data as text)), 0) \
         + coalesce(octet_length(cast(metadata as text)), 0) + coalesce(octet_length(retracted), 0) as bigint)",
    )
}

/// The last of the messages that are read together, and whether more follow. At least the first is read.
fn last_fitting(sizes: &[(MessageSeq, i64)], most: usize) -> Option<(MessageSeq, bool)> {
    let mut all = 0;
    let fitting = sizes.iter().take(most).take_while(|(_, bytes)| {
        all += bytes;
        all <= PAGE_BYTES
    });
    let count = fitting.count().max(1);
    let (last, _) = sizes.get(count - 1)?;
    Some((*last, sizes.len() > count))
}

/// Stores a message. Its number must have been taken under the lock of the conversation's row.
pub fn insert(conn: &mut Conn, new: NewMessage<'_>) -> QueryResult<()> {
    diesel::insert_into(messages::table)
        .values((new, messages::created_at.eq(db_now())))
        .execute(conn)
        .map(drop)
}

/// Stores a system message, with who answers from now on and what is retracted.
pub fn insert_line(
    conn: &mut Conn,
    at: (ConversationId, MessageSeq),
    mode: Mode,
    line: &SystemMessage,
) -> QueryResult<()> {
    let beside = OfLine {
        mode,
        note: line.note.clone(),
        retracts: line.retracts.clone(),
    };
    let new = NewMessage::new(line.id, at, MessageType::SystemMessage, &line.text);
    insert(
        conn,
        NewMessage {
            metadata: Some(JsonColumn(json!(beside))),
            ..new
        },
    )
}

/// The messages with numbers in `(last - count, last]`, oldest first.
pub fn window(
    conn: &mut Conn,
    conversation: ConversationId,
    last: MessageSeq,
    count: i64,
) -> QueryResult<Vec<Message>> {
    messages::table
        .filter(messages::conversation_id.eq(conversation))
        .filter(messages::seq.gt(last - count))
        .filter(messages::seq.le(last))
        .order(messages::seq)
        .select(Message::as_select())
        .load(conn)
}

/// A message of a conversation.
pub fn get(
    conn: &mut Conn,
    conversation: ConversationId,
    id: MessageId,
) -> QueryResult<Option<Message>> {
    messages::table
        .filter(messages::id.eq(id))
        .filter(messages::conversation_id.eq(conversation))
        .select(Message::as_select())
        .first(conn)
        .optional()
}

/// The messages of a turn, oldest first.
pub fn of_turn(conn: &mut Conn, turn: TurnId) -> QueryResult<Vec<Message>> {
    messages::table
        .filter(messages::turn_id.eq(turn))
        .order(messages::seq)
        .select(Message::as_select())
        .load(conn)
}

/// Whether a conversation has this widget, not retracted.
pub fn holds_widget(
    conn: &mut Conn,
    conversation: ConversationId,
    widget: MessageId,
) -> QueryResult<bool> {
    let shown = messages::table
        .filter(messages::id.eq(widget))
        .filter(messages::conversation_id.eq(conversation))
        .filter(messages::message_type.eq(MessageType::Widget))
        .filter(messages::retracted.is_null());
    select(exists(shown)).get_result(conn)
}

/// A widget in a device's current conversation, or in any of a user's, and whether it was answered.
pub fn widget(
    conn: &mut Conn,
    device: &Owner,
    id: MessageId,
) -> QueryResult<Option<(Message, bool)>> {
    let live = session_locks::table
        .filter(session_locks::device_id.eq(device.as_str()))
        .filter(session_locks::expires_at.gt(db_now()))
        .select(session_locks::conversation_id);
    let own = conversations::table
        .inner_join(users::table.on(users::id.eq(conversations::user_id)))
        .filter(users::phone_number.eq(device.handle()))
        .select(conversations::id);
    let widget = messages::table
        .filter(messages::id.eq(id))
        .filter(messages::message_type.eq(MessageType::Widget))
        .filter(messages::retracted.is_null())
        .select(Message::as_select())
        .into_boxed();
    // A user has many conversations, a device only one.
    let widget = match device.is_user() {
        true => widget.filter(messages::conversation_id.eq_any(own)),
        false => widget.filter(messages::conversation_id.eq_any(live)),
    };
    let widget = widget.first(conn).optional()?;
    let Some(widget) = widget else {
        return Ok(None);
    };
    let answered = messages::table.filter(messages::answers.eq(id));
    let answered = select(exists(answered)).get_result(conn)?;
    Ok(Some((widget, answered)))
}

pub fn page(
    conn: &mut Conn,
    conversation: ConversationId,
    before: Option<MessageId>,
    limit: i64,
) -> Result<Option<MessagePage>, StoreError> {
    let mut below = MessageSeq(i64::MAX);
    if let Some(before) = before {
        let seq = messages::table
            .filter(messages::id.eq(before))
            .filter(messages::conversation_id.eq(conversation))
            .select(messages::seq)
            .first(conn)
            .optional()?;
        let Some(seq) = seq else { return Ok(None) };
        below = seq;
    }
    let older = || {
        messages::table
            .filter(messages::conversation_id.eq(conversation))
            .filter(messages::seq.lt(below))
    };
    let sizes: Vec<(MessageSeq, i64)> = older()
        .order(messages::seq.desc())
        .limit(limit + 1)
        .select((messages::seq, bytes()))
        .load(conn)?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let Some((oldest, has_more)) = last_fitting(&sizes, limit) else {
        return Ok(Some(MessagePage::default()));
    };
    let found = older()
        .filter(messages::seq.ge(oldest))
        .order(messages::seq)
        .select(Message::as_select())
        .load(conn)?;
    Ok(Some(MessagePage {
        messages: found,
        has_more,
    }))
}

/// The next messages after a number; with or without those of turns.
pub fn after(
    conn: &mut Conn,
    conversation: ConversationId,
    seq: MessageSeq,
    with_turns: bool,
) -> QueryResult<Vec<Message>> {
    let newer = || {
        let newer = messages::table
            .filter(messages::conversation_id.eq(conversation))
            .filter(messages::seq.gt(seq))
            .order(messages::seq)
            .into_boxed();
        match with_turns {
            true => newer,
            false => newer.filter(messages::turn_id.is_null()),
        }
    };
    let sizes: Vec<(MessageSeq, i64)> = newer()
        .limit(MAX_NEW_MESSAGES)
        .select((messages::seq, bytes()))
        .load(conn)?;
    let Some((newest, _)) = last_fitting(&sizes, sizes.len()) else {
        return Ok(Vec::new());
    };
    newer()
        .filter(messages::seq.le(newest))
        .select(Message::as_select())
        .load(conn)
}

pub fn begins_at(conn: &mut Conn, turn: TurnId) -> QueryResult<Option<MessageSeq>> {
    messages::table
        .filter(messages::turn_id.eq(turn))
        .select(min(messages::seq))
        .first(conn)
}

/// A turn's answer, if one was stored.
pub fn answer(conn: &mut Conn, turn: TurnId) -> QueryResult<Option<Message>> {
    messages::table
        .filter(messages::turn_id.eq(turn))
        .filter(messages::message_type.eq(MessageType::AssistantResponse))
        .order(messages::seq.desc())
        .select(Message::as_select())
        .first(conn)
        .optional()
}
