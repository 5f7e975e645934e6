//! Token budgets: reserves and settles tokens. Compiled once for each database.

use diesel::{
    dsl::{exists, min, sql},
    expression::SqlLiteral,
    prelude::*,
    select,
    sql_types::BigInt,
};

use super::dialect::{Conn, write_tx};
use crate::store::{
    ConversationId, EvaluationId, StoreError, TurnId,
    budgets::{Reserve, Spent, SpentBy},
    error::Abort,
    schema::{budgets, evaluations, messages, reservations, turns},
};

pub fn reserve(conn: &mut Conn, reserve: &Reserve) -> Result<bool, StoreError> {
    let reserved = write_tx(conn, |conn| reserve_within(conn, reserve));
    Abort::outcome(reserved, |()| true)
}

fn reserve_within(conn: &mut Conn, reserve: &Reserve) -> Result<(), Abort<bool>> {
    let own = reservations::table.filter(reservations::turn_id.eq(reserve.turn_id));
    if select(exists(own)).get_result(conn)? {
        return Err(Abort::With(true));
    }
    // In one order everywhere, so that two turns do not deadlock.
    let mut scopes: Vec<_> = reserve.scopes.iter().collect();
    scopes.sort();
    for (scope, most) in scopes {
        diesel::insert_into(budgets::table)
            .values((
                budgets::scope.eq(scope),
                budgets::day.eq(reserve.day),
                budgets::spent.eq(0),
                budgets::reserved.eq(0),
            ))
            .on_conflict_do_nothing()
            .execute(conn)?;
        let fitting = budgets::table
            .filter(budgets::scope.eq(scope))
            .filter(budgets::day.eq(reserve.day))
            .filter((budgets::spent + budgets::reserved + reserve.tokens).le(most));
        let reserved = diesel::update(fitting)
            .set(budgets::reserved.eq(budgets::reserved + reserve.tokens))
            .execute(conn)?;
        if reserved == 0 {
            return Err(Abort::With(false));
        }
        diesel::insert_into(reservations::table)
            .values((
                reservations::turn_id.eq(reserve.turn_id),
                reservations::scope.eq(scope),
                reservations::day.eq(reserve.day),
                reservations::tokens.eq(reserve.tokens),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// A finished turn's reservation: turn, scope, day, reserved tokens, spent input and output tokens.
type EndedReservation = (TurnId, String, i64, i64, Option<i64>, Option<i64>);

pub fn settle(conn: &mut Conn, turn: Option<TurnId>, limit: i64) -> Result<usize, StoreError> {
    // Usually there is nothing to settle: skip the write transaction.
    if turn.is_none()
        && !select(exists(reservations::table.select(reservations::day)))
            .get_result::<bool>(conn)?
    {
        return Ok(0);
    }
    write_tx(conn, |conn| -> Result<usize, StoreError> {
        let ended = reservations::table
            .inner_join(turns::table.on(turns::id.eq(reservations::turn_id)))
            .filter(turns::finish_reason.is_not_null())
            .order((reservations::scope, reservations::turn_id))
            .limit(limit)
            .select((
                reservations::turn_id,
                reservations::scope,
                reservations::day,
                reservations::tokens,
                turns::input_tokens,
                turns::output_tokens,
            ));
        let ended: Vec<EndedReservation> = match turn {
            Some(turn) => ended.filter(reservations::turn_id.eq(turn)).load(conn)?,
            None => ended.load(conn)?,
        };
        let mut settled = 0;
        for (turn, scope, day, tokens, input, output) in ended {
            let own = reservations::table
                .filter(reservations::turn_id.eq(turn))
                .filter(reservations::scope.eq(&scope));
            // Only the transaction that deletes the reservation settles it.
            if diesel::delete(own).execute(conn)? == 0 {
                continue;
            }
            // The usage of a turn whose instance died is unknown: count what was reserved.
            let spent = input
                .zip(output)
                .map_or(tokens, |(input, output)| input + output);
            settle_one(conn, &scope, day, (tokens, spent))?;
            settled += 1;
        }
        Ok(settled)
    })
}

/// A reservation: scope, day, tokens.
type Reserved = (String, i64, i64);

/// Deletes and returns the reservations of conversations that are about to be deleted. The transaction that deletes a
/// reservation is the one that settles it.
pub fn take_reserved(conn: &mut Conn, of: Vec<ConversationId>) -> QueryResult<Vec<Reserved>> {
    let turns = turns::table
        .filter(turns::conversation_id.eq_any(of))
        .select(turns::id);
    diesel::delete(reservations::table.filter(reservations::turn_id.eq_any(turns)))
        .returning((reservations::scope, reservations::day, reservations::tokens))
        .get_results(conn)
}

/// Counts reserved tokens as spent: a deleted turn cannot report its usage any more. Budgets are locked last, in the
/// order of their scopes, as everywhere.
pub fn count_spent(conn: &mut Conn, mut reserved: Vec<Reserved>) -> QueryResult<()> {
    reserved.sort();
    for (scope, day, tokens) in reserved {
        settle_one(conn, &scope, day, (tokens, tokens))?;
    }
    Ok(())
}

/// Releases a budget's reserved tokens and adds the spent ones.
fn settle_one(
    conn: &mut Conn,
    scope: &str,
    day: i64,
    (tokens, spent): (i64, i64),
) -> QueryResult<usize> {
    let budget = budgets::table
        .filter(budgets::scope.eq(scope))
        .filter(budgets::day.eq(day));
    diesel::update(budget)
        .set((
            budgets::reserved.eq(budgets::reserved - tokens),
            budgets::spent.eq(budgets::spent + spent),
        ))
        .execute(conn)
}

pub fn forget(conn: &mut Conn, before: i64) -> QueryResult<usize> {
    let oldest: Option<i64> = budgets::table.select(min(budgets::day)).first(conn)?;
    match oldest.filter(|oldest| *oldest < before) {
        Some(oldest) => {
            diesel::delete(budgets::table.filter(budgets::day.eq(oldest))).execute(conn)
        }
        None => Ok(0),
    }
}

pub fn spent(conn: &mut Conn, by: &SpentBy) -> QueryResult<(Spent, Spent)> {
    let mut of_turns = turns::table.into_boxed();
    let mut of_judges = evaluations::table.into_boxed();
    if let Some(from) = by.from {
        of_turns = of_turns.filter(turns::id.ge(TurnId::first_at(from)));
        of_judges = of_judges.filter(evaluations::id.ge(EvaluationId::first_at(from)));
    }
    if let Some(before) = by.before {
        of_turns = of_turns.filter(turns::id.lt(TurnId::first_at(before)));
        of_judges = of_judges.filter(evaluations::id.lt(EvaluationId::first_at(before)));
    }
    if let Some(device) = &by.device {
        let is_its = turns::device_id.eq(device.as_str());
        of_turns = of_turns.filter(is_its);
        let its = turns::table.filter(is_its).select(turns::id.nullable());
        let its = messages::table.filter(messages::turn_id.eq_any(its));
        of_judges = of_judges.filter(evaluations::message_id.eq_any(its.select(messages::id)));
    }
    if let Some(conversation) = by.conversation {
        of_turns = of_turns.filter(turns::conversation_id.eq(conversation));
        of_judges = of_judges.filter(evaluations::conversation_id.eq(conversation));
    }
    let of_turns = of_turns.filter(turns::input_tokens.is_not_null());
    Ok((
        of_turns.select(sums()).first(conn)?,
        of_judges.select(sums()).first(conn)?,
    ))
}

/// The columns of a [`Spent`]. Cast, because PostgreSQL's sum of a bigint is a numeric.
fn sums() -> (SqlLiteral<BigInt>, SqlLiteral<BigInt>, SqlLiteral<BigInt>) {
    (
        sql("count(*)"),
        sql("coalesce(cast(sum(input_tokens) as bigint), 0)"),
        sql("coalesce(cast(sum(output_tokens) as bigint), 0)"),
    )
}
