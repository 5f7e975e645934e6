//! The logs of running turns. Compiled once for each database.

use std::time::Duration;

use diesel::prelude::*;

use super::{
    dialect::{Conn, skip_locked, write_tx},
    turns,
};
use crate::store::{
    StoreError, TurnId,
    logs::{Piece, Progress},
    milliseconds,
    schema::{conversations, db_now, db_now_plus, turn_events, turn_pieces},
    turns::KeptLog,
};

/// What was flushed of an attempt after a frame, in order.
pub fn pieces(conn: &mut Conn, turn: TurnId, attempt: i32, after: i64) -> QueryResult<Vec<Piece>> {
    turn_pieces::table
        .filter(turn_pieces::turn_id.eq(turn))
        .filter(turn_pieces::attempt.eq(attempt))
        .filter(turn_pieces::last_seq.gt(after))
        .order(turn_pieces::last_seq)
        .select(Piece::as_select())
        .load(conn)
}

/// How turns stand that another instance runs, and what they have said since.
pub fn progress(
    conn: &mut Conn,
    followed: &[(TurnId, i32, i64)],
) -> Result<Vec<Progress>, StoreError> {
    let rows = turns::all(conn, followed.iter().map(|(turn, ..)| *turn))?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let Some((_, attempt, after)) = followed.iter().find(|(turn, ..)| *turn == row.id) else {
            continue;
        };
        // In this order: what ends between the two has its whole log kept.
        let pieces = pieces(conn, row.id, *attempt, *after)?;
        let kept = match row.finish_reason {
            Some(_) => turns::kept_log(conn, row.id)?,
            None => None,
        };
        let kept = kept.filter(|kept: &KeptLog| kept.attempt == *attempt);
        all.push(Progress { row, pieces, kept });
    }
    Ok(all)
}

pub fn prune(conn: &mut Conn, kept: Duration, limit: i64) -> Result<usize, StoreError> {
    write_tx(conn, |conn| {
        let old = turn_pieces::table
            .filter(turn_pieces::written_at.le(db_now_plus(-milliseconds(kept))))
            .order(turn_pieces::written_at)
            .limit(limit)
            .select(turn_pieces::turn_id);
        let of_turns: Vec<TurnId> = skip_locked!(old).load(conn)?;
        let old_events = turn_events::table
            .filter(turn_events::expires_at.le(db_now()))
            .order(turn_events::expires_at)
            .limit(limit)
            .select(turn_events::turn_id);
        let turns: Vec<TurnId> = skip_locked!(old_events).load(conn)?;
        if !of_turns.is_empty() {
            let running = conversations::table
                .filter(conversations::running_turn.eq_any(of_turns.iter().map(|turn| Some(*turn))))
                .select(conversations::running_turn);
            let running: Vec<Option<TurnId>> = running.load(conn)?;
            let done = of_turns
                .into_iter()
                .filter(|turn| !running.contains(&Some(*turn)));
            let pieces = turn_pieces::table
                .filter(turn_pieces::turn_id.eq_any(done))
                .filter(turn_pieces::written_at.le(db_now_plus(-milliseconds(kept))));
            diesel::delete(pieces).execute(conn)?;
        }
        if turns.is_empty() {
            return Ok(0);
        }
        let rows = turn_events::table
            .filter(turn_events::turn_id.eq_any(turns))
            .filter(turn_events::expires_at.le(db_now()));
        Ok(diesel::delete(rows).execute(conn)?)
    })
}
