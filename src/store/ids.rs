//! Ids and numbers, each a type of its own, so that none is taken for another.

use std::{
    fmt,
    io::Write as _,
    num::ParseIntError,
    ops::{Add, Sub},
    str::FromStr,
};

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    pg::{Pg, PgValue},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Integer},
    sqlite::{Sqlite, SqliteValue},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::types::Uid;
use crate::clock::Timestamp;

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
    /// One run of a server, with a new id at each start. It owns the turns that it runs.
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

    /// The last frame's number, given how many frames there are.
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

/// Under which a visitor's session is kept: the id of their device, 1 to 128 characters of
/// `A-Z a-z 0-9 . _ : -`, or, of one who is signed in, `user/` and who they are. No device has an id with a
/// slash, so none is ever taken for a user.
///
/// A device's id is a bearer secret, so it is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

const USER: &str = "user/";

impl Owner {
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

/// Under which it is counted what a device, or a user, writes and spends: a keyed hash of their id. It may be kept
/// when all that is theirs is erased, for as long as it counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey(pub String);

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner")
    }
}
