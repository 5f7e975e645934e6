//! The queue of conversations that wait for an expert. Compiled once for each database.

use std::collections::HashMap;

use diesel::{dsl::count_star, prelude::*};
use serde_json::json;

use super::{dialect::Conn, experts as people, jobs, messages};
use crate::store::{
    ConversationId, ExpertId, MessageSeq,
    cached::cached,
    experts::Expert,
    milliseconds,
    queue::{HandoffRequest, QueueNotice},
    schema::{conversations, db_now, db_now_plus, experts},
    sessions::Mode,
    types::SqlTime,
};

/// How many conversations of the queue are read.
const PLACES: i64 = 1_000;
/// How many conversations are assigned at once.
const MAX_HANDED_OUT: usize = 100;

/// The waiting conversations, the longest waiting first.
pub fn places(conn: &mut Conn) -> QueryResult<Vec<ConversationId>> {
    conversations::table
        .filter(conversations::waiting_since.is_not_null())
        .order((conversations::waiting_since, conversations::id))
        .limit(PLACES)
        .select(conversations::id)
        .load(conn)
}

/// A conversation's place among them, from 1; the place after the last if it is not among them.
pub fn position(places: &[ConversationId], id: ConversationId) -> i64 {
    let before = places.iter().take_while(|waiting| **waiting != id).count();
    i64::try_from(before).map_or(i64::MAX, |before| before + 1)
}

pub fn place(conn: &mut Conn, id: ConversationId) -> QueryResult<Option<(i64, bool)>> {
    let waiting: Option<(ConversationId, Option<ExpertId>)> = conversations::table
        .filter(conversations::id.eq(id))
        .filter(conversations::waiting_since.is_not_null())
        .select((conversations::id, conversations::assigned_to))
        .first(conn)
        .optional()?;
    let Some((_, asked)) = waiting else {
        return Ok(None);
    };
    let mut there = people::there(conn)?.into_iter();
    let is_asked = there.any(|expert| Some(expert.id) == asked);
    Ok(Some((position(&places(conn)?, id), is_asked)))
}

/// Queues a conversation: assigns an expert if one is online, and stores what the visitor reads. The
/// conversation's row must be locked.
pub fn ask(
    conn: &mut Conn,
    conversation: ConversationId,
    seq: MessageSeq,
    ask: &HandoffRequest,
) -> QueryResult<()> {
    let mut team = Team::there(conn)?;
    let free = team.ask(ask.skill.as_deref(), None);
    let queued = diesel::update(conversations::table.filter(conversations::id.eq(conversation)))
        .set((
            conversations::mode.eq(Mode::Expert),
            conversations::expert_id.eq(None::<ExpertId>),
            conversations::assigned_to.eq(free.map(|expert| expert.id)),
            conversations::waiting_since.eq(db_now().nullable()),
            conversations::reason.eq(&ask.reason),
            conversations::skill.eq(&ask.skill),
        ))
        .returning(conversations::id);
    let _: ConversationId = cached(queued).get_result(conn)?;
    let queued = Queued {
        conversation,
        seq,
        skill: ask.skill.as_deref(),
        asked: free.map(|expert| (expert, true)),
    };
    queued.tell(conn, "expert.asked", &ask.told, &ask.notify)
}

/// Takes a conversation out of the queue, because its owner has left or closed it. Agents answer again.
pub fn leave(conn: &mut Conn, conversation: ConversationId) -> QueryResult<usize> {
    let waiting = conversations::table
        .filter(conversations::id.eq(conversation))
        .filter(conversations::waiting_since.is_not_null());
    diesel::update(waiting)
        .set((
            conversations::mode.eq(Mode::Ai),
            conversations::assigned_to.eq(None::<ExpertId>),
            conversations::waiting_since.eq(None::<SqlTime>),
            conversations::reason.eq(None::<String>),
            conversations::skill.eq(None::<String>),
        ))
        .execute(conn)
}

/// A conversation that its expert transfers: to a colleague, or to anyone with a skill.
pub struct Transfer<'a> {
    pub conversation: ConversationId,
    /// The number of the system message that says so.
    pub seq: MessageSeq,
    pub from: Option<ExpertId>,
    pub colleague: Option<ExpertId>,
    pub skill: Option<&'a str>,
    pub told: &'a QueueNotice,
    pub notify: &'a [&'static str],
}

/// Puts a transferred conversation into the queue. Its row must be locked.
pub fn pass_on(conn: &mut Conn, passed: &Transfer<'_>) -> QueryResult<()> {
    let asked = match passed.colleague {
        Some(colleague) => {
            let mut team = people::team(conn)?.into_iter();
            team.find(|(expert, _)| expert.id == colleague)
        }
        None => {
            let free = Team::there(conn)?.ask(passed.skill, passed.from).cloned();
            free.map(|free| (free, true))
        }
    };
    diesel::update(conversations::table.filter(conversations::id.eq(passed.conversation)))
        .set((
            conversations::assigned_to.eq(asked.as_ref().map(|(expert, _)| expert.id)),
            conversations::skill.eq(passed.skill),
            conversations::waiting_since.eq(db_now().nullable()),
        ))
        .execute(conn)?;
    let queued = Queued {
        conversation: passed.conversation,
        seq: passed.seq,
        skill: passed.skill,
        asked: asked.as_ref().map(|(expert, is_there)| (expert, *is_there)),
    };
    queued.tell(conn, "expert.transferred", passed.told, passed.notify)
}

/// A conversation that was just queued.
struct Queued<'a> {
    conversation: ConversationId,
    seq: MessageSeq,
    skill: Option<&'a str>,
    /// The assigned expert, and whether they are online.
    asked: Option<(&'a Expert, bool)>,
}

