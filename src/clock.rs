//! Time, as the process sees it.
//!
//! Frames and log lines have timestamps of this clock. Leases and session locks use the database's
//! clock (`db_now()`), which all instances share.

use std::{
    cell::Cell,
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, Sleep, sleep_until};

/// The source of the time. Tests use a [`ManualClock`].
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// A day in microseconds, the unit of [`Timestamp`].
pub const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The machine's clock plus an offset that tests set.
#[derive(Debug, Default)]
pub struct ManualClock {
    ahead_micros: AtomicI64,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.ahead_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.ahead_micros.load(Ordering::SeqCst))
    }
}

/// A timer that is put off often and rings rarely. Putting it off costs nothing: the runtime's timer
/// is only reset when it would have rung.
#[derive(Debug)]
pub struct Timer {
    until: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    /// A timer that rings at `until`.
    pub fn new(until: Instant) -> Self {
        Self {
            until,
            sleep: Box::pin(sleep_until(until)),
        }
    }

    /// Lets it ring at `until` instead.
    pub fn put_off(&mut self, until: Instant) {
        self.until = until;
        if until < self.sleep.deadline() {
            self.sleep.as_mut().reset(until);
        }
    }

    /// Ready when it rings.
    pub fn poll_ring(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if self.until <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.until);
        }
    }
}

/// A moment, in microseconds since 1970 UTC; the precision that PostgreSQL keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = "date-time", example = "2026-11-20T14:24:19.941641Z")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// RFC 3339 in UTC with six digits: `2026-11-20T14:24:19.941641Z`.
    pub fn rfc3339(self) -> String {
        String::from_utf8_lossy(&self.digits()).into_owned()
    }

    /// RFC 3339, formatted by hand: every frame has a timestamp, and a format interpreter costs ten times
    /// as much. Within the same second, only the fraction is formatted again.
    pub(crate) fn digits(self) -> [u8; 27] {
        thread_local!(static LAST: Cell<(i64, [u8; 27])> = Cell::new((0, date_and_time(0))));
        let (second, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let mut text = match LAST.get() {
            (last, text) if last == second => text,
            _ => {
                let text = date_and_time(second);
                LAST.set((second, text));
                text
            }
        };
        if let Some(fraction) = text.last_chunk_mut::<7>() {
            put_digits(fraction.get_mut(..6).unwrap_or_default(), micros);
        }
        text
    }

    /// This moment plus `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// Formats a second since 1970, in UTC, with zeros for the fraction.
fn date_and_time(second: i64) -> [u8; 27] {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let Ok(moment) = OffsetDateTime::from_unix_timestamp(second) else {
        return text;
    };
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let parts = [
        (0..4, i64::from(year.unsigned_abs())),
        (5..7, u8::from(month).into()),
        (8..10, day.into()),
        (11..13, hour.into()),
        (14..16, minute.into()),
        (17..19, second.into()),
    ];
    for (place, value) in parts {
        put_digits(text.get_mut(place).unwrap_or_default(), value);
    }
    text
}

/// Fills `place` with the last digits of a number.
fn put_digits(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom)?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_read_as_it_was_written() {
        let second = 1_763_648_659_000_000;
        for micros in [0, 1, 999_999, 1_000_000, -1, -86_400_000_000] {
            let moment = Timestamp(second + micros);
            let written = serde_json::to_string(&moment).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&written).unwrap(), moment);
        }
        assert_eq!(Timestamp(1).rfc3339(), "1970-01-01T00:00:00.000001Z");
    }
}
