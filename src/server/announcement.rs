//! The startup message for the operator.

use std::{io::IsTerminal, net::SocketAddr};

use crate::{app::App, config};

/// Prints where the server listens, which database and model it uses, and why this model. On a terminal, or with
/// pretty logs, this is a table; otherwise a log line.
pub(super) fn announce(app: &App, address: SocketAddr, pretty: bool) {
    let address = format!("http://{address}");
    let mut database = app.store.describe();
    if app.store.is_single_instance() {
        database.push_str(": one instance only; set DATABASE_URL=postgres://… for more");
    }
    let llm = &app.settings.llm;
    let model = match llm.default_model() {
        Some(spec) => format!("{spec}{}: {}", at(llm.vendor_of(&spec)), why(llm)),
        None if llm.model == "offline" => {
            "offline, as FRONTDESK_MODEL says: the agents follow their flows".to_owned()
        }
        None => "offline: the agents follow their flows; set OPENAI_API_KEY, OPENAI_BASE_URL or \
                 ANTHROPIC_API_KEY for a model"
            .to_owned(),
    };
    if pretty || std::io::stdout().is_terminal() {
        println!(
            "\n  frontdesk is open\n\n  address   {address}\n  database  {database}\n  model     {model}\n"
        );
    } else {
        tracing::info!(address, database, model, "frontdesk is open");
    }
}

/// The host of a configured `base_url`; empty for the vendor's own server.
fn at(vendor: &config::VendorSettings) -> String {
    let url = url::Url::parse(&vendor.base_url).ok();
    url.and_then(|url| Some(format!(" at {}", url.host_str()?)))
        .unwrap_or_default()
}

/// Why this model is used.
fn why(llm: &config::LlmSettings) -> &'static str {
    match (
        llm.model.is_empty(),
        llm.openai.is_set(),
        llm.openai.api_key.is_empty(),
    ) {
        (false, ..) => "FRONTDESK_MODEL is set",
        (true, true, false) => "OPENAI_API_KEY is set; FRONTDESK_MODEL chooses another",
        (true, true, true) => "OPENAI_BASE_URL is set; FRONTDESK_MODEL chooses another",
        (true, false, _) => "ANTHROPIC_API_KEY is set; FRONTDESK_MODEL chooses another",
    }
}
