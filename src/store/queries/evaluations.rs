//! Evaluations of answers by judges. Compiled once for each database.

use std::collections::{BTreeSet, HashMap};

use diesel::{dsl::exists, prelude::*, select};
use serde_json::json;

use super::{
    audit,
    dialect::{Conn, write_tx},
    jobs, locks, messages as message_rows,
};
use crate::store::{
    EvaluationId, MessageId, StoreError, TurnId,
    audit::Actor,
    evaluations::{
        Around, BRIEF, Evaluation, EvaluationPage, EvaluationStatus, NewEvaluation, Reviewed,
        Reviewing, ToJudge, Verdict,
    },
    jobs::Job,
    messages::{Message, MessageType, NewMessage, Role, SystemMessage},
    schema::{conversations, db_now, evaluations, messages, substr, substr_of, turn_events},
    types::JsonColumn,
};

/// The statuses that wait for a review.
const UNREVIEWED: [EvaluationStatus; 2] = [EvaluationStatus::Failed, EvaluationStatus::Undecided];
/// Counting of evaluations to review stops here.
const MAX_COUNTED: i64 = 100;

/// The columns of an [`Evaluation`]. `brief`, for lists: only the first [`BRIEF`] characters of the answer.
macro_rules! columns {
    () => {
        columns!(messages::body, messages::retracted)
    };
    (brief) => {
        columns!(
            substr(messages::body, 1, BRIEF),
            substr_of(messages::retracted, 1, BRIEF)
        )
    };
    ($body:expr, $retracted:expr) => {
        (
            evaluations::id,
            evaluations::conversation_id,
            evaluations::message_id,
            messages::turn_id,
            evaluations::judge,
            evaluations::criterion,
            evaluations::status,
            evaluations::score,
            evaluations::reason,
            evaluations::created_at,
            evaluations::verdict,
            evaluations::reviewed_by,
            evaluations::reviewed_at,
            $body,
            $retracted,
        )
    };
}

/// Evaluations joined with their answers.
macro_rules! rows {
    () => {
        evaluations::table.inner_join(messages::table.on(messages::id.eq(evaluations::message_id)))
    };
}

pub fn to_judge(conn: &mut Conn, answer: MessageId, history: i64) -> QueryResult<Option<ToJudge>> {
    let answer: Option<Message> = messages::table
        .filter(messages::id.eq(answer))
        .filter(messages::retracted.is_null())
        .select(Message::as_select())
        .first(conn)
        .optional()?;
    let Some(answer) = answer else {
        return Ok(None);
    };
    let judged_by = evaluations::table
        .filter(evaluations::message_id.eq(answer.id))
        .select(evaluations::judge)
        .load(conn)?;
    let before = message_rows::window(conn, answer.conversation_id, answer.seq - 1, history)?;
    let shown = messages::table
        .filter(messages::turn_id.eq(answer.turn_id))
        .filter(messages::role.eq(Role::Assistant))
        .filter(messages::seq.gt(answer.seq))
        .filter(messages::retracted.is_null())
        .order(messages::seq)
        .select(messages::body)
        .load(conn)?;
    Ok(Some(ToJudge {
        answer,
        shown,
        history: before,
        judged_by,
    }))
}

pub fn add(conn: &mut Conn, new: &NewEvaluation) -> Result<(), StoreError> {
    write_tx(conn, |conn| insert(conn, new).map_err(Into::into))
}

