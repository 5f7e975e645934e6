//! What the columns hold: SQL types that both databases know, and the Rust types for them.
//!
//! | SQL type | PostgreSQL | SQLite | Rust |
//! | --- | --- | --- | --- |
//! | [`Uid`] | `uuid` | blob of 16 bytes | [`TurnId`], [`ConversationId`], … |
//! | [`Ts`] | `timestamptz` | microseconds since 1970 | [`Timestamp`] |
//! | [`Doc`] | `jsonb` | text | [`Json`] |

use std::{
    fmt,
    io::Write as _,
    num::ParseIntError,
    ops::{Add, Sub},
    str::FromStr,
};

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow, FromStaticSqlRow, Queryable},
    expression::AsExpression,
    pg::{Pg, PgValue},
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Integer, Nullable, SqlType, Text},
    sqlite::{Sqlite, SqliteValue},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{clock::Timestamp, text};

/// An id.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951))]
#[diesel(sqlite_type(name = "Binary"))]
pub struct Uid;

/// A moment.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(sqlite_type(name = "Long"))]
pub struct Ts;

/// A JSON document.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 3802, array_oid = 3807))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Doc;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[derive(AsExpression, FromSqlRow, utoipa::ToSchema)]
        #[diesel(sql_type = Uid)]
        #[serde(transparent)]
        #[schema(value_type = String, format = "uuid", example = "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e9f")]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id; ids that are made later sort later.
            #[expect(clippy::new_without_default, reason = "a new id is no default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id before all that are made at this time or later.
            pub fn first_at(time: Timestamp) -> Self {
                let milliseconds = u64::try_from(time.0 / 1_000).unwrap_or_default();
                Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl From<$name> for Value {
            fn from(id: $name) -> Self {
                Self::String(id.to_string())
            }
        }

        impl FromSql<Uid, Pg> for $name {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
                Ok(Self(Uuid::from_slice(value.as_bytes())?))
            }
        }

        impl ToSql<Uid, Pg> for $name {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                out.write_all(self.0.as_bytes())?;
                Ok(IsNull::No)
            }
        }

        impl FromSql<Uid, Sqlite> for $name {
            fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
                Ok(Self(Uuid::from_slice(value.read_blob())?))
            }
        }

        impl ToSql<Uid, Sqlite> for $name {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                out.set_value(self.0.as_bytes().as_slice());
                Ok(IsNull::No)
            }
        }
    )*};
}

ids! {
    /// A person, known by a channel's handle.
    UserId;
    /// A conversation.
    ConversationId;
    /// A turn: a message and all that answers it.
    TurnId;
    /// A message.
    MessageId;
    /// A person at the desk.
    ExpertId;
    /// An entry of the audit.
    AuditId;
    /// What a judge said.
    EvaluationId;
    /// Something to do.
    JobId;
    /// A running server, anew at each start; the owner of its turns.
    InstanceId;
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty, $sql:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[derive(AsExpression, FromSqlRow, utoipa::ToSchema)]
        #[diesel(sql_type = $sql)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }

        impl<DB: Backend> FromSql<$sql, DB> for $name
        where
            $inner: FromSql<$sql, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                <$inner>::from_sql(value).map(Self)
            }
        }

        impl<DB: Backend> ToSql<$sql, DB> for $name
        where
            $inner: ToSql<$sql, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                self.0.to_sql(out)
            }
        }
    )*};
}

numbers! {
    /// The number of a message in its conversation, from 1; 0 is before the first. Numbers may be missing.
    MessageSeq(i64, BigInt);
    /// The number of a frame in the log of an attempt, from 1 without a gap; 0 is before the first.
    FrameSeq(i64, BigInt);
    /// How often a conversation has changed its owner. A turn may write only while it has the newest.
    Fence(i64, BigInt);
    /// Which attempt at a turn, from 1.
    Attempt(i32, Integer);
}

impl MessageSeq {
    /// Before the first message.
    pub const START: Self = Self(0);
}

impl Add<i64> for MessageSeq {
    type Output = Self;

    fn add(self, messages: i64) -> Self {
        Self(self.0.saturating_add(messages))
    }
}

impl Sub<i64> for MessageSeq {
    type Output = Self;

    fn sub(self, messages: i64) -> Self {
        Self(self.0.saturating_sub(messages))
    }
}

impl FrameSeq {
    /// Before the first frame.
    pub const START: Self = Self(0);

    /// The number of the last of so many frames.
    pub fn of(frames: usize) -> Self {
        Self(i64::try_from(frames).unwrap_or(i64::MAX))
    }

    /// How many frames there are up to this one.
    pub fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number before.
    pub fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// The number after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Attempt {
    /// The first one.
    pub const FIRST: Self = Self(1);

    /// The one after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
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

/// A [`Timestamp`] that may not be, as it is read.
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
pub struct Json(pub Value);

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        json.0
    }
}

impl Json {
    /// As it is stored. jsonb refuses NUL, and a model, a tool or a service may say it: nothing that it says
    /// may keep a turn from being stored.
    fn text(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string(&self.0)?;
        match text.contains("\\u0000") {
            true => serde_json::to_string(&text::clean_json(self.0.clone())),
            false => Ok(text),
        }
    }
}

impl FromSql<Doc, Pg> for Json {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // jsonb travels as a version byte and the text.
        match value.as_bytes().split_first() {
            Some((1, text)) => Ok(Self(serde_json::from_slice(text)?)),
            _ => Err("an unknown version of jsonb".into()),
        }
    }
}

impl ToSql<Doc, Pg> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[1])?;
        out.write_all(self.text()?.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<Doc, Sqlite> for Json {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self(serde_json::from_str(&text)?))
    }
}

impl ToSql<Doc, Sqlite> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.text()?);
        Ok(IsNull::No)
    }
}

/// Under which a visitor's session is kept: the id of their device, 1 to 128 characters of
/// `A-Z a-z 0-9 . _ : -`, or, of one who is signed in, `user/` and who they are. No device has an id with a
/// slash, so none is ever taken for a user.
///
/// A device's id is a bearer secret, so it is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String);

const USER: &str = "user/";

impl DeviceId {
    /// The id of a device, if it is well-formed.
    pub fn parse(id: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        ((1..=128).contains(&id.len()) && id.chars().all(allowed)).then(|| Self(id.to_owned()))
    }

    /// That of a user who is signed in.
    pub fn of_user(sub: &str) -> Self {
        Self(format!("{USER}{sub}"))
    }

    /// As it was stored.
    pub(super) fn stored(id: String) -> Self {
        Self(id)
    }

    /// The id as it is stored; a device's as the client sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that of a user who is signed in.
    pub fn is_user(&self) -> bool {
        self.0.starts_with(USER)
    }

    /// The handle of the visitor's user row.
    pub fn handle(&self) -> String {
        match self.0.strip_prefix(USER) {
            Some(sub) => format!("user_{sub}"),
            None => format!("chat_{}", self.0),
        }
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceId")
    }
}
