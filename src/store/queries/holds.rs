//! Who has a conversation. Compiled once for each database.

use diesel::{dsl::count_star, prelude::*};
use serde_json::{Value, json};

use super::{
    audit,
    conversations::columns,
    dialect::{Conn, lock_rows, write_tx},
    experts as people, jobs, logs, messages as message_rows, sessions,
    turns::{self as turn_rows, Abort},
};
use crate::{
    store::{
        ConversationId, DeviceId, ExpertId, InstanceId, MessageId, StoreError, TurnId, UserId,
        cached::cached,
        conversations::{Conversation, Status},
        experts::Expert,
        holds::{Ask, Broken, Give, Held, Line, Take, To, Write, Written},
        messages::{Direction, FinishReason, Message, MessageType, Role},
        schema::{conversations, db_now, messages, turns},
        sessions::Mode,
        turns::FinishTurn,
        types::{Json, SqlTime},
    },
    text,
};

/// What is read of a conversation under its lock.
#[derive(Queryable)]
struct Locked {
    user_id: UserId,
    expert_id: Option<ExpertId>,
    running_turn: Option<TurnId>,
    last_seq: i64,
}

fn lock(conn: &mut Conn, id: ConversationId) -> QueryResult<Option<Locked>> {
    let row = conversations::table
        .filter(conversations::id.eq(id))
        .select((
            conversations::user_id,
            conversations::expert_id,
            conversations::running_turn,
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
        To::Agents | To::Settled => sessions::let_go(conn, give.conversation)?,
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
        To::Agents => (Mode::Ai, Status::Active),
        To::Settled => (Mode::Ai, Status::Completed),
        To::Queue { .. } => (Mode::Expert, Status::Active),
    };
    diesel::update(this)
        .set((
            conversations::mode.eq(mode),
            conversations::status.eq(status),
            conversations::expert_id.eq(None::<ExpertId>),
            conversations::last_seq.eq(seq),
            conversations::updated_at.eq(db_now()),
        ))
        .execute(conn)?;
    if let To::Queue { colleague, skill } = &give.to {
        for kind in &give.notify {
            let all = people::all(conn)?;
            let asked = all.iter().find(|expert| Some(expert.id) == *colleague);
            let event = json!({"type": "expert.transferred", "data": {
                "conversation_id": give.conversation,
                "skill": skill,
                "assigned_to": asked.map(|expert| &expert.sub),
            }});
            jobs::add(conn, kind, event)?;
        }
        diesel::update(this)
            .set((
                conversations::assigned_to.eq(colleague),
                conversations::skill.eq(skill),
                conversations::waiting_since.eq(db_now().nullable()),
            ))
            .execute(conn)?;
    }
    say(conn, give.conversation, seq, mode, &give.line)?;
    audit::write(conn, &give.actor, give.conversation)?;
    Ok(get(conn, give.conversation)?)
}

pub fn write(conn: &mut Conn, write: &Write) -> Result<Written, StoreError> {
    write_tx(conn, |conn| {
        let of_user = |row: &Locked| row.user_id == write.user;
        let Some(row) = lock(conn, write.conversation)?.filter(of_user) else {
            return Ok(Written::None);
        };
        if row.expert_id.is_some_and(|holder| holder != write.expert) {
            return Ok(Written::Another);
        }
        let seq = row.last_seq + 1;
        diesel::update(conversations::table.filter(conversations::id.eq(write.conversation)))
            .set((
                conversations::last_seq.eq(seq),
                conversations::updated_at.eq(db_now()),
            ))
            .execute(conn)?;
        let message = diesel::insert_into(messages::table)
            .values((
                messages::id.eq(write.id),
                messages::conversation_id.eq(write.conversation),
                messages::seq.eq(seq),
                messages::role.eq(Role::Expert),
                messages::direction.eq(Direction::Outgoing),
                messages::message_type.eq(MessageType::ExpertMessage),
                messages::body.eq(&write.body),
                messages::media_urls.eq(Json(json!([]))),
                messages::audio_urls.eq(Json(json!([]))),
                messages::expert_id.eq(write.expert),
                messages::created_at.eq(db_now()),
            ))
            .returning(Message::as_returning())
            .get_result(conn)?;
        audit::write(conn, &write.actor, write.conversation)?;
        Ok(Written::Done(Box::new(message)))
    })
}

/// Puts a conversation into the queue, under the lock of its row: who is asked first, and what the
/// visitor reads.
pub fn queue_up(
    conn: &mut Conn,
    conversation: ConversationId,
    seq: i64,
    ask: &Ask,
) -> QueryResult<()> {
    let free = best(conn, ask.skill.as_deref())?;
    let before: i64 = conversations::table
        .filter(conversations::waiting_since.is_not_null())
        .filter(conversations::id.ne(conversation))
        .select(count_star())
        .get_result(conn)?;
    let queued = diesel::update(conversations::table.filter(conversations::id.eq(conversation)))
        .set((
            conversations::mode.eq(Mode::Expert),
            conversations::expert_id.eq(None::<ExpertId>),
            conversations::assigned_to.eq(free.as_ref().map(|expert| expert.id)),
            conversations::waiting_since.eq(db_now().nullable()),
            conversations::reason.eq(&ask.reason),
            conversations::skill.eq(&ask.skill),
        ))
        .returning(conversations::id);
    let _: ConversationId = cached(queued).get_result(conn)?;
    let template = match &free {
        Some(_) => &ask.waiting,
        None => &ask.nobody,
    };
    let position = (before + 1).to_string();
    let line = Line {
        id: ask.line,
        text: text::fill(template, |name| {
            (name == "position").then(|| position.clone())
        }),
        note: None,
    };
    for kind in &ask.notify {
        let event = json!({"type": "expert.asked", "data": {
            "conversation_id": conversation,
            "skill": ask.skill,
            "assigned_to": free.as_ref().map(|expert| &expert.sub),
            "position": before + 1,
        }});
        jobs::add(conn, kind, event)?;
    }
    say(conn, conversation, seq, Mode::Expert, &line)
}

/// Of those who are there and know what is needed, whoever has the least to do: what they hold, and what
/// waits for them.
fn best(conn: &mut Conn, skill: Option<&str>) -> QueryResult<Option<Expert>> {
    let open = conversations::table
        .filter(
            conversations::expert_id
                .is_not_null()
                .or(conversations::waiting_since.is_not_null()),
        )
        .select((conversations::expert_id, conversations::assigned_to));
    let open: Vec<(Option<ExpertId>, Option<ExpertId>)> = open.load(conn)?;
    let load = |expert: &Expert| {
        let theirs = open
            .iter()
            .filter(|(holder, asked)| holder.or(*asked) == Some(expert.id));
        theirs.count()
    };
    let knows = |expert: &Expert| match (skill, expert.skills.as_array()) {
        (None, _) => true,
        (Some(skill), Some(skills)) => skills.iter().any(|known| known == skill),
        (Some(_), None) => false,
    };
    let fit = people::there(conn)?.into_iter().filter(knows);
    Ok(fit.min_by_key(load))
}

fn get(conn: &mut Conn, id: ConversationId) -> QueryResult<Conversation> {
    conversations::table
        .filter(conversations::id.eq(id))
        .select(columns!())
        .first(conn)
}

/// The desk says who answers now.
fn say(
    conn: &mut Conn,
    conversation: ConversationId,
    seq: i64,
    mode: Mode,
    line: &Line,
) -> QueryResult<()> {
    let mut metadata = json!({"mode": mode});
    if let (Some(metadata), Some(note)) = (metadata.as_object_mut(), &line.note) {
        metadata.insert("note".to_owned(), Value::String(note.clone()));
    }
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
            messages::metadata.eq(Json(metadata)),
            messages::created_at.eq(db_now()),
        ))
        .execute(conn)
        .map(drop)
}
