//! Work that is done once, however often it has to be tried and whoever dies meanwhile.
//!
//! A job is made in the transaction of what it is about ([`crate::store::jobs`]). An instance takes what is
//! due for as long as a try may last; if it dies, another one takes it up. What fails is tried again later
//! and later, and in the end stays in the table for an operator to look at.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::{
    notify::Notifier,
    store::{Store, StoreError, jobs::Job},
};

/// How often jobs are looked for.
const POLL: Duration = Duration::from_secs(2);
/// How many are done at once.
const BATCH: u32 = 10;
/// How long a try may last, and after how long somebody else tries.
const PATIENCE: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_secs(60);
/// How often a job is tried, how soon again, and how late at the most.
const ATTEMPTS: i32 = 10;
const AGAIN: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(3600);

/// Does the jobs of a desk.
pub struct Jobs {
    store: Store,
    notifier: Notifier,
}

impl Jobs {
    /// Whoever does them. Nothing is done yet.
    pub fn new(store: Store, notifier: Notifier) -> Arc<Self> {
        Arc::new(Self { store, notifier })
    }

    /// Does what is due, for ever.
    pub async fn run(&self) {
        loop {
            match self.work().await {
                Ok(0) => sleep(POLL).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error.cause = %error, "no jobs could be taken");
                    sleep(POLL).await;
                }
            }
        }
    }

    /// Does some of what is due; how many there were.
    ///
    /// # Errors
    /// When the database fails; what was taken is done later.
    pub async fn work(&self) -> Result<usize, StoreError> {
        let jobs = self.store.take_jobs(BATCH, LEASE).await?;
        let count = jobs.len();
        let done = join_all(jobs.into_iter().map(|job| self.attempt(job))).await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(count)
    }

    async fn attempt(&self, job: Job) -> Result<(), StoreError> {
        let tried = timeout(PATIENCE, self.notifier.deliver(&job)).await;
        let error = match tried {
            Ok(Ok(())) => return self.store.job_done(job.id).await,
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        let again = (job.attempts < ATTEMPTS).then(|| pause(job.attempts));
        match again {
            Some(_) => {
                tracing::warn!(job.id = %job.id, job.kind, error.cause = error, "a job is tried again later")
            }
            None => {
                tracing::error!(job.id = %job.id, job.kind, error.cause = error, "a job is given up")
            }
        }
        self.store.job_failed(job.id, error, again).await
    }
}

/// How long to wait after so many attempts: each time four times as long.
fn pause(attempts: i32) -> Duration {
    let factor = 4_u32.saturating_pow(u32::try_from(attempts - 1).unwrap_or_default());
    AGAIN.saturating_mul(factor).min(LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_tried_later_and_later() {
        let pauses: Vec<u64> = (1..=7).map(|attempts| pause(attempts).as_secs()).collect();
        assert_eq!(pauses, [5, 20, 80, 320, 1280, 3600, 3600]);
    }
}