fn insert(conn: &mut Conn, new: &NewEvaluation) -> QueryResult<()> {
    // Locked, so that the conversation is not deleted and the answer not retracted meanwhile.
    let held = locks::lock(conn, new.conversation_id)?;
    let answer = messages::table
        .filter(messages::id.eq(new.message_id))
        .filter(messages::retracted.is_null());
    if held.is_none() || !select(exists(answer)).get_result::<bool>(conn)? {
        return Ok(());
    }
    let id = EvaluationId::new();
    let added = diesel::insert_into(evaluations::table)
        .values((
            evaluations::id.eq(id),
            evaluations::conversation_id.eq(new.conversation_id),
            evaluations::message_id.eq(new.message_id),
            evaluations::judge.eq(&new.judge),
            evaluations::criterion.eq(new.criterion),
            evaluations::status.eq(new.status),
            evaluations::score.eq(new.score),
            evaluations::reason.eq(&new.reason),
            evaluations::input_tokens.eq(new.usage.0),
            evaluations::output_tokens.eq(new.usage.1),
            evaluations::created_at.eq(db_now()),
        ))
        .on_conflict((evaluations::message_id, evaluations::judge))
        .do_nothing()
        .execute(conn)?;
    if added == 0 || new.status == EvaluationStatus::Passed {
        return Ok(());
    }
    for kind in &new.notify {
        let event = json!({"type": "eval.failed", "data": {
            "evaluation_id": id,
            "conversation_id": new.conversation_id,
            "message_id": new.message_id,
            "judge": new.judge,
            "criterion": new.criterion,
            "status": new.status,
            "score": new.score,
        }});
        jobs::add(conn, kind, event)?;
    }
    Ok(())
}

pub fn give_up(
    conn: &mut Conn,
    job: &Job,
    error: &str,
    undecided: &[NewEvaluation],
) -> Result<(), StoreError> {
    write_tx(conn, |conn| {
        if jobs::failed(conn, job, error, None)? == 0 {
            return Ok(());
        }
        for new in undecided {
            insert(conn, new)?;
        }
        Ok(())
    })
}

pub fn page(
    conn: &mut Conn,
    status: EvaluationStatus,
    (limit, skipped): (i64, i64),
    actor: &Actor,
) -> Result<EvaluationPage, StoreError> {
    write_tx(conn, |conn| {
        let total = evaluations::table
            .filter(evaluations::status.eq(status))
            .count()
            .get_result(conn)?;
        let page: Vec<Evaluation> = rows!()
            .filter(evaluations::status.eq(status))
            .order(evaluations::id.desc())
            .limit(limit)
            .offset(skipped)
            .select(columns!(brief))
            .load(conn)?;
        let seen: BTreeSet<_> = page.iter().map(|one| one.conversation_id).collect();
        if !seen.is_empty() {
            audit::write_all(conn, actor, &Vec::from_iter(seen))?;
        }
        let mut around = around(conn, &page)?;
        let page = page.into_iter().map(|evaluation| {
            let around = around.remove(&evaluation.id).unwrap_or_default();
            (evaluation, around)
        });
        Ok(EvaluationPage {
            evaluations: page.collect(),
            total,
        })
    })
}

/// A message of a turn: turn, id, role, text, and the text before it was retracted.
type InTurn = (Option<TurnId>, MessageId, Role, String, Option<String>);

/// The other messages in the turns of these answers.
fn around(conn: &mut Conn, page: &[Evaluation]) -> QueryResult<HashMap<EvaluationId, Around>> {
    let turns = page.iter().filter_map(|evaluation| evaluation.turn_id);
    let said: Vec<InTurn> = messages::table
        .filter(messages::turn_id.eq_any(turns.map(Some)))
        .filter(messages::role.eq_any([Role::User, Role::Assistant]))
        .order(messages::seq)
        .select((
            messages::turn_id,
            messages::id,
            messages::role,
            substr(messages::body, 1, BRIEF),
            substr_of(messages::retracted, 1, BRIEF),
        ))
        .load(conn)?;
    let mut all: HashMap<EvaluationId, Around> = HashMap::new();
    for evaluation in page {
        let around = all.entry(evaluation.id).or_default();
        for (turn, id, role, body, retracted) in &said {
            if *turn != evaluation.turn_id || *id == evaluation.message_id {
                continue;
            }
            let said = match role {
                Role::User => &mut around.asked,
                _ => &mut around.shown,
            };
            said.push(retracted.as_ref().unwrap_or(body).clone());
        }
    }
    Ok(all)
}

/// How many evaluations wait for a review, counted up to `MAX_COUNTED`.
pub fn to_review(conn: &mut Conn) -> QueryResult<i64> {
    let open = evaluations::table
        .filter(evaluations::status.eq_any(UNREVIEWED))
        .limit(MAX_COUNTED)
        .select(evaluations::id);
    let open: Vec<EvaluationId> = open.load(conn)?;
    Ok(i64::try_from(open.len()).unwrap_or(i64::MAX))
}

