//! Ids and numbers, each with its own type, so that the compiler catches mix-ups.

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
            /// A new id; later ids sort later.
            #[expect(clippy::new_without_default, reason = "a new id is no default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// An id that sorts before all ids made at this time or later.
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
    /// A user: a visitor or a signed-in user, found by a handle.
    UserId;
    /// A conversation.
    ConversationId;
    /// A turn: a visitor's message and all that answers it.
    TurnId;
    /// A message.
    MessageId;
    /// An expert.
    ExpertId;
    /// An entry of the audit.
    AuditId;
    /// A judge's evaluation of an answer.
    EvaluationId;
    /// A job.
    JobId;
    /// An instance: one server process, with a new id at each start. It holds the leases of the turns it runs.
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
    /// The number of a message in its conversation, from 1; 0 is before the first. There may be gaps.
    MessageSeq(i64, BigInt);
    /// The number of a frame in the log of an attempt, from 1 without gaps; 0 is before the first.
    FrameSeq(i64, BigInt);
    /// A conversation's counter, raised whenever the right to write changes. A turn may write only while it has
    /// the current value.
    Fence(i64, BigInt);
    /// The number of an attempt at a turn, from 1.
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

    /// The number of the last of `frames` frames.
    pub fn of(frames: usize) -> Self {
        Self(i64::try_from(frames).unwrap_or(i64::MAX))
    }

    /// The number of frames up to and including this one.
    pub fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The previous number.
    pub fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// The next number.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Attempt {
    /// The first attempt.
    pub const FIRST: Self = Self(1);

    /// The next attempt.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The device or user that a session belongs to: a device's id (1 to 128 characters of
/// `A-Z a-z 0-9 . _ : -`), or `user/` and the `sub` of a signed-in user's token. A device's id has no slash,
/// so it cannot pass for a user.
///
/// A device's id is a bearer secret, so `Debug` never shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

const USER: &str = "user/";

impl Owner {
    /// The owner with this device id, if the id is well-formed.
    pub fn parse(id: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        ((1..=128).contains(&id.len()) && id.chars().all(allowed)).then(|| Self(id.to_owned()))
    }

    /// The owner for a signed-in user.
    pub fn of_user(sub: &str) -> Self {
        Self(format!("{USER}{sub}"))
    }

    /// An owner as read from the database, not validated again.
    pub(super) fn stored(id: String) -> Self {
        Self(id)
    }

    /// The stored form; for a device, the id that the client sends.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the owner is a signed-in user.
    pub fn is_user(&self) -> bool {
        self.0.starts_with(USER)
    }

    /// The handle of the owner's user row.
    pub fn handle(&self) -> String {
        match self.0.strip_prefix(USER) {
            Some(sub) => format!("user_{sub}"),
            None => format!("chat_{}", self.0),
        }
    }
}

/// The key under which an owner's messages and tokens are counted: a keyed hash of the owner. It may outlive an
/// erasure of the owner's data, for as long as the limits apply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey(pub String);

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner")
    }
}
