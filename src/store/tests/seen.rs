//! Records what happened in the scripts: without refusals and takeovers they would test nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::Owner,
    script::{Outcome, ScriptStep},
};

/// How often each kind of thing happened in all scripts. [`Seen::assert_all`] requires that none is missing.
#[derive(Default)]
pub struct Seen {
    kinds: BTreeMap<String, usize>,
    /// The owners that have written in this script.
    devices: BTreeSet<Owner>,
}

impl Seen {
    pub fn new_script(&mut self) {
        self.devices.clear();
    }

    pub fn note(&mut self, step: &ScriptStep, outcomes: &[Outcome]) {
        let name = |text: &str| {
            let end = text.find(|c: char| !c.is_alphanumeric());
            text.get(..end.unwrap_or(text.len())).unwrap().to_owned()
        };
        let step_name = name(&format!("{step:?}"));
        for (at, outcome) in outcomes.iter().enumerate() {
            let outcome_name = format!("{step_name}: {}", name(&outcome.told));
            *self.kinds.entry(outcome_name).or_default() += 1;
            let Some(started) = &outcome.started else {
                continue;
            };
            let ScriptStep::Begin(turns) = step else {
                continue;
            };
            let is_first = self.devices.insert(started.device.clone());
            let mut seen = vec![match started.history.len() {
                1 if is_first => "new",
                1 => "expired",
                _ => "known",
            }];
            let turn = &turns[at];
            seen.extend((!turn.earlier.is_empty()).then_some("merged"));
            seen.extend(turn.said.key.as_ref().map(|_| "with a key"));
            for kind in seen {
                *self.kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }

    pub fn assert_all(&self) {
        for kind in [
            "new",
            "known",
            "expired",
            "merged",
            "with a key",
            "Begin: Started",
            "Begin: Busy",
            "Begin: Limited",
            "Begin: Repeated",
            "Begin: Merged",
            "Begin: KeyReused",
            "Finish: Done",
            "Finish: Fenced",
            "Claim: Done",
            "Claim: Another",
            "Claim: None",
            "Release: Done",
            "Adopt: Adopted",
            "Adopt: Closed",
            "Adopt: NotAbandoned",
        ] {
            assert!(
                self.kinds.contains_key(kind),
                "no {kind} in {:#?}",
                self.kinds
            );
        }
    }
}
