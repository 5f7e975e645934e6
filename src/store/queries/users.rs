//! Visitors and users. Compiled once for each database.

use diesel::prelude::*;

use super::dialect::Conn;
use crate::store::{
    Owner, UserId,
    cached::cached,
    schema::{db_now, users},
};

/// Creates an owner's user row, or notes that they were seen. Returns its id and name.
pub fn person(
    conn: &mut Conn,
    new: UserId,
    device: &Owner,
) -> QueryResult<(UserId, Option<String>)> {
    let person = diesel::insert_into(users::table)
        .values((
            users::id.eq(new),
            users::phone_number.eq(device.handle()),
            users::created_at.eq(db_now()),
            users::last_seen_at.eq(db_now()),
        ))
        .on_conflict(users::phone_number)
        .do_update()
        .set(users::last_seen_at.eq(db_now()))
        .returning((users::id, users::name));
    cached(person).get_result(conn)
}

/// Logs a newly created user. Must be called after the commit.
pub fn log_new(person: UserId, new: UserId) {
    if person == new {
        tracing::info!(user.id = %person, "user created");
    }
}