impl Queued<'_> {
    /// Tells the visitor, and adds the jobs that notify people outside.
    fn tell(
        &self,
        conn: &mut Conn,
        event: &str,
        told: &QueueNotice,
        notify: &[&'static str],
    ) -> QueryResult<()> {
        let position = position(&places(conn)?, self.conversation);
        for kind in notify {
            let event = json!({"type": event, "data": {
                "conversation_id": self.conversation,
                "skill": self.skill,
                "assigned_to": self.asked.map(|(expert, _)| &expert.sub),
                "position": position,
            }});
            jobs::add(conn, kind, event)?;
        }
        let is_there = self.asked.is_some_and(|(_, is_there)| is_there);
        let line = told.line(position, is_there);
        messages::insert_line(conn, (self.conversation, self.seq), Mode::Expert, &line)
    }
}

/// The experts who are online, each with their load: conversations claimed, and assigned ones that wait.
struct Team(Vec<(Expert, i64)>);

impl Team {
    fn there(conn: &mut Conn) -> QueryResult<Self> {
        let held = conversations::table
            .filter(conversations::expert_id.is_not_null())
            .group_by(conversations::expert_id)
            .select((conversations::expert_id, count_star()));
        let held: Vec<(Option<ExpertId>, i64)> = held.load(conn)?;
        let asked = conversations::table
            .filter(conversations::waiting_since.is_not_null())
            .group_by(conversations::assigned_to)
            .select((conversations::assigned_to, count_star()));
        let asked: Vec<(Option<ExpertId>, i64)> = asked.load(conn)?;
        let mut loads: HashMap<ExpertId, i64> = HashMap::new();
        for (expert, count) in held.into_iter().chain(asked) {
            if let Some(expert) = expert {
                *loads.entry(expert).or_default() += count;
            }
        }
        let load = |expert: Expert| {
            let load = loads.get(&expert.id).copied().unwrap_or_default();
            (expert, load)
        };
        Ok(Self(people::there(conn)?.into_iter().map(load).collect()))
    }

    /// Picks the expert with the lowest load, except `but`, and adds one to that load. Experts with the skill
    /// come first.
    fn ask(&mut self, skill: Option<&str>, but: Option<ExpertId>) -> Option<&Expert> {
        let knows = |expert: &Expert| {
            skill.is_none_or(|skill| {
                let skills = expert.skills.as_array();
                skills.is_some_and(|skills| skills.iter().any(|known| known == skill))
            })
        };
        let others = self
            .0
            .iter_mut()
            .filter(|(expert, _)| Some(expert.id) != but);
        let (expert, load) = others.min_by_key(|(expert, load)| (!knows(expert), *load))?;
        *load += 1;
        Some(expert)
    }
}

/// A waiting conversation: id, skill, assignee, waiting since.
type WaitingRow = (
    ConversationId,
    Option<String>,
    Option<ExpertId>,
    Option<SqlTime>,
);

/// True if unassigned, or if the assignee has gone offline since. A conversation transferred to an expert who was
/// already offline stays assigned.
fn is_nobodys(
    asked: Option<ExpertId>,
    since: Option<SqlTime>,
    left: &HashMap<ExpertId, SqlTime>,
) -> bool {
    let Some(asked) = asked else { return true };
    let away = i64::try_from(people::AWAY_AFTER.as_micros()).unwrap_or(i64::MAX);
    let seen = left.get(&asked).map(|seen| seen.0.0);
    seen.zip(since)
        .is_some_and(|(seen, since)| seen + away > since.0.0)
}

/// Assigns conversations for which `is_nobodys` is true to online experts. Returns how many were reassigned.
pub fn hand_out(conn: &mut Conn) -> QueryResult<usize> {
    let left: Vec<(ExpertId, SqlTime)> = experts::table
        .filter(experts::available.eq(true))
        .filter(experts::seen_at.le(db_now_plus(-milliseconds(people::AWAY_AFTER))))
        .select((experts::id, experts::seen_at))
        .load(conn)?;
    let left: HashMap<ExpertId, SqlTime> = left.into_iter().collect();
    let waiting = conversations::table
        .filter(conversations::waiting_since.is_not_null())
        .filter(
            conversations::assigned_to
                .is_null()
                .or(conversations::assigned_to.eq_any(left.keys())),
        )
        .order((conversations::waiting_since, conversations::id))
        .limit(PLACES)
        .select((
            conversations::id,
            conversations::skill,
            conversations::assigned_to,
            conversations::waiting_since,
        ));
    let mut waiting: Vec<WaitingRow> = waiting.load(conn)?;
    waiting.retain(|(.., asked, since)| is_nobodys(*asked, *since, &left));
    // Usually there is nothing to do.
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut team = Team::there(conn)?;
    let mut given = 0;
    for (id, skill, before, _) in waiting.into_iter().take(MAX_HANDED_OUT) {
        let asked = team.ask(skill.as_deref(), before).map(|expert| expert.id);
        if asked == before {
            continue;
        }
        // Not if the conversation was claimed or reassigned meanwhile.
        let still = conversations::table
            .filter(conversations::id.eq(id))
            .filter(conversations::waiting_since.is_not_null());
        let given_to = conversations::assigned_to.eq(asked);
        given += match before {
            Some(before) => diesel::update(still.filter(conversations::assigned_to.eq(before)))
                .set(given_to)
                .execute(conn)?,
            None => diesel::update(still.filter(conversations::assigned_to.is_null()))
                .set(given_to)
                .execute(conn)?,
        };
    }
    Ok(given)
}
