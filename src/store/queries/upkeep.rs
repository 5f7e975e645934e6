//! Bounded pieces of housekeeping. Compiled once for each database.

use diesel::prelude::*;

use super::{
    dialect::{Conn, skip_locked, write_tx},
    turns,
};
use crate::store::{
    ConversationId, StoreError, TurnId,
    schema::{conversations, db_now, turn_events},
};

pub fn close_abandoned(conn: &mut Conn, limit: i64) -> Result<usize, StoreError> {
    write_tx(conn, |conn| {
        let abandoned = conversations::table
            .filter(conversations::running_turn.is_not_null())
            .filter(conversations::lease_until.le(db_now().nullable()))
            .order(conversations::lease_until)
            .limit(limit)
            .select((conversations::id, conversations::running_turn));
        let abandoned: Vec<(ConversationId, Option<TurnId>)> =
            skip_locked!(abandoned).load(conn)?;
        close_each(conn, abandoned)
    })
}

pub fn close_all(conn: &mut Conn) -> Result<usize, StoreError> {
    write_tx(conn, |conn| {
        let running = conversations::table
            .filter(conversations::running_turn.is_not_null())
            .select((conversations::id, conversations::running_turn));
        let running = running.load(conn)?;
        close_each(conn, running)
    })
}

fn close_each(
    conn: &mut Conn,
    running: Vec<(ConversationId, Option<TurnId>)>,
) -> Result<usize, StoreError> {
    for (conversation, turn) in &running {
        if let Some(turn) = turn {
            turns::close(conn, *conversation, *turn)?;
        }
    }
    Ok(running.len())
}

pub fn prune_logs(conn: &mut Conn, limit: i64) -> Result<usize, StoreError> {
    write_tx(conn, |conn| {
        let old = turn_events::table
            .filter(turn_events::expires_at.le(db_now()))
            .order(turn_events::expires_at)
            .limit(limit)
            .select(turn_events::turn_id);
        let turns: Vec<TurnId> = skip_locked!(old).load(conn)?;
        if turns.is_empty() {
            return Ok(0);
        }
        let rows = turn_events::table.filter(turn_events::turn_id.eq_any(turns));
        Ok(diesel::delete(rows).execute(conn)?)
    })
}
