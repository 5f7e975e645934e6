//! The logs of running turns. Compiled once for each database.

use std::{collections::HashMap, time::Duration};

use diesel::prelude::*;

use super::{
    dialect::{Conn, skip_locked, write_tx},
    locks, turns as turn_rows,
};
use crate::store::{
    Attempt, FrameSeq, StoreError, TurnId,
    logs::{LogSegment, MirrorUpdate},
    milliseconds,
    schema::{conversations, db_now, db_now_plus, turn_events, turn_pieces},
    turns::KeptLog,
};

/// How many turns one statement reads.
const TOGETHER: usize = 50;

/// The stored log segments of an attempt after a frame, in order.
pub fn pieces(
    conn: &mut Conn,
    turn: TurnId,
    attempt: Attempt,
    after: FrameSeq,
) -> QueryResult<Vec<LogSegment>> {
    turn_pieces::table
        .filter(turn_pieces::turn_id.eq(turn))
        .filter(turn_pieces::attempt.eq(attempt))
        .filter(turn_pieces::last_seq.gt(after))
        .order(turn_pieces::last_seq)
        .select(LogSegment::as_select())
        .load(conn)
}

/// The state and the new log segments of turns that another instance runs.
pub fn progress(
    conn: &mut Conn,
    followed: &[(TurnId, Attempt, FrameSeq)],
) -> Result<Vec<MirrorUpdate>, StoreError> {
    let mut all = Vec::with_capacity(followed.len());
    for some in followed.chunks(TOGETHER) {
        let rows = turn_rows::all(conn, some.iter().map(|(turn, ..)| *turn))?;
        // Read after the rows: a turn that ends in between loses its segments, but its whole log is kept.
        let mut pieces = new_pieces(conn, some)?;
        for (turn, attempt, _) in some {
            let Some(row) = rows.iter().find(|row| row.id == *turn).cloned() else {
                continue;
            };
            let kept = match row.finish_reason {
                Some(_) => turn_rows::kept_log(conn, row.id)?,
                None => None,
            };
            all.push(MirrorUpdate {
                pieces: pieces.remove(&(row.id, *attempt)).unwrap_or_default(),
                attempt: *attempt,
                kept: kept.filter(|kept: &KeptLog| kept.attempt == *attempt),
                row,
            });
        }
    }
    Ok(all)
}

/// The new log segments of several turns, read in one statement.
fn new_pieces(
    conn: &mut Conn,
    followed: &[(TurnId, Attempt, FrameSeq)],
) -> QueryResult<HashMap<(TurnId, Attempt), Vec<LogSegment>>> {
    let mut wanted = turn_pieces::table
        .order((turn_pieces::turn_id, turn_pieces::last_seq))
        .select((
            (turn_pieces::turn_id, turn_pieces::attempt),
            LogSegment::as_select(),
        ))
        .into_boxed();
    for (turn, attempt, after) in followed {
        wanted = wanted.or_filter(
            turn_pieces::turn_id
                .eq(*turn)
                .and(turn_pieces::attempt.eq(*attempt))
                .and(turn_pieces::last_seq.gt(*after)),
        );
    }
    let found: Vec<((TurnId, Attempt), LogSegment)> = wanted.load(conn)?;
    let mut by_attempt: HashMap<_, Vec<LogSegment>> = HashMap::new();
    for (attempt, piece) in found {
        by_attempt.entry(attempt).or_default().push(piece);
    }
    Ok(by_attempt)
}

/// Tells the instances that run these turns that another one follows them, for this long.
pub fn watch(conn: &mut Conn, turns: &[TurnId], time: Duration) -> Result<usize, StoreError> {
    let running = conversations::table
        .filter(conversations::running_turn.eq_any(turns.iter().map(|turn| Some(*turn))));
    write_tx(conn, |conn| {
        locks::lock_in_order(conn, turns)?;
        let watched = diesel::update(running)
            .set(conversations::watched_until.eq(db_now_plus(milliseconds(time)).nullable()));
        Ok(watched.execute(conn)?)
    })
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
