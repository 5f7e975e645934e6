//! Who has a conversation. Compiled once for each database.

use diesel::prelude::*;
use serde_json::json;

use super::{
    audit,
    conversations::columns,
    dialect::{Conn, lock_rows, write_tx},
    logs, messages as message_rows,
    queue::{self, Passed},
    sessions,
    turns::{self as turn_rows, Abort},
};
use crate::store::{
    ConversationId, DeviceId, ExpertId, InstanceId, MessageId, StoreError, TurnId, UserId,
    conversations::{Conversation, Status},
    holds::{Broken, Give, Held, Line, Take, To, Write, Written},
    messages::{Direction, FinishReason, Message, MessageType, OfLine, Role},
    schema::{conversations, db_now, messages, turns},
    sessions::Mode,
    turns::FinishTurn,
    types::{Json, SqlTime},
};

/// What is read of a conversation under its lock.
#[derive(Queryable)]
pub struct Locked {
    pub user_id: UserId,
    pub expert_id: Option<ExpertId>,
    pub running_turn: Option<TurnId>,
    pub mode: Mode,
    pub last_seq: i64,
}

pub fn lock(conn: &mut Conn, id: ConversationId) -> QueryResult<Option<Locked>> {
    let row = conversations::table
        .filter(conversations::id.eq(id))
        .select((
            conversations::user_id,
            conversations::expert_id,
            conversations::running_turn,
            conversations::mode,
            conversations::last_seq,
        ));
    lock_rows!(row).first(conn).optional()
}

pub fn take(conn: &mut Conn, take: &Take) -> Result<Held, StoreError> {
    write_tx(conn, |conn| {
        sessions::keep(conn, take.conversation, false)?;
        let Some(row) = lock(conn, take.conversation)? else {
            return Ok(Held::None);
        };
        match row.expert_id {
            Some(holder) if holder == take.expert => {
                audit::write(conn, &take.actor, take.conversation)?;
                let held = get(conn, take.conversation)?;
                return Ok(Held::Done(Box::new(held), None));
            }
            Some(_) => return Ok(Held::Another),
            None => {}
        }
        let mut seq = row.last_seq;
        if let Some(turn) = row.running_turn {
            seq += cut(conn, take, &row, turn)?;
        }
        diesel::update(conversations::table.filter(conversations::id.eq(take.conversation)))
            .set((
                (
                    conversations::running_turn.eq(None::<TurnId>),
                    conversations::owner.eq(None::<InstanceId>),
                    conversations::lease_until.eq(None::<SqlTime>),
                    conversations::fence.eq(conversations::fence + 1),
                ),
                conversations::mode.eq(Mode::Expert),
                conversations::status.eq(Status::Active),
                conversations::expert_id.eq(take.expert),
                conversations::assigned_to.eq(None::<ExpertId>),
                conversations::waiting_since.eq(None::<SqlTime>),
                conversations::last_seq.eq(seq + 1),
                conversations::updated_at.eq(db_now()),
            ))
            .execute(conn)?;
        say(conn, take.conversation, seq + 1, Mode::Expert, &take.line)?;
        audit::write(conn, &take.actor, take.conversation)?;
        let held = get(conn, take.conversation)?;
        Ok(Held::Done(Box::new(held), row.running_turn))
    })
}

/// Ends an answer where it is stored; how many messages that gives.
fn cut(conn: &mut Conn, take: &Take, row: &Locked, turn: TurnId) -> QueryResult<i64> {
    let of_turn = turns::table.filter(turns::id.eq(turn));
    let (attempt, fence, device): (i32, i64, Option<String>) = of_turn
        .select((turns::attempt, turns::fence, turns::device_id))
        .first(conn)?;
    let cut = (take.cut)(Broken {
        turn_id: turn,
        attempt,
        pieces: logs::pieces(conn, turn, attempt, 0)?,
        said: message_rows::of_turn(conn, turn)?,
        message_id: MessageId::new(),
        now: take.now,
    });
    let finish = FinishTurn {
        turn_id: turn,
        attempt,
        conversation_id: take.conversation,
        user_id: row.user_id,
        device: DeviceId::stored(device.unwrap_or_default()),
        fence,
        finish_reason: FinishReason::Handoff,
        error_code: None,
        answer: cut.answer,
        judging: None,
        widgets: cut.widgets,
        asks: None,
        with_person: false,
        agent: None,
        state: None,
        context: None,
        user_name: None,
        usage: None,
        frames: cut.frames,
        last_seq: cut.keep + 1,
        log_kept: take.log_kept,
        deadline: std::time::Instant::now(),
    };
    let count = finish.messages();
    turn_rows::end(conn, &finish, row.last_seq + count)?;
    diesel::update(of_turn)
        .set(turns::keep.eq(cut.keep))
        .execute(conn)?;
    Ok(count)
}

pub fn give(conn: &mut Conn, give: &Give) -> Result<Held, StoreError> {
    match write_tx(conn, |conn| give_within(conn, give)) {
        Ok(given) => Ok(Held::Done(Box::new(given), None)),
        Err(Abort::With(outcome)) => Ok(outcome),
        Err(Abort::Failed(error)) => Err(error),
    }
}