pub fn review(conn: &mut Conn, reviewing: &Reviewing) -> Result<Reviewed, StoreError> {
    write_tx(conn, |conn| {
        let of = evaluations::table.filter(evaluations::id.eq(reviewing.evaluation));
        let conversation = of
            .select(evaluations::conversation_id)
            .first(conn)
            .optional()?;
        let Some(conversation) = conversation else {
            return Ok(Reviewed::None);
        };
        let Some(row) = locks::lock(conn, conversation)? else {
            return Ok(Reviewed::None);
        };
        let get = |conn: &mut Conn| -> QueryResult<Option<Evaluation>> {
            let found = rows!().filter(evaluations::id.eq(reviewing.evaluation));
            found.select(columns!()).first(conn).optional()
        };
        let Some(evaluation) = get(conn)? else {
            return Ok(Reviewed::None);
        };
        if !UNREVIEWED.contains(&evaluation.status) {
            return Ok(Reviewed::Before);
        }
        let holder = row.expert_id.filter(|holder| *holder != reviewing.expert);
        if reviewing.verdict == Verdict::Correct && holder.is_some() {
            return Ok(Reviewed::Another);
        }
        // One review of the answer settles the evaluations of all judges.
        let open = evaluations::table
            .filter(evaluations::message_id.eq(evaluation.message_id))
            .filter(evaluations::status.eq_any(UNREVIEWED));
        diesel::update(open)
            .set((
                evaluations::status.eq(EvaluationStatus::Reviewed),
                evaluations::verdict.eq(reviewing.verdict),
                evaluations::reviewed_by.eq(&reviewing.actor.sub),
                evaluations::reviewed_at.eq(db_now().nullable()),
            ))
            .execute(conn)?;
        if reviewing.verdict != Verdict::Approve {
            withdraw(conn, &row, &evaluation, reviewing)?;
        }
        audit::write(conn, &reviewing.actor, conversation)?;
        Ok(get(conn)?.map_or(Reviewed::None, |done| Reviewed::Done(Box::new(done))))
    })
}

/// Retracts an answer and its widgets, and tells the visitor. The conversation's row must be locked.
fn withdraw(
    conn: &mut Conn,
    row: &locks::Locked,
    evaluation: &Evaluation,
    reviewing: &Reviewing,
) -> QueryResult<()> {
    let of_turn = messages::turn_id.eq(evaluation.turn_id);
    let is_answer = messages::id.eq(evaluation.message_id).nullable();
    let answer = messages::table
        .filter(of_turn.or(is_answer))
        .filter(messages::role.eq(Role::Assistant))
        .filter(messages::retracted.is_null());
    let retracts: Vec<MessageId> = diesel::update(answer)
        .set((
            messages::retracted.eq(messages::body.nullable()),
            messages::body.eq(""),
            messages::component_data.eq(None::<JsonColumn>),
            messages::metadata.eq(None::<JsonColumn>),
        ))
        .returning(messages::id)
        .get_results(conn)?;
    if retracts.is_empty() {
        return Ok(());
    }
    // The turn's log contains the text, too.
    if let Some(turn) = evaluation.turn_id {
        let log = turn_events::table.filter(turn_events::turn_id.eq(turn));
        diesel::delete(log).execute(conn)?;
    }
    let said = 1 + i64::from(reviewing.instead.is_some());
    let conversation = evaluation.conversation_id;
    diesel::update(conversations::table.filter(conversations::id.eq(conversation)))
        .set((
            conversations::last_seq.eq(row.last_seq + said),
            conversations::updated_at.eq(db_now()),
        ))
        .execute(conn)?;
    let line = SystemMessage {
        retracts,
        ..reviewing.line.clone()
    };
    message_rows::insert_line(conn, (conversation, row.last_seq + 1), row.mode, &line)?;
    if let Some((id, body)) = &reviewing.instead {
        let at = (conversation, row.last_seq + 2);
        let new = NewMessage {
            expert_id: Some(reviewing.expert),
            ..NewMessage::new(*id, at, MessageType::ExpertMessage, body)
        };
        message_rows::insert(conn, new)?;
    }
    Ok(())
}
