//! Jobs: work that is retried until it succeeds, even if servers die meanwhile.
//!
//! A job is created in the transaction that causes it ([`crate::store::jobs`]). An instance takes due jobs for longer
//! than an attempt lasts; if the instance dies, another one takes them after that. A failed job is retried with growing
//! delays. After the last attempt the job stays in the table for an operator to look at.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::{sleep, timeout};

use crate::{
    config::NotifySettings,
    evaluations::Evaluations,
    notify::Notifier,
    store::{
        Store, StoreError,
        jobs::{Job, Judging},
    },
    text,
};

/// How often an instance looks for due jobs.
const POLL: Duration = Duration::from_secs(2);
/// Timeout of an attempt, and the time after which another instance may take the job. The latter is longer because it
/// includes the wait for a free place.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);
const JOB_LEASE: Duration = Duration::from_secs(120);
/// Maximum attempts of a job, the delay before the first retry, and the maximum delay.
const MAX_ATTEMPTS: i32 = 10;
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(5);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(3600);
/// Maximum length of a stored error, in characters.
const ERROR_CHARACTERS: usize = 2_000;

/// Kinds of jobs that do not wait for other kinds: an e-mail does not wait for a webhook that hangs.
struct JobLane {
    kinds: &'static [&'static str],
    /// How many run at once.
    places: usize,
}

const LANES: [JobLane; 3] = [
    JobLane {
        kinds: &[NotifySettings::WEBHOOK],
        places: 10,
    },
    JobLane {
        kinds: &[NotifySettings::EMAIL],
        places: 10,
    },
    JobLane {
        kinds: &[Judging::KIND],
        places: 20,
    },
];

/// Runs the jobs of an instance.
pub struct Jobs {
    store: Store,
    notifier: Notifier,
    evaluations: Arc<Evaluations>,
}

impl Jobs {
    /// Takes no jobs yet.
    pub fn new(store: Store, notifier: Notifier, evaluations: Arc<Evaluations>) -> Arc<Self> {
        Arc::new(Self {
            store,
            notifier,
            evaluations,
        })
    }

    /// Runs due jobs, for ever.
    pub async fn run(&self) {
        join_all(LANES.iter().map(|lane| self.run_lane(lane))).await;
    }

    /// Runs the due jobs of a lane concurrently, so that jobs that wait for the database do not wait for each other.
    async fn run_lane(&self, lane: &JobLane) {
        let due = stream::unfold(Vec::new(), |mut taken| async {
            loop {
                if let Some(job) = taken.pop() {
                    return Some((job, taken));
                }
                match self
                    .store
                    .take_jobs(lane.kinds, lane.places, JOB_LEASE)
                    .await
                {
                    Ok(jobs) if jobs.is_empty() => sleep(POLL).await,
                    Ok(jobs) => taken = jobs.into_iter().rev().collect(),
                    Err(error) => {
                        tracing::debug!(error.cause = %error, "no jobs could be taken");
                        sleep(POLL).await;
                    }
                }
            }
        });
        let doing = due.for_each_concurrent(lane.places, |job| async {
            if let Err(error) = self.attempt(job).await {
                tracing::debug!(error.cause = %error, "what came of a job was not kept: it is done once more");
            }
        });
        doing.await;
    }

    /// Runs up to one batch of due jobs per lane, and returns how many there were.
    ///
    /// # Errors
    /// When the database fails; jobs that were taken run again later.
    pub async fn work(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        for lane in &LANES {
            let jobs = self
                .store
                .take_jobs(lane.kinds, lane.places, JOB_LEASE)
                .await?;
            count += jobs.len();
            let done = join_all(jobs.into_iter().map(|job| self.attempt(job))).await;
            done.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        Ok(count)
    }

    async fn attempt(&self, job: Job) -> Result<(), StoreError> {
        let is_judging = job.kind == Judging::KIND;
        let tried = async {
            match is_judging {
                // Every worker that took this job died before it reported.
                _ if job.attempts > MAX_ATTEMPTS => Err("whoever tries it goes away".to_owned()),
                true => self.evaluations.judge(&job).await,
                false => self.notifier.deliver(&job).await,
            }
        };
        let error = match timeout(ATTEMPT_TIMEOUT, tried).await {
            Ok(Ok(())) => return self.store.job_done(job.id).await,
            Ok(Err(error)) => text::cleaned(error.chars().take(ERROR_CHARACTERS).collect()),
            Err(_) => "no answer in time".to_owned(),
        };
        if job.attempts < MAX_ATTEMPTS {
            tracing::warn!(job.id = %job.id, job.kind, error.cause = error, "a job is tried again later");
            let again = Some(pause(job.attempts));
            return self.store.job_failed(job, error, again).await;
        }
        tracing::error!(job.id = %job.id, job.kind, error.cause = error, "a job is given up");
        match is_judging {
            true => self.evaluations.give_up(job, error).await,
            false => self.store.job_failed(job, error, None).await,
        }
    }
}

/// The delay before the next attempt: each is four times as long as the one before.
fn pause(attempts: i32) -> Duration {
    let factor = 4_u32.saturating_pow(u32::try_from(attempts - 1).unwrap_or_default());
    FIRST_RETRY_DELAY
        .saturating_mul(factor)
        .min(MAX_RETRY_DELAY)
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
