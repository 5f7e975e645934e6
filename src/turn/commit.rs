//! Writes without which a turn cannot continue: retried while the database is away.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    error::{Code, Error},
    store::StoreError,
};

/// How long such a write is retried, for example the commit before the final frame.
pub(super) const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit for one try: on a connection that hangs it would never end.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

/// Repeats a write until it succeeds or the deadline has passed, because the database may come back.
///
/// # Errors
/// `answer_not_stored` after the deadline.
pub(super) async fn write<T, W: Future<Output = Result<T, StoreError>>>(
    deadline: Instant,
    attempt: impl Fn() -> W,
) -> Result<T, Error> {
    let mut pause = Duration::from_millis(50);
    loop {
        let until_try = deadline.min(Instant::now() + TRY_TIMEOUT);
        let error = match timeout_at(until_try, attempt()).await {
            Ok(Ok(written)) => return Ok(written),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if Instant::now() + pause >= deadline {
            return Err(Error::new(Code::AnswerNotStored).caused_by(error));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
