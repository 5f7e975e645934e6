//! What is known of a visitor and not for the model: who they are, which page they are on. It is made when
//! the session starts, kept with the conversation, read and changed by tools.

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::{
    error::{Code, Error, Result},
    schema::closed,
    text::member,
};

/// Who says what is known of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The visitor's browser: it may say only what the agent lets it.
    Visitor,
    /// A service that is trusted.
    Service,
}

/// What an agent's context looks like.
#[derive(Clone)]
pub struct Shape {
    /// All of it.
    whole: Arc<Validator>,
    /// A part of it: nothing is required.
    part: Arc<Validator>,
    properties: Vec<String>,
    defaults: Map<String, Value>,
    from_visitor: Vec<String>,
}

impl Shape {
    /// The shape that a JSON Schema gives.
    ///
    /// # Errors
    /// When it is no schema of an object.
    pub fn new(schema: &Value, from_visitor: &[String]) -> std::result::Result<Self, String> {
        if *member(schema, "type") != "object" {
            return Err("must be a JSON Schema with type = \"object\"".to_owned());
        }
        let properties = member(schema, "properties").as_object();
        let properties = || properties.into_iter().flatten();
        for name in from_visitor {
            if !properties().any(|(property, _)| property == name) {
                return Err(format!("{name} is none of its properties"));
            }
        }
        let defaults = properties()
            .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())));
        let defaults = defaults.collect();
        let whole = closed(schema.clone());
        let mut part = whole.clone();
        if let Some(part) = part.as_object_mut() {
            part.remove("required");
        }
        let validator = |schema: &Value| {
            jsonschema::validator_for(schema)
                .map(Arc::new)
                .map_err(|error| error.to_string())
        };
        let shape = Self {
            whole: validator(&whole)?,
            part: validator(&part)?,
            properties: properties().map(|(name, _)| name.clone()).collect(),
            defaults,
            from_visitor: from_visitor.to_vec(),
        };
        match shape.fits(&shape.defaults) {
            true => Ok(shape),
            false => Err("its defaults do not fit it".to_owned()),
        }
    }

    /// What is known of everybody.
    pub fn defaults(&self) -> &Map<String, Value> {
        &self.defaults
    }

    /// Whether this may be a part of it.
    pub fn fits(&self, context: &Map<String, Value>) -> bool {
        self.part.is_valid(&Value::Object(context.clone()))
    }

    /// What a token's claims say that belongs here: who signs it is trusted.
    pub fn claimed(&self, claims: &Map<String, Value>) -> Map<String, Value> {
        let known = self.properties.iter().filter_map(|name| {
            let one = Map::from_iter([(name.clone(), claims.get(name)?.clone())]);
            self.fits(&one).then_some(one)
        });
        known.flatten().collect()
    }

    /// A context: what is said, by the caller and in the claims of their token, and the defaults.
    ///
    /// # Errors
    /// `invalid_context`, when it does not fit.
    pub fn make(
        &self,
        given: Map<String, Value>,
        by: Caller,
        claims: &Map<String, Value>,
    ) -> Result<Map<String, Value>> {
        if by == Caller::Visitor {
            let mut names = given.keys();
            if let Some(name) = names.find(|name| !self.from_visitor.contains(name)) {
                let mut error = Error::new(Code::InvalidContext);
                error.param = Some(format!("context.{name}"));
                return Err(error.detail("A visitor cannot say this."));
            }
        }
        let mut context = self.defaults.clone();
        context.extend(given);
        context.extend(self.claimed(claims));
        let validator = match by {
            Caller::Service => &self.whole,
            Caller::Visitor => &self.part,
        };
        let context = Value::Object(context);
        if let Some(fault) = validator.iter_errors(&context).next() {
            let path = fault.instance_path().to_string().replace('/', ".");
            let mut error = Error::new(Code::InvalidContext);
            error.param = Some(format!("context{path}"));
            return Err(error.detail(fault.to_string()));
        }
        match context {
            Value::Object(context) => Ok(context),
            _ => Ok(Map::new()),
        }
    }
}
