//! Work that is done once, however often it has to be tried and whoever dies meanwhile.
//!
//! A job is made in the transaction of what it is about ([`crate::store::jobs`]). An instance takes what is
//! due for a while that is longer than any try; if it dies, another one takes it up. What fails is tried again later
//! and later, and in the end stays in the table for an operator to look at.

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

/// How often jobs are looked for.
const POLL: Duration = Duration::from_secs(2);
/// How long a try may last, and after how long somebody else tries: as long as it may have to wait for its
/// place, and some more.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);
const JOB_LEASE: Duration = Duration::from_secs(120);
/// How often a job is tried, how soon again, and how late at the most.
const MAX_ATTEMPTS: i32 = 10;
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(5);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(3600);
/// The longest reason that is kept, in characters.
const ERROR_CHARACTERS: usize = 2_000;

/// Jobs that do not wait for others: an e-mail does not wait for a service that hangs.
struct JobLane {
    kinds: &'static [&'static str],
    /// How many are done at once.
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

/// Does the jobs of a desk.
pub struct Jobs {
    store: Store,
    notifier: Notifier,
    evaluations: Arc<Evaluations>,
}

impl Jobs {
    /// Whoever does them. Nothing is done yet.
    pub fn new(store: Store, notifier: Notifier, evaluations: Arc<Evaluations>) -> Arc<Self> {
        Arc::new(Self {
            store,
            notifier,
            evaluations,
        })
    }

    /// Does what is due, for ever.
    pub async fn run(&self) {
        join_all(LANES.iter().map(|lane| self.run_lane(lane))).await;
    }

    /// All that is taken is done at once: those who wait for the database must not wait for each other.
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

    /// Does some of what is due; how many there were.
    ///
    /// # Errors
    /// When the database fails; what was taken is done later.
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
                // Nobody has come back from it, again and again.
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

/// How long to wait after so many attempts: each time four times as long.
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
