//! Claims, releases and messages of experts. Compiled once for each database.

use diesel::prelude::*;

use super::{
    audit,
    columns::columns,
    dialect::{Conn, write_tx},
    locks::{Locked, lock},
    logs, messages as message_rows,
    queue::{self, Transfer},
    sessions, turns as turn_rows,
};
use crate::store::{
    Attempt, ConversationId, ExpertId, Fence, FrameSeq, InstanceId, MessageId, Owner, StoreError,
    TurnId,
    assignments::{
        Claim, ClaimOutcome, ExpertMessage, ExpertMessageOutcome, PartialAnswer, Release, ReleaseTo,
    },
    conversations::{Conversation, Status},
    error::Abort,
    messages::{FinishReason, MessageType, NewMessage},
    schema::{conversations, db_now, turns},
    sessions::Mode,
    turns::FinishTurn,
    types::SqlTime,
};

pub fn claim(conn: &mut Conn, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
    write_tx(conn, |conn| {
        sessions::keep(conn, claim.conversation, false)?;
        let Some(row) = lock(conn, claim.conversation)? else {
            return Ok(ClaimOutcome::None);
        };
        match row.expert_id {
            Some(holder) if holder == claim.expert => {
                audit::write(conn, &claim.actor, claim.conversation)?;
                let held = get(conn, claim.conversation)?;
                return Ok(ClaimOutcome::Done(Box::new(held), None));
            }
            Some(_) => return Ok(ClaimOutcome::Another),
            None => {}
        }
        let mut seq = row.last_seq;
        if let Some(turn) = row.running_turn {
            seq = seq + truncate(conn, claim, &row, turn)?;
        }
        diesel::update(conversations::table.filter(conversations::id.eq(claim.conversation)))
            .set((
                (
                    conversations::running_turn.eq(None::<TurnId>),
                    conversations::owner.eq(None::<InstanceId>),
                    conversations::lease_until.eq(None::<SqlTime>),
                    conversations::fence.eq(conversations::fence + 1),
                ),
                conversations::mode.eq(Mode::Expert),
                conversations::status.eq(Status::Active),
                conversations::expert_id.eq(claim.expert),
                conversations::assigned_to.eq(None::<ExpertId>),
                conversations::waiting_since.eq(None::<SqlTime>),
                conversations::last_seq.eq(seq + 1),
                conversations::updated_at.eq(db_now()),
            ))
            .execute(conn)?;
        let at = (claim.conversation, seq + 1);
        message_rows::insert_line(conn, at, Mode::Expert, &claim.line)?;
        audit::write(conn, &claim.actor, claim.conversation)?;
        let held = get(conn, claim.conversation)?;
        Ok(ClaimOutcome::Done(Box::new(held), row.running_turn))
    })
}

/// Ends a running answer at its last stored frame. Returns how many messages this stores.
fn truncate(conn: &mut Conn, claim: &Claim, row: &Locked, turn: TurnId) -> QueryResult<i64> {
    let of_turn = turns::table.filter(turns::id.eq(turn));
    let (attempt, fence, device): (Attempt, Fence, Option<String>) = of_turn
        .select((turns::attempt, turns::fence, turns::device_id))
        .first(conn)?;
    let kept = (claim.truncate)(PartialAnswer {
        turn_id: turn,
        attempt,
        pieces: logs::pieces(conn, turn, attempt, FrameSeq::START)?,
        said: message_rows::of_turn(conn, turn)?,
        message_id: MessageId::new(),
        now: claim.now,
    });
    let finish = FinishTurn {
        turn_id: turn,
        attempt,
        conversation_id: claim.conversation,
        user_id: row.user_id,
        device: Owner::stored(device.unwrap_or_default()),
        fence,
        finish_reason: FinishReason::Handoff,
        error_code: None,
        answer: kept.answer,
        judging: None,
        widgets: kept.widgets,
        asks: None,
        with_person: false,
        agent: None,
        state: None,
        context: None,
        user_name: None,
        usage: None,
        records: kept.records,
        last_seq: kept.last_seq,
        log_kept: claim.log_kept,
        deadline: std::time::Instant::now(),
    };
    let count = finish.messages();
    turn_rows::end(conn, &finish, row.last_seq + count)?;
    diesel::update(of_turn)
        .set(turns::keep.eq(kept.keep))
        .execute(conn)?;
    Ok(count)
}

