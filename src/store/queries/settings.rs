//! Settings that all instances share. Compiled once for each database.

use diesel::prelude::*;

use super::dialect::Conn;
use crate::store::{StoreError, schema::settings};

pub fn get(conn: &mut Conn, key: &str) -> Result<Option<String>, StoreError> {
    let row = settings::table.filter(settings::key.eq(key));
    Ok(row.select(settings::value).first(conn).optional()?)
}

pub fn get_or_set(conn: &mut Conn, key: &str, new: &str) -> Result<String, StoreError> {
    diesel::insert_into(settings::table)
        .values((settings::key.eq(key), settings::value.eq(new)))
        .on_conflict(settings::key)
        .do_nothing()
        .execute(conn)?;
    get(conn, key)?.ok_or_else(|| StoreError::Refused(format!("setting {key} is gone")))
}
