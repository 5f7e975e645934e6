//! The columns' SQL types, which both databases know, and the Rust types for them.
//!
//! | SQL type | PostgreSQL | SQLite | Rust |
//! | --- | --- | --- | --- |
//! | [`Uid`] | `uuid` | blob of 16 bytes | the ids in [`super::ids`] |
//! | [`Ts`] | `timestamptz` | microseconds since 1970 | [`Timestamp`] |
//! | [`Doc`] | `jsonb` | text | [`JsonColumn`] |

use std::io::Write as _;

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow, FromStaticSqlRow, Queryable},
    expression::AsExpression,
    pg::{Pg, PgValue},
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Nullable, SqlType, Text},
    sqlite::{Sqlite, SqliteValue},
};
use serde_json::Value;

use crate::{clock::Timestamp, text};

/// An id.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951))]
#[diesel(sqlite_type(name = "Binary"))]
pub struct Uid;

/// A point in time.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(sqlite_type(name = "Long"))]
pub struct Ts;

/// A JSON document.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 3802, array_oid = 3807))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Doc;

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL's timestamps.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A [`Timestamp`] as a column's value.
#[derive(Debug, Clone, Copy, AsExpression, FromSqlRow)]
#[diesel(sql_type = Ts)]
pub struct SqlTime(pub Timestamp);

impl From<SqlTime> for Timestamp {
    fn from(time: SqlTime) -> Self {
        time.0
    }
}

impl FromSql<Ts, Pg> for SqlTime {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<BigInt, Pg>>::from_sql(value)?;
        let micros = micros
            .checked_add(POSTGRES_EPOCH)
            .ok_or("a time out of range")?;
        Ok(Self(Timestamp(micros)))
    }
}

impl ToSql<Ts, Pg> for SqlTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let micros = self
            .0
            .0
            .checked_sub(POSTGRES_EPOCH)
            .ok_or("a time out of range")?;
        ToSql::<BigInt, Pg>::to_sql(&micros, &mut out.reborrow())
    }
}

impl FromSql<Ts, Sqlite> for SqlTime {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Sqlite>>::from_sql(value).map(|micros| Self(Timestamp(micros)))
    }
}

impl ToSql<Ts, Sqlite> for SqlTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.0);
        Ok(IsNull::No)
    }
}

/// A nullable [`Timestamp`], for reading.
pub struct OptionalTime(Option<SqlTime>);

impl From<OptionalTime> for Option<Timestamp> {
    fn from(time: OptionalTime) -> Self {
        time.0.map(Into::into)
    }
}

impl<DB: Backend> Queryable<Nullable<Ts>, DB> for OptionalTime
where
    Option<SqlTime>: FromSqlRow<Nullable<Ts>, DB> + FromStaticSqlRow<Nullable<Ts>, DB>,
{
    type Row = Option<SqlTime>;

    fn build(row: Option<SqlTime>) -> deserialize::Result<Self> {
        Ok(Self(row))
    }
}

/// A JSON document as a column's value.
#[derive(Debug, Clone, Default, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Doc)]
pub struct JsonColumn(pub Value);

impl From<JsonColumn> for Value {
    fn from(json: JsonColumn) -> Self {
        json.0
    }
}

impl JsonColumn {
    /// The text to store, without NUL: jsonb refuses it, but a model, a tool or a service may send it, and the
    /// turn must be stored all the same.
    fn text(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string(&self.0)?;
        match text.contains("\\u0000") {
            true => serde_json::to_string(&text::clean_json(self.0.clone())),
            false => Ok(text),
        }
    }
}

impl FromSql<Doc, Pg> for JsonColumn {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // On the wire, jsonb is a version byte and the text.
        match value.as_bytes().split_first() {
            Some((1, text)) => Ok(Self(serde_json::from_slice(text)?)),
            _ => Err("an unknown version of jsonb".into()),
        }
    }
}

impl ToSql<Doc, Pg> for JsonColumn {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[1])?;
        out.write_all(self.text()?.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<Doc, Sqlite> for JsonColumn {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self(serde_json::from_str(&text)?))
    }
}

impl ToSql<Doc, Sqlite> for JsonColumn {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.text()?);
        Ok(IsNull::No)
    }
}
