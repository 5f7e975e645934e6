//! What a turn's models may cost: reserved before the first of them is asked, settled when the turn has
//! ended. What a server leaves behind that dies in between is settled by a sweeper.

use std::net::IpAddr;

use super::Engine;
use crate::{
    clock::DAY_MICROS,
    limits::network,
    store::{StoreError, TurnId, begin::Started, budgets::Reserve},
};

impl Engine {
    /// Whether there are budgets, and a model that costs something.
    fn has_budgets(&self) -> bool {
        self.settings.budgets.are_set() && self.settings.llm.default_model().is_some()
    }

    /// Whether a turn's models may be asked.
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

    /// Settles what a turn had reserved, which has ended.
    pub(super) async fn settle(&self, turn: TurnId) {
        if self.has_budgets()
            && let Err(error) = self.store.settle(Some(turn), 10).await
        {
            tracing::warn!(error.cause = %error, "a turn's tokens are settled later");
        }
    }
}

/// Where the database does not say whether a turn may spend anything, it may: visitors are answered.
fn may_after(error: &StoreError) -> bool {
    tracing::warn!(error.cause = %error, "no tokens were reserved");
    true
}
