//! Visitors chat while instances die, freeze, restart, lose their database or serve malicious clients.
//! `scripts/soak` sets how long.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    hostile::{Bothered, CROWD},
    world::{Fault, World},
    *,
};

const VISITORS: usize = 12;

/// Lets visitors chat during these faults and a little longer; the checker's report.
async fn talk_during(
    seed: u64,
    faults: impl Iterator<Item = (Fault, usize, Duration)>,
    pause: Duration,
) -> String {
    let world = World::start().await;
    let is_over = AtomicBool::new(false);
    let talk = (0..VISITORS).map(|name| world.visit(name, seed, &is_over));
    let bothered = Bothered::default();
    let crowd = (0..CROWD).map(|one| {
        let seed = seed.wrapping_mul(CROWD as u64).wrapping_add(one as u64);
        bothered.bother(seed, |random| world.url(random), &is_over)
    });
    let crowd = futures_util::future::join_all(crowd);
    let happen = async {
        let mut happening = FuturesUnordered::new();
        for (fault, at, lasts) in faults {
            let pause = sleep(pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(()) = happening.next() => {}
                }
            }
            happening.push(world.happen(fault, at, lasts));
        }
        while happening.next().await.is_some() {}
        sleep(pause).await;
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(talk), crowd, happen);
    let (opened, closed) = (bothered.opened.into_inner(), bothered.closed.into_inner());
    let told = world.check().await;
    format!("{told}; {opened} hostile sockets, {closed} of them closed by the server")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_nothing() {
    let rounds = std::env::var("SOAK_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    let rounds = (0..rounds).flat_map(|_| 0..3);
    let faults = rounds.map(|at| (Fault::Terminate, at, Duration::ZERO));
    let told = talk_during(1, faults, Duration::from_millis(500)).await;
    println!("{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_nothing_is_lost() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(15, |seconds| seconds.parse().unwrap());
    let seed = std::env::var("SOAK_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("{seconds} s of faults, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    let faults = std::iter::from_fn(|| {
        let fault = Fault::ALL[random.random_range(0..Fault::ALL.len())];
        let lasts = Duration::from_millis(random.random_range(100..5_000));
        let at = random.random_range(0..3);
        println!("{fault:?} of instance {at} for up to {lasts:?}");
        (Instant::now() < until).then_some((fault, at, lasts))
    });
    println!(
        "{}",
        talk_during(seed, faults, Duration::from_millis(900)).await
    );
}