pub fn release(conn: &mut Conn, release: &Release) -> Result<ClaimOutcome, StoreError> {
    let given = write_tx(conn, |conn| release_within(conn, release));
    Abort::outcome(given, |given| ClaimOutcome::Done(Box::new(given), None))
}

fn release_within(conn: &mut Conn, release: &Release) -> Result<Conversation, Abort<ClaimOutcome>> {
    match release.to {
        ReleaseTo::Agents(_) | ReleaseTo::Settled(_) => {
            sessions::let_go(conn, release.conversation)?
        }
        ReleaseTo::Queue { .. } => sessions::keep(conn, release.conversation, false)?,
    };
    let held = lock(conn, release.conversation)?;
    let is_theirs = |row: &Locked| match release.expert {
        Some(expert) => row.expert_id == Some(expert),
        None => row.expert_id.is_some(),
    };
    let Some(row) = held.filter(is_theirs) else {
        return Err(Abort::With(ClaimOutcome::None));
    };
    let this = conversations::table.filter(conversations::id.eq(release.conversation));
    let seq = row.last_seq + 1;
    let (mode, status) = match release.to {
        ReleaseTo::Agents(_) => (Mode::Ai, Status::Active),
        ReleaseTo::Settled(_) => (Mode::Ai, Status::Completed),
        ReleaseTo::Queue { .. } => (Mode::Expert, Status::Active),
    };
    // The reason and skill do not apply to a later handoff.
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
    match &release.to {
        ReleaseTo::Agents(line) | ReleaseTo::Settled(line) => {
            message_rows::insert_line(conn, (release.conversation, seq), mode, line)?;
        }
        ReleaseTo::Queue {
            colleague,
            skill,
            told,
        } => {
            let passed = Transfer {
                conversation: release.conversation,
                seq,
                from: row.expert_id,
                colleague: *colleague,
                skill: skill.as_deref(),
                told,
                notify: &release.notify,
            };
            queue::pass_on(conn, &passed)?;
        }
    }
    audit::write(conn, &release.actor, release.conversation)?;
    Ok(get(conn, release.conversation)?)
}

pub fn write(conn: &mut Conn, write: &ExpertMessage) -> Result<ExpertMessageOutcome, StoreError> {
    write_tx(conn, |conn| {
        let of_user = |row: &Locked| row.user_id == write.user;
        let Some(row) = lock(conn, write.conversation)?.filter(of_user) else {
            return Ok(ExpertMessageOutcome::None);
        };
        if let Some(said) = message_rows::get(conn, write.conversation, write.id)? {
            return Ok(match said.body == write.body {
                true => ExpertMessageOutcome::Done(Box::new(said)),
                false => ExpertMessageOutcome::Reused,
            });
        }
        if row.expert_id.is_some_and(|holder| holder != write.expert) {
            return Ok(ExpertMessageOutcome::Another);
        }
        let seq = row.last_seq + 1;
        diesel::update(conversations::table.filter(conversations::id.eq(write.conversation)))
            .set((
                conversations::last_seq.eq(seq),
                conversations::expert_types_until.eq(None::<SqlTime>),
                conversations::updated_at.eq(db_now()),
            ))
            .execute(conn)?;
        let at = (write.conversation, seq);
        let new = NewMessage {
            expert_id: Some(write.expert),
            ..NewMessage::new(write.id, at, MessageType::ExpertMessage, &write.body)
        };
        message_rows::insert(conn, new)?;
        audit::write(conn, &write.actor, write.conversation)?;
        let said = message_rows::get(conn, write.conversation, write.id)?;
        let said = said.ok_or(diesel::NotFound)?;
        Ok(ExpertMessageOutcome::Done(Box::new(said)))
    })
}

fn get(conn: &mut Conn, id: ConversationId) -> QueryResult<Conversation> {
    conversations::table
        .filter(conversations::id.eq(id))
        .select(columns!())
        .first(conn)
}
