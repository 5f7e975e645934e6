//! Context: data about the visitor that tools receive and the model never sees, such as who they are and which
//! page they are on. It is made when the session starts and stored with the conversation; tools can change it.

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::{
    error::{Code, Error, Result},
    schema::closed,
    text::member,
};

/// Who supplies the context of a new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The visitor's browser: it may set only the properties in `context_from_visitor`.
    Visitor,
    /// A trusted service.
    Service,
}

/// The schema of an agent's context.
#[derive(Clone)]
pub struct Shape {
    /// Validates a whole context.
    whole: Arc<Validator>,
    /// Validates a part of a context: no property is required.
    part: Arc<Validator>,
    properties: Vec<String>,
    defaults: Map<String, Value>,
    from_visitor: Vec<String>,
}

impl Shape {
    /// Compiles a JSON Schema. A visitor's browser may set the properties in `from_visitor`.
    ///
    /// # Errors
    /// If it is not the schema of an object, has no such property, or its defaults do not fit it.
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

    /// The schema's default values.
    pub fn defaults(&self) -> &Map<String, Value> {
        &self.defaults
    }

    /// True if this can be a part of such a context.
    pub fn fits(&self, context: &Map<String, Value>) -> bool {
        self.part.is_valid(&Value::Object(context.clone()))
    }

    /// The token's claims that are properties of this context. The signer of a token is trusted.
    pub fn claimed(&self, claims: &Map<String, Value>) -> Map<String, Value> {
        let known = self.properties.iter().filter_map(|name| {
            let one = Map::from_iter([(name.clone(), claims.get(name)?.clone())]);
            self.fits(&one).then_some(one)
        });
        known.flatten().collect()
    }

    /// Makes a context from the defaults, the caller's values and the token's claims; later ones win.
    ///
    /// # Errors
    /// `invalid_context` if the result does not fit, or the visitor may not set a property.
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
