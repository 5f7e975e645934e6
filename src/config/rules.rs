//! The problem of a setting, and checks that several modules of the settings share.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use super::{Secret, WebhookSettings};

/// A problem of a setting, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsProblem {
    /// The key or environment variable that is wrong.
    pub at: String,
    /// What is wrong and what would be right. Never contains a secret.
    pub mend: String,
}

impl SettingsProblem {
    pub(super) fn new(at: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.mend)
    }
}

/// Checks that a number is within its range.
pub(super) fn check_range(
    at: &str,
    (value, range): (u64, RangeInclusive<u64>),
    problems: &mut Vec<SettingsProblem>,
) {
    if !range.contains(&value) {
        let mend = format!("must be from {} to {}", range.start(), range.end());
        problems.push(SettingsProblem::new(at, mend));
    }
}

/// Checks that a secret, if it is set, is long enough.
pub(super) fn check_secret(at: &str, secret: &Secret, problems: &mut Vec<SettingsProblem>) {
    if !secret.is_empty() && secret.reveal().len() < 32 {
        let mend = "must have 32 characters or more: openssl rand -hex 32 makes one";
        problems.push(SettingsProblem::new(at, mend));
    }
}

/// Checks that headers can be sent over HTTP.
pub(super) fn check_headers(
    at: &str,
    headers: &BTreeMap<String, Secret>,
    problems: &mut Vec<SettingsProblem>,
) {
    for (header, value) in headers {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let is_value = |c: char| c == ' ' || c.is_ascii_graphic();
        if header.is_empty()
            || !header.chars().all(is_name)
            || !value.reveal().chars().all(is_value)
        {
            let text = format!("{header:?} or its value is not valid in an HTTP header");
            problems.push(SettingsProblem::new(at, text));
        }
    }
}

/// Checks the settings of a service that is called by a signed POST.
pub(super) fn check_webhook(
    webhook: &WebhookSettings,
    at: &str,
    problems: &mut Vec<SettingsProblem>,
) {
    let is_web = url::Url::parse(&webhook.url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty());
    if !is_web {
        let text = "must be an http or https URL without a name and password in it";
        problems.push(SettingsProblem::new(format!("{at}.url"), text));
    }
    if webhook.secret.reveal().len() < 24 {
        let text = "must have 24 characters or more: openssl rand -hex 32 makes one";
        problems.push(SettingsProblem::new(format!("{at}.secret"), text));
    }
    let timeout = (webhook.timeout_seconds, 1..=300);
    check_range(&format!("{at}.timeout_seconds"), timeout, problems);
}
