//! Tools that are configured HTTP endpoints.

use std::collections::BTreeMap;

use futures_util::{FutureExt, future::BoxFuture};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, Method, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Call, Tool, ToolOutput, address::is_public};
use crate::{
    config::{ToolMethod, ToolSettings},
    http::whole,
    text::plain,
    widgets::RawWidget,
};

/// Maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// An endpoint. Arguments that the URL names are filled in there; the others become the query of a GET or
/// DELETE, or else the JSON body.
pub(super) struct HttpTool {
    client: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    result: Option<String>,
    widget: Option<String>,
    remember: BTreeMap<String, String>,
    allow_private: bool,
}

impl HttpTool {
    /// The endpoint of a tool. The client must resolve only public addresses, unless `allow_private` is set.
    pub(super) fn new(settings: &ToolSettings, client: Client) -> Self {
        let headers = settings.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.reveal()).ok()?;
            value.set_sensitive(true);
            Some((name.parse::<HeaderName>().ok()?, value))
        });
        Self {
            client,
            method: match settings.method {
                ToolMethod::Get => Method::GET,
                ToolMethod::Post => Method::POST,
                ToolMethod::Put => Method::PUT,
                ToolMethod::Patch => Method::PATCH,
                ToolMethod::Delete => Method::DELETE,
            },
            url: settings.url.clone(),
            headers: headers.collect(),
            result: settings.result.clone(),
            widget: settings.widget.clone(),
            remember: settings.remember.clone(),
            allow_private: settings.allow_private,
        }
    }

    async fn ask(&self, call: Call) -> Result<ToolOutput, String> {
        let mut arguments = match call.arguments {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let url = fill(&self.url, &mut arguments)?;
        let mut url =
            Url::parse(&url).map_err(|_| "The tool's address is not valid.".to_owned())?;
        if !self.allow_private && has_private_host(&url) {
            return Err("The tool's address is not allowed.".to_owned());
        }
        let is_query = matches!(self.method, Method::GET | Method::DELETE);
        if is_query && !arguments.is_empty() {
            if url
                .query_pairs()
                .any(|(name, _)| arguments.contains_key(&*name))
            {
                return Err("An argument is part of the address already.".to_owned());
            }
            let mut query = url.query_pairs_mut();
            for (name, value) in &arguments {
                query.append_pair(name, &plain(value));
            }
        }
        let asking = self
            .client
            .request(self.method.clone(), url)
            .headers(self.headers.clone());
        let asking = match is_query {
            true => asking,
            false => asking.json(&arguments).header("Idempotency-Key", call.key),
        };
        let response = asking.send().await.map_err(|error| {
            let text = match error.is_connect() {
                true => "The tool cannot be reached.",
                false => "The connection broke: it is not known whether this was done.",
            };
            tracing::warn!(error.cause = %error.without_url(), "a tool's endpoint cannot be reached");
            text.to_owned()
        })?;
        self.read(response).await
    }

    /// Reads a response. A success status means that the call was done, even if the body is unusable.
    async fn read(&self, response: Response) -> Result<ToolOutput, String> {
        let status = response.status();
        let body = whole(response, MAX_RESPONSE_BYTES).await;
        let body = body.map_err(|_| "It was answered, but the answer was cut off.")?;
        let body = body.ok_or("It was answered, but the answer is too large.")?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let at = |pointer: &String| json.as_ref().and_then(|json| json.pointer(pointer));
        let remembered = self.remember.iter();
        let remembered = remembered.filter_map(|(name, pointer)| Some((name, at(pointer)?)));
        let context = remembered.map(|(name, value)| (name.clone(), value.clone()));
        let context: Map<String, Value> = context.collect();
        let widget = self.widget.as_ref().and_then(at);
        let widget = widget.and_then(|widget| RawWidget::deserialize(widget).ok());
        let told = match &self.result {
            // If `result` selects a part of the answer, the model must not see the rest.
            Some(pointer) => at(pointer).map(plain),
            None => Some(text.clone()),
        };
        match (status.is_success(), told) {
            (true, Some(content)) => Ok(ToolOutput {
                content,
                widget,
                context,
            }),
            (true, None) => Err("It was answered, but without a result.".to_owned()),
            (false, told) => {
                let told = told.map_or_else(String::new, |told| format!(" {told}"));
                Err(format!(
                    "The tool answered with status {}.{told}",
                    status.as_u16()
                ))
            }
        }
    }
}

impl Tool for HttpTool {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<ToolOutput, String>> {
        self.ask(call).boxed()
    }

    fn is_safe(&self) -> bool {
        self.method == Method::GET
    }
}

/// True if the host is an IP address that is not public. The resolver does not check it: it only sees names.
fn has_private_host(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => !is_public(address.into()),
        Some(url::Host::Ipv6(address)) => !is_public(address.into()),
        Some(url::Host::Domain(_)) => false,
        None => true,
    }
}

/// Fills `{arguments}` into the template and removes them from the map. An argument cannot change the rest of
/// the URL: special characters are escaped, and `..`, `.` and empty values are refused.
fn fill(template: &str, arguments: &mut Map<String, Value>) -> Result<String, String> {
    let mut filled = BTreeMap::new();
    let mut url = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        url.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            url.push('{');
            rest = after;
            continue;
        };
        let value = filled
            .entry(name)
            .or_insert_with(|| plain(&arguments.remove(name).unwrap_or_default()));
        if matches!(value.as_str(), "" | "." | "..") {
            return Err(format!("The argument {name:?} cannot be {value:?}."));
        }
        url.extend(utf8_percent_encode(value, ESCAPED));
        rest = after;
    }
    url.push_str(rest);
    Ok(url)
}

/// What is escaped in a URL's path: everything but letters, digits, `-` and `_`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_argument_cannot_leave_its_place_in_the_url() {
        let Value::Object(mut arguments) = json!({"id": "../a?b#c/%2e", "x": 1, "rest": true})
        else {
            unreachable!("it is an object")
        };
        let url = fill("https://a.test/orders/{id}/{x}?again={id}", &mut arguments).unwrap();
        let id = "%2E%2E%2Fa%3Fb%23c%2F%252e";
        assert_eq!(url, format!("https://a.test/orders/{id}/1?again={id}"));
        assert_eq!(Value::Object(arguments), json!({"rest": true}));
        // A URL parser treats `%2E%2E` like `..`.
        for leads_away in ["..", ".", ""] {
            let mut arguments = Map::from_iter([("id".to_owned(), json!(leads_away))]);
            assert!(fill("https://a.test/orders/{id}/pay", &mut arguments).is_err());
        }
    }
}