fn give_within(conn: &mut Conn, give: &Give) -> Result<Conversation, Abort<Held>> {
    match give.to {
        To::Agents(_) | To::Settled(_) => sessions::let_go(conn, give.conversation)?,
        To::Queue { .. } => sessions::keep(conn, give.conversation, false)?,
    };
    let held = lock(conn, give.conversation)?;
    let is_theirs = |row: &Locked| match give.expert {
        Some(expert) => row.expert_id == Some(expert),
        None => row.expert_id.is_some(),
    };
    let Some(row) = held.filter(is_theirs) else {
        return Err(Abort::With(Held::None));
    };
    let this = conversations::table.filter(conversations::id.eq(give.conversation));
    let seq = row.last_seq + 1;
    let (mode, status) = match give.to {
        To::Agents(_) => (Mode::Ai, Status::Active),
        To::Settled(_) => (Mode::Ai, Status::Completed),
        To::Queue { .. } => (Mode::Expert, Status::Active),
    };
    // Whoever takes it another day does so for another reason.
    let is_over = (mode == Mode::Ai).then(|| {
        (
            conversations::reason.eq(None::<String>),
            conversations::skill.eq(None::<String>),
        )
    });
    diesel::update(this)
        .set((
            is_over,
            conversations::mode.eq(mode),
            conversations::status.eq(status),
            conversations::expert_id.eq(None::<ExpertId>),
            conversations::last_seq.eq(seq),
            conversations::updated_at.eq(db_now()),
        ))
        .execute(conn)?;
    match &give.to {
        To::Agents(line) | To::Settled(line) => {
            say(conn, give.conversation, seq, mode, line)?;
        }
        To::Queue {
            colleague,
            skill,
            told,
        } => {
            let passed = Passed {
                conversation: give.conversation,
                seq,
                from: row.expert_id,
                colleague: *colleague,
                skill: skill.as_deref(),
                told,
                notify: &give.notify,
            };
            queue::pass_on(conn, &passed)?;
        }
    }
    audit::write(conn, &give.actor, give.conversation)?;
    Ok(get(conn, give.conversation)?)
}

pub fn write(conn: &mut Conn, write: &Write) -> Result<Written, StoreError> {
    write_tx(conn, |conn| {
        let of_user = |row: &Locked| row.user_id == write.user;
        let Some(row) = lock(conn, write.conversation)?.filter(of_user) else {
            return Ok(Written::None);
        };
        if let Some(said) = message_rows::get(conn, write.conversation, write.id)? {
            return Ok(match said.body == write.body {
                true => Written::Done(Box::new(said)),
                false => Written::Reused,
            });
        }
        if row.expert_id.is_some_and(|holder| holder != write.expert) {
            return Ok(Written::Another);
        }
        let seq = row.last_seq + 1;
        diesel::update(conversations::table.filter(conversations::id.eq(write.conversation)))
            .set((
                conversations::last_seq.eq(seq),
                conversations::expert_types_until.eq(None::<SqlTime>),
                conversations::updated_at.eq(db_now()),
            ))
            .execute(conn)?;
        let said = (write.id, write.expert, &*write.body);
        let message = insert_expert_message(conn, write.conversation, seq, said)?;
        audit::write(conn, &write.actor, write.conversation)?;
        Ok(Written::Done(Box::new(message)))
    })
}

/// What somebody at the desk says, and which message of theirs it is.
pub fn insert_expert_message(
    conn: &mut Conn,
    conversation: ConversationId,
    seq: i64,
    (id, expert, body): (MessageId, ExpertId, &str),
) -> QueryResult<Message> {
    diesel::insert_into(messages::table)
        .values((
            messages::id.eq(id),
            messages::conversation_id.eq(conversation),
            messages::seq.eq(seq),
            messages::role.eq(Role::Expert),
            messages::direction.eq(Direction::Outgoing),
            messages::message_type.eq(MessageType::ExpertMessage),
            messages::body.eq(body),
            messages::media_urls.eq(Json(json!([]))),
            messages::audio_urls.eq(Json(json!([]))),
            messages::expert_id.eq(expert),
            messages::created_at.eq(db_now()),
        ))
        .returning(Message::as_returning())
        .get_result(conn)
}

fn get(conn: &mut Conn, id: ConversationId) -> QueryResult<Conversation> {
    conversations::table
        .filter(conversations::id.eq(id))
        .select(columns!())
        .first(conn)
}

/// The desk says who answers now, and what it takes back.
pub fn say(
    conn: &mut Conn,
    conversation: ConversationId,
    seq: i64,
    mode: Mode,
    line: &Line,
) -> QueryResult<()> {
    let beside = OfLine {
        mode,
        note: line.note.clone(),
        retracts: line.retracts.clone(),
    };
    diesel::insert_into(messages::table)
        .values((
            messages::id.eq(line.id),
            messages::conversation_id.eq(conversation),
            messages::seq.eq(seq),
            messages::role.eq(Role::System),
            messages::direction.eq(Direction::Outgoing),
            messages::message_type.eq(MessageType::SystemMessage),
            messages::body.eq(&line.text),
            messages::media_urls.eq(Json(json!([]))),
            messages::audio_urls.eq(Json(json!([]))),
            messages::metadata.eq(Json(json!(beside))),
            messages::created_at.eq(db_now()),
        ))
        .execute(conn)
        .map(drop)
}
