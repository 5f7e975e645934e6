//! Runs random scripts on three paths: PostgreSQL in batches, PostgreSQL turn by turn, SQLite. The outcomes and the
//! stored rows must be the same.

mod script;
mod seen;
mod world;

use std::sync::Arc;

use script::{Author, Outcome, ScriptStep};
use seen::Seen;
use world::{Path, World, on};

use super::{
    InstanceId, StoreError,
    adopt::Adoption,
    begin::{Begin, BeginTurn},
    experts::Presence,
    turns::FinishTurn,
};

/// How many steps a script has, and how many scripts there are.
const STEPS: usize = 150;
const SCRIPTS: u64 = 6;

#[test]
fn every_path_to_the_database_stores_the_same() {
    let mut seen = Seen::default();
    for seed in 0..SCRIPTS {
        seen.new_script();
        let paths = [Path::PostgresBatch, Path::PostgresSingle, Path::Sqlite];
        let mut worlds = paths.map(World::new);
        let mut author = Author::new(seed);
        for world in &mut worlds {
            world.hire(&author);
        }
        for number in 0..STEPS {
            let step = author.next(worlds[0].now());
            let [first, others @ ..] = &mut worlds;
            let outcomes = first.apply(&step);
            for world in others {
                let theirs = world.apply(&step);
                for (one, other) in outcomes.iter().zip(&theirs) {
                    let at = format!("script {seed}, step {number}, {:?}: {step:?}", world.path);
                    assert_eq!(one.told, other.told, "{at}");
                }
            }
            seen.note(&step, &outcomes);
            author.learn(outcomes);
        }
        let [first, others @ ..] = &mut worlds;
        let rows = first.rows();
        for world in others {
            for ((table, one), (_, other)) in rows.iter().zip(world.rows()) {
                assert_eq!(*one, other, "script {seed}, {table}, {:?}", world.path);
            }
        }
    }
    seen.assert_all();
}

impl World {
    /// Adds the experts who claim conversations.
    fn hire(&mut self, author: &Author) {
        let presence = Presence {
            available: Some(true),
            ..Presence::default()
        };
        for (expert, sub) in author.experts.into_iter().zip(["eva", "ede"]) {
            let hired = on!(self, |conn, db| db::experts::known(
                conn, expert, sub, &presence
            ));
            hired.unwrap();
        }
    }

    /// Applies a step. Returns each caller's outcome.
    fn apply(&mut self, step: &ScriptStep) -> Vec<Outcome> {
        match step {
            ScriptStep::Begin(turns) => self.begin(turns),
            ScriptStep::Finish(turns) => self.finish(turns),
            ScriptStep::Log(pieces) => {
                let written = on!(self, |conn, db| db::batches::write_logs(conn, pieces, true));
                let mut written = written.unwrap();
                written.sort_by_key(|written| written.turn_id);
                // Without `is_watched`: only on PostgreSQL can another instance follow a turn.
                let written = written.iter().map(|row| (row.turn_id, row.stop_requested));
                vec![Outcome::told(&written.collect::<Vec<_>>())]
            }
            ScriptStep::Renew(owner, turns, lease) => {
                let renewed = on!(self, |conn, db| {
                    db::batches::renew_leases(conn, *owner, turns, *lease, true)
                });
                let mut renewed = renewed.unwrap();
                renewed.sort_by_key(|renewed| renewed.turn_id);
                vec![Outcome::told(&renewed)]
            }
            ScriptStep::Stop(turn) => {
                let stopped = on!(self, |conn, db| db::turns::request_stop(conn, *turn));
                vec![Outcome::told(&stopped.unwrap())]
            }
            ScriptStep::Claim(claim) => {
                let held = on!(self, |conn, db| db::assignments::claim(conn, claim));
                vec![Outcome::told(&held.unwrap())]
            }
            ScriptStep::Release(release) => {
                let held = on!(self, |conn, db| db::assignments::release(conn, release));
                vec![Outcome::told(&held.unwrap())]
            }
            ScriptStep::Adopt(adopt) => {
                let adopted = on!(self, |conn, db| db::adopt::adopt(conn, adopt)).unwrap();
                let told = Outcome::told(&adopted);
                vec![match adopted {
                    Adoption::Adopted(started) => told.with(*started),
                    Adoption::Closed | Adoption::NotAbandoned => told,
                }]
            }
            ScriptStep::Advance(seconds) => {
                self.advance(*seconds);
                Vec::new()
            }
        }
    }

    fn begin(&mut self, turns: &[Arc<BeginTurn>]) -> Vec<Outcome> {
        let begun = self.in_batches(
            turns,
            |world, turns| {
                on!(world, |conn, db| db::batches::begin_turns(
                    conn, turns, true
                ))
            },
            |world, turn| on!(world, |conn, db| db::begin::begin(conn, turn)),
        );
        let outcomes = begun.into_iter().map(|begun| {
            let told = Outcome::told(&begun);
            match begun {
                Begin::Started(started) => told.with(*started),
                _ => told,
            }
        });
        outcomes.collect()
    }

    fn finish(&mut self, turns: &[Arc<FinishTurn>]) -> Vec<Outcome> {
        let finished = self.in_batches(
            turns,
            |world, turns| {
                on!(world, |conn, db| db::batches::finish_turns(
                    conn, turns, true
                ))
            },
            |world, turn| on!(world, |conn, db| db::turns::finish(conn, turn)),
        );
        finished.iter().map(Outcome::told).collect()
    }

    /// Runs steps as `Batches` does: together if this path has batches, then alone those that were left out.
    fn in_batches<S, T>(
        &mut self,
        steps: &[Arc<S>],
        together: impl Fn(&mut Self, &[Arc<S>]) -> Result<Vec<Option<T>>, StoreError>,
        alone: impl Fn(&mut Self, &S) -> Result<T, StoreError>,
    ) -> Vec<T> {
        let done = match self.path {
            Path::PostgresSingle => steps.iter().map(|_| None).collect(),
            Path::PostgresBatch | Path::Sqlite => together(self, steps).unwrap(),
        };
        let done = steps.iter().zip(done);
        let mut all = Vec::new();
        for (step, done) in done {
            all.push(match done {
                Some(done) => done,
                None => alone(self, step).unwrap(),
            });
        }
        all
    }
}

/// The instances that run turns in the scripts.
fn instances() -> [InstanceId; 2] {
    [InstanceId::new(), InstanceId::new()]
}
