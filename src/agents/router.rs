//! The router: chooses the agent for a session that has none.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::{NewAgent, TurnInput, memory::Memory};
use crate::{
    config::Settings,
    llm::{self, Model, Models, PromptMessage, Request, ToolCall, ToolSpec, Usage},
    text::member,
};

/// The tool that the router's model must call.
const CHOICE: &str = "choose_agent";
/// Jaro-Winkler similarity (0 to 1) from which two words count as one, misspelt or inflected.
const ALIKE: f64 = 0.85;
/// Minimum length, in characters, of words that are compared by similarity.
const LONG: usize = 5;

/// Time limit for the router's model; after that the agents' keywords decide.
const ROUTING_TIMEOUT: Duration = Duration::from_secs(15);

/// Routes by asking the model; without a model or an answer, by the agents' keywords.
pub(super) struct Router {
    agents: BTreeMap<String, Card>,
    default_agent: String,
    prompt: String,
    model: Option<Model>,
    models: Arc<Models>,
}

/// What the router knows about an agent.
struct Card {
    description: String,
    keywords: Vec<String>,
}

impl Router {
    pub(super) fn new(settings: &Settings, coded: &[NewAgent], models: &Arc<Models>) -> Self {
        let configured = settings.agents.iter().map(|(path, agent)| {
            let card = Card {
                description: agent.description.clone(),
                keywords: agent.keywords.clone(),
            };
            (path.clone(), card)
        });
        let coded = coded.iter().map(|new| {
            let card = Card {
                description: new.description.clone(),
                keywords: Vec::new(),
            };
            (new.path.clone(), card)
        });
        Self {
            agents: configured.chain(coded).collect(),
            default_agent: settings.routing.default_agent.clone(),
            prompt: settings.routing.prompt.clone(),
            model: models.default_model(),
            models: Arc::clone(models),
        }
    }

    /// The agent for messages that match no other agent.
    pub(super) fn default_agent(&self) -> &str {
        &self.default_agent
    }

    /// The path of the agent for this turn, and the tokens that choosing it used.
    pub(super) async fn route(&self, turn: &TurnInput) -> (String, Usage) {
        if self.agents.len() < 2 {
            return (self.default_agent.clone(), Usage::default());
        }
        let (chosen, usage) = match &self.model {
            Some(model) if !turn.text().trim().is_empty() => self.ask(model, &turn.text()).await,
            _ => (None, Usage::default()),
        };
        let chosen = chosen.unwrap_or_else(|| self.by_keywords(&turn.text()));
        (chosen.to_owned(), usage)
    }

    async fn ask(&self, model: &Model, text: &str) -> (Option<&str>, Usage) {
        let list = self
            .agents
            .iter()
            .map(|(path, agent)| format!("- {path}: {}", agent.description));
        let paths: Vec<&String> = self.agents.keys().collect();
        let choice = ToolSpec {
            name: CHOICE.to_owned(),
            description: "Gives the visitor to an agent.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {"agent": {"type": "string", "enum": paths}},
                "required": ["agent"],
                "additionalProperties": false,
            }),
        };
        let request = Request {
            system: format!("{}\n\n{}", self.prompt, list.collect::<Vec<_>>().join("\n")),
            tools: [choice].into(),
            may_call: true,
            must_call: Some(CHOICE.to_owned()),
            messages: vec![PromptMessage {
                from_visitor: true,
                text: text.to_owned(),
                ..PromptMessage::default()
            }],
            ..Request::default()
        };
        match timeout(
            ROUTING_TIMEOUT,
            llm::complete(&self.models, model, &request),
        )
        .await
        {
            // A server without tool support answers in plain text.
            Ok(Ok(answer)) => {
                let choice = answer.calls.first().map(ToolCall::input);
                let choice = choice
                    .as_ref()
                    .and_then(|input| member(input, "agent").as_str());
                (self.named_in(choice.unwrap_or(&answer.text)), answer.usage)
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    llm.model = model.spec,
                    "the manager got no answer: routing by keywords"
                );
                (None, Usage::default())
            }
        }
    }

    /// The agent whose path equals the answer, or else one whose path the answer contains.
    fn named_in(&self, answer: &str) -> Option<&str> {
        let answer = answer
            .trim()
            .trim_matches(['"', '`', '\'', '.', '*'])
            .to_lowercase();
        let paths = || self.agents.keys().map(String::as_str);
        let is = paths().find(|path| path.to_lowercase() == answer);
        is.or_else(|| paths().find(|path| answer.contains(&path.to_lowercase())))
    }

    /// Without a model only: moves to an agent that matches more keywords, if the present agent has no
    /// request in progress. Otherwise a first message like "Hi" would decide for the whole session.
    pub(super) fn reconsider(&self, present: &str, turn: &TurnInput) -> Option<String> {
        let memory = Memory::of(present, &turn.state);
        let has_begun = !memory.slots.is_empty() && !memory.done;
        if self.model.is_some() || has_begun {
            return None;
        }
        let scores = self.scores(&turn.text());
        let present_score = scores
            .iter()
            .find(|(path, _)| *path == present)
            .map_or(0, |(_, score)| *score);
        let (path, score) = scores.into_iter().max_by_key(|(_, score)| *score)?;
        (score > present_score).then(|| path.to_owned())
    }

    /// The agent with the most keywords in the text; if there are none, the one with the most similar words.
    fn by_keywords(&self, text: &str) -> &str {
        let mut best = (self.default_agent.as_str(), 0);
        for (path, score) in self.scores(text) {
            if score > best.1 {
                best = (path, score);
            }
        }
        match best.1 {
            0 => self.by_likeness(text),
            _ => best.0,
        }
    }

    /// The agent whose keywords and description match the text best, misspelt or inflected words included.
    fn by_likeness(&self, text: &str) -> &str {
        let said = long_words(text);
        let score = |card: &Card| {
            let own = card.keywords.iter().flat_map(|keyword| long_words(keyword));
            let own: Vec<String> = own.chain(long_words(&card.description)).collect();
            let likeness = |word: &String| {
                let alike = own.iter().map(|own| strsim::jaro_winkler(own, word));
                alike.fold(0.0, f64::max)
            };
            let alike = said.iter().map(likeness).filter(|alike| *alike >= ALIKE);
            alike.sum::<f64>()
        };
        let mut best = (self.default_agent.as_str(), 0.0);
        for (path, card) in &self.agents {
            let score = score(card);
            if score > best.1 {
                best = (path, score);
            }
        }
        best.0
    }

    /// How many of each agent's keywords are in a text.
    fn scores(&self, text: &str) -> Vec<(&str, usize)> {
        let text = text.to_lowercase();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .collect();
        let is_said = |keyword: &&String| words.contains(&keyword.to_lowercase().as_str());
        let score = |agent: &Card| agent.keywords.iter().filter(is_said).count();
        self.agents
            .iter()
            .map(|(path, agent)| (path.as_str(), score(agent)))
            .collect()
    }
}

/// The words that are long enough to compare by similarity, in lowercase.
fn long_words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| word.chars().count() >= LONG);
    words.map(str::to_lowercase).collect()
}
