//! Begins and finishes many turns at once: in one transaction, one after the other, each in a savepoint. The isolation
//! parameter is unused: SQLite has one isolation level.

use std::{sync::Arc, time::Duration};

use diesel::prelude::*;

use super::{
    begin,
    dialect::{Conn, write_tx},
    fence, turns,
};
use crate::store::{
    InstanceId, StoreError, TurnId,
    begin::{Begin, BeginTurn},
    logs::NewLogSegment,
    milliseconds,
    schema::{conversations, db_now, db_now_plus, turn_pieces},
    turns::{Finish, FinishTurn, Renewed},
};

pub fn begin_turns(
    conn: &mut Conn,
    turns: &[Arc<BeginTurn>],
    _: bool,
) -> Result<Vec<Option<Begin>>, StoreError> {
    each(conn, turns, begin::begin)
}

pub fn finish_turns(
    conn: &mut Conn,
    turns: &[Arc<FinishTurn>],
    _: bool,
) -> Result<Vec<Option<Finish>>, StoreError> {
    each(conn, turns, turns::finish)
}

/// Appends to the logs of running turns.
pub fn write_logs(
    conn: &mut Conn,
    pieces: &[NewLogSegment],
    _: bool,
) -> Result<Vec<Renewed>, StoreError> {
    write_tx(conn, |conn| {
        let mut mine = Vec::new();
        for piece in pieces {
            let owned = fence::owned(piece.conversation_id, piece.turn_id, piece.fence);
            let stop_requested = owned
                .select(conversations::stop_requested)
                .first(conn)
                .optional()?;
            let Some(stop_requested) = stop_requested else {
                continue;
            };
            diesel::insert_into(turn_pieces::table)
                .values((
                    turn_pieces::turn_id.eq(piece.turn_id),
                    turn_pieces::attempt.eq(piece.attempt),
                    turn_pieces::first_seq.eq(piece.first_seq),
                    turn_pieces::last_seq.eq(piece.last_seq),
                    turn_pieces::records.eq(&piece.records),
                    turn_pieces::written_at.eq(db_now()),
                ))
                .on_conflict_do_nothing()
                .execute(conn)?;
            mine.push(Renewed {
                turn_id: piece.turn_id,
                stop_requested,
                is_watched: false,
            });
        }
        Ok(mine)
    })
}

/// Renews the leases of an instance's turns.
pub fn renew_leases(
    conn: &mut Conn,
    instance: InstanceId,
    turns: &[TurnId],
    lease: Duration,
    _: bool,
) -> Result<Vec<Renewed>, StoreError> {
    let own = conversations::table
        .filter(conversations::owner.eq(instance))
        .filter(conversations::running_turn.eq_any(turns.iter().map(|turn| Some(*turn))));
    let renewed: Vec<(Option<TurnId>, bool)> = diesel::update(own)
        .set(conversations::lease_until.eq(db_now_plus(milliseconds(lease)).nullable()))
        .returning((conversations::running_turn, conversations::stop_requested))
        .get_results(conn)?;
    let renewed = renewed.into_iter().filter_map(|(turn, stop_requested)| {
        Some(Renewed {
            turn_id: turn?,
            stop_requested,
            is_watched: false,
        })
    });
    Ok(renewed.collect())
}

/// A step with an error of its own is left out: it is then run alone, and reports the error there.
fn each<S, T>(
    conn: &mut Conn,
    steps: &[Arc<S>],
    run: fn(&mut Conn, &S) -> Result<T, StoreError>,
) -> Result<Vec<Option<T>>, StoreError> {
    write_tx(conn, |conn| {
        let done = steps.iter().map(|step| match run(conn, step) {
            // Fail the whole batch: SQLite may have rolled the transaction back.
            Err(error) if error.is_away() || error.is_passing() => Err(error),
            done => Ok(done.ok()),
        });
        done.collect()
    })
}
