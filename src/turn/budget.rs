//! Token budgets: a turn reserves tokens before its first model call; when it ends, the tokens that it really
//! used are charged. If its server dies in between, maintenance does that. The counters are in
//! `store/queries/budgets.rs`; `llm/retry.rs` counts a call's tokens.

use std::net::IpAddr;

use super::Engine;
use crate::{
    clock::DAY_MICROS,
    limits::network,
    store::{StoreError, TurnId, begin::Started, budgets::Reserve},
};

impl Engine {
    /// True if a budget is set and a model is configured.
    fn has_budgets(&self) -> bool {
        self.settings.budgets.are_set() && self.settings.llm.default_model().is_some()
    }

    /// Reserves tokens for a turn's models. False if a budget is used up.
    pub(super) async fn may_spend(&self, turn: &Started, address: Option<IpAddr>) -> bool {
        if !self.has_budgets() {
            return true;
        }
        let budgets = &self.settings.budgets;
        let key = match self.sessions.limit_key(&turn.device).await {
            Ok(key) => key,
            Err(error) => return may_after(&error),
        };
        let device = format!("device:{}", key.0);
        let address = address.map(|address| format!("address:{}", network(address)));
        let scopes = [
            (Some(device), budgets.device_tokens_per_day),
            (address, budgets.address_tokens_per_day),
            (Some("site".to_owned()), budgets.site_tokens_per_day),
        ];
        let scopes = scopes.into_iter().filter(|(_, most)| *most > 0);
        let count = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
        let reserved = self.store.reserve(Reserve {
            turn_id: turn.turn_id,
            day: self.clock.now().0.div_euclid(DAY_MICROS),
            tokens: count(budgets.reserved_tokens),
            scopes: scopes
                .filter_map(|(scope, most)| Some((scope?, count(most))))
                .collect(),
        });
        reserved.await.unwrap_or_else(|error| may_after(&error))
    }

    /// Replaces the reservation of a turn that has ended by what the turn used.
    pub(super) async fn settle(&self, turn: TurnId) {
        if self.has_budgets()
            && let Err(error) = self.store.settle(Some(turn), 10).await
        {
            tracing::warn!(error.cause = %error, "a turn's tokens are settled later");
        }
    }
}

/// If the database fails, the turn may spend tokens: answering visitors comes first.
fn may_after(error: &StoreError) -> bool {
    tracing::warn!(error.cause = %error, "no tokens were reserved");
    true
}
