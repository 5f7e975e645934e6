//! A signed-in person who calls the API.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Said, Stream, TestApp};

const API: &str = "/api/v1/chat";

/// A signed-in person.
pub struct Person<'a> {
    pub app: &'a TestApp,
    pub token: String,
}

impl<'a> Person<'a> {
    /// A user.
    pub async fn of(app: &'a TestApp, sub: &str) -> Self {
        Self::with_role(app, sub, "user").await
    }

    /// An expert.
    pub async fn expert(app: &'a TestApp, sub: &str) -> Self {
        Self::with_role(app, sub, "expert").await
    }

    pub async fn with_role(app: &'a TestApp, sub: &str, role: &str) -> Self {
        let token = app.token(sub, role).await;
        Self { app, token }
    }

    /// The same person on another server.
    pub fn on(&self, app: &'a TestApp) -> Self {
        let token = self.token.clone();
        Self { app, token }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{API}{path}", self.app.url);
        self.app.http.request(method, url).bearer_auth(&self.token)
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> Said {
        let call = self.request(method, path).json(&body);
        Said::of(call.send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Said {
        self.call(Method::POST, path, body).await
    }

    pub async fn get(&self, path: &str) -> Said {
        Said::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Said {
        Said::of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    /// Sends a message to a conversation, or to a new one; the response.
    pub async fn say(&self, conversation: Option<&str>, content: &str) -> Value {
        let body = json!({"content": content, "conversation_id": conversation});
        let said = self.post("/messages", body).await;
        assert_eq!(said.status, 200, "{}", said.text);
        said.json()
    }

    pub async fn stream(&self, conversation: Option<&str>, content: &str) -> Stream {
        let body = json!({"content": content, "conversation_id": conversation});
        let call = self.request(Method::POST, "/messages/stream").json(&body);
        Stream::of(call.send().await.unwrap())
    }

    /// The messages of a conversation that this person may see.
    pub async fn said_in(&self, conversation: &str) -> Vec<String> {
        let path = format!("/conversations/{conversation}/messages?limit=200");
        let messages = self.get(&path).await.json();
        let messages = messages.as_array().unwrap().iter();
        messages.map(|message| text(&message["content"])).collect()
    }

    /// Posts an expert's action on a conversation: `claim`, `release`, …
    pub async fn does(&self, action: &str, conversation: &str) -> Said {
        let path = format!("/conversations/{conversation}/{action}");
        self.post(&path, json!({})).await
    }
}

/// The content of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The conversation id in a response.
pub fn id_of(said: &Value) -> String {
    text(&said["conversation_id"])
}
