//! What a turn's models may cost: reserved before the first of them is asked, settled when the turn has
//! ended. What a server leaves behind that dies in between is settled by a sweeper.

use std::net::IpAddr;

use super::Engine;
use crate::{
    clock::DAY_MICROS,
    limits::network,
    store::{TurnId, begin::Started, budgets::Reserve},
};

impl Engine {
    /// Whether there are budgets, and a model that costs something.
    fn has_budgets(&self) -> bool {
        self.settings.budgets.are_set() && self.settings.llm.default_model().is_some()
    }

    /// Whether a turn's models may be asked. Where the database does not say so, they may: visitors are
    /// answered.
    pub(super) async fn may_spend(&self, turn: &Started, address: Option<IpAddr>) -> bool {
        if !self.has_budgets() {
            return true;
        }
        let budgets = &self.settings.budgets;
        let device = format!("device:{}", turn.device.as_str());
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
        reserved.await.unwrap_or_else(|error| {
            tracing::warn!(error.cause = %error, "no tokens were reserved");
            true
        })
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
