//! Experts and their presence. Compiled once for each database.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::dialect::{Conn, write_tx};
use crate::store::{
    ExpertId, StoreError,
    experts::{Expert, Presence},
    milliseconds,
    schema::{conversations, db_now, db_now_plus, experts},
    types::JsonColumn,
};

/// An expert who was not seen for this long counts as offline. The console reports every minute.
pub const AWAY_AFTER: Duration = Duration::from_secs(300);

/// Stores an expert's presence. Waiting conversations lose an assignee who becomes unavailable.
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
    let skills = presence
        .skills
        .as_ref()
        .map(|skills| JsonColumn(json!(skills)));
    diesel::insert_into(experts::table)
        .values((
            experts::id.eq(new),
            experts::sub.eq(sub),
            experts::name.eq(&presence.name),
            experts::available.eq(presence.available.unwrap_or_default()),
            experts::skills.eq(skills.clone().unwrap_or(JsonColumn(json!([])))),
            experts::created_at.eq(db_now()),
            experts::seen_at.eq(db_now()),
        ))
        .on_conflict(experts::sub)
        .do_update()
        .set((
            experts::seen_at.eq(db_now()),
            // `None` leaves a column unchanged.
            presence.name.as_ref().map(|name| experts::name.eq(name)),
            presence.available.map(|is| experts::available.eq(is)),
            skills.map(|skills| experts::skills.eq(skills)),
        ))
        .returning(Expert::as_returning())
        .get_result(conn)
}

/// Whether an expert is online: available, and seen within [`AWAY_AFTER`].
macro_rules! is_there {
    () => {
        experts::available
            .eq(true)
            .and(experts::seen_at.gt(db_now_plus(-milliseconds(AWAY_AFTER))))
    };
}

/// All experts, each with whether they are online.
pub fn team(conn: &mut Conn) -> QueryResult<Vec<(Expert, bool)>> {
    experts::table
        .order(experts::sub)
        .select((Expert::as_select(), is_there!()))
        .load(conn)
}

/// The experts who are online.
pub fn there(conn: &mut Conn) -> QueryResult<Vec<Expert>> {
    experts::table
        .filter(is_there!())
        .order(experts::sub)
        .select(Expert::as_select())
        .load(conn)
}
