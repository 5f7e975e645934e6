//! Loads [`Settings`]: merges files, environment and flags into one TOML table, checks it against the keys of
//! `default.toml`, and collects all problems before it reports any.

use std::{collections::BTreeMap, path::PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Settings, SettingsProblem, check, environment, secrets};

const DEFAULTS: &str = include_str!("default.toml");
const AGENTS: &str = include_str!("agents.toml");

/// Tables whose keys are names that the operator chooses, so they are not checked against `default.toml`.
const FREE_TABLES: [&str; 6] = ["agents", "judges", "mcp", "tools", "widgets", "llm.models"];

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that `--config` names.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Flags: the path of a setting, and its value.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The process's own environment, and nothing else.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn from_process() -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self {
            env: env.collect(),
            ..Self::default()
        }
    }

    /// Reads all sources.
    ///
    /// # Errors
    /// All problems, not only the first.
    pub fn load(&self) -> Result<Loaded, Vec<SettingsProblem>> {
        let mut layers = Layers::new();
        layers.file(self);
        layers.environment(&self.env);
        for (path, value) in &self.flags {
            layers.text(path, value, path);
        }
        layers.finish(&self.env)
    }
}

/// Settings, and warnings about their sources.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Texts for the operator; none of them keeps the server from starting.
    pub warnings: Vec<String>,
}

/// The documented defaults, including the default agents.
pub fn defaults_document() -> String {
    format!("{DEFAULTS}\n{AGENTS}")
}

/// The merged table, and the problems found so far.
struct Layers {
    table: Table,
    problems: Vec<SettingsProblem>,
    warnings: Vec<String>,
    /// For each path that a variable or flag has set: the last one that did.
    origins: BTreeMap<String, String>,
}

impl Layers {
    fn new() -> Self {
        let mut layers = Self {
            table: Table::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            origins: BTreeMap::new(),
        };
        match toml::from_str(&defaults_document()) {
            Ok(table) => layers.table = table,
            Err(error) => layers
                .problems
                .push(SettingsProblem::new("default.toml", error.to_string())),
        }
        layers
    }

    fn file(&mut self, sources: &Sources) {
        let named = sources
            .file
            .clone()
            .or_else(|| sources.env.get("FRONTDESK_CONFIG").map(PathBuf::from));
        let path = named
            .clone()
            .unwrap_or_else(|| PathBuf::from("frontdesk.toml"));
        let at = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => match toml::from_str::<Table>(&text) {
                Ok(over) => merge(&mut self.table, over, "", &mut self.problems),
                Err(error) => self
                    .problems
                    .push(SettingsProblem::new(at, error.to_string())),
            },
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self
                .problems
                .push(SettingsProblem::new(at, format!("cannot be read: {error}"))),
        }
    }

    fn environment(&mut self, env: &BTreeMap<String, String>) {
        for (name, value) in env {
            if environment::injected_by_kubernetes(name, value) || name == "FRONTDESK_CONFIG" {
                continue;
            }
            let (base, from_file) = match name.strip_suffix("_FILE") {
                Some(base) => (base, true),
                None => (name.as_str(), false),
            };
            let Some(path) = environment::path_of(base) else {
                continue;
            };
            if !self.knows(&path) || (from_file && !environment::SECRETS.contains(&path.as_str())) {
                self.warn_unknown(name);
            } else if from_file {
                match std::fs::read_to_string(value) {
                    Ok(secret) => self.text(&path, secret.trim_end(), name),
                    Err(error) => self.problems.push(SettingsProblem::new(
                        name,
                        format!("{value} cannot be read: {error}"),
                    )),
                }
            } else if !value.is_empty() {
                self.text(&path, value, name);
            }
        }
    }

    fn knows(&self, path: &str) -> bool {
        lookup(&self.table, path).is_some_and(|value| !value.is_table())
    }

    fn warn_unknown(&mut self, name: &str) {
        let short = environment::environment_names();
        let mut known: Vec<String> = short.map(|(name, _)| name.to_owned()).collect();
        if name.contains("__") {
            known = Vec::new();
            environment::long_names(&self.table, "FRONTDESK", &mut known);
        }
        let hint = suggestion(name, known.iter().map(String::as_str));
        self.warnings.push(format!("{name} sets nothing{hint}"));
    }

    /// Sets a value from text. The type of the current value decides how the text is parsed.
    fn text(&mut self, path: &str, text: &str, at: &str) {
        let Some(slot) = lookup_mut(&mut self.table, path) else {
            return;
        };
        let read = match slot {
            Value::Integer(_) => text
                .trim()
                .parse()
                .map(Value::Integer)
                .map_err(|_| "a whole number"),
            Value::Boolean(_) => match text.trim() {
                "true" | "1" | "yes" | "on" => Ok(Value::Boolean(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Boolean(false)),
                _ => Err("true or false"),
            },
            Value::Array(_) => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                Ok(Value::Array(
                    items.map(|item| Value::String(item.to_owned())).collect(),
                ))
            }
            _ => Ok(Value::String(text.trim().to_owned())),
        };
        match read {
            Ok(value) => {
                *slot = value;
                self.origins.insert(path.to_owned(), at.to_owned());
            }
            Err(wanted) => self
                .problems
                .push(SettingsProblem::new(at, format!("must be {wanted}"))),
        }
    }

    fn finish(mut self, env: &BTreeMap<String, String>) -> Result<Loaded, Vec<SettingsProblem>> {
        let defaults: Table = toml::from_str(&defaults_document()).unwrap_or_default();
        let is_default = lookup(&self.table, "database.url") == lookup(&defaults, "database.url");
        if is_default
            && !self.origins.contains_key("database.url")
            && let Some(platform) = environment::platform(env)
        {
            self.problems.push(SettingsProblem::new(
                "DATABASE_URL",
                format!("is not set, and on {platform} each instance would have a database of its own: set it to postgres://…"),
            ));
        }
        let settings = self.sections(&defaults, env);
        if let Some(settings) = &settings {
            check::check(settings, &mut self.problems);
        }
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(Loaded {
                settings,
                warnings: self.warnings,
            }),
            _ => Err(self.problems),
        }
    }

    /// Reads each section separately, and a faulty section key by key, so that one fault does not hide another. A
    /// wrong value is reported and replaced by its default.
    fn sections(&mut self, defaults: &Table, env: &BTreeMap<String, String>) -> Option<Settings> {
        let mut agents = self.named("agents");
        let widgets = self.named("widgets");
        let mut mcp = self.named("mcp");
        let mut tools = self.named("tools");
        let mut judges = self.named("judges");
        secrets::fill_tools(&mut tools, env, &mut self.problems);
        secrets::fill_webhooks(&mut agents, &mut judges, env, &mut self.problems);
        secrets::fill_mcp(&mut mcp, env, &mut self.problems);
        Some(Settings {
            server: self.section("server", defaults)?,
            database: self.section("database", defaults)?,
            session: self.section("session", defaults)?,
            turn: self.section("turn", defaults)?,
            auth: self.section("auth", defaults)?,
            experts: self.section("experts", defaults)?,
            notify: self.section("notify", defaults)?,
            judges,
            retention: self.section("retention", defaults)?,
            limits: self.section("limits", defaults)?,
            budgets: self.section("budgets", defaults)?,
            llm: self.section("llm", defaults)?,
            offline: self.section("offline", defaults)?,
            routing: self.section("routing", defaults)?,
            log: self.section("log", defaults)?,
            agents,
            tools,
            mcp,
            widgets,
        })
    }

    /// Reads a table of sections whose names the operator chooses.
    fn named<T: DeserializeOwned>(&mut self, name: &str) -> BTreeMap<String, T> {
        let mut sections = BTreeMap::new();
        match self.table.get(name) {
            Some(Value::Table(table)) => {
                for (path, section) in table {
                    match T::deserialize(section.clone()) {
                        Ok(section) => drop(sections.insert(path.clone(), section)),
                        Err(error) => self.problems.push(SettingsProblem::new(
                            format!("{name}.{path}"),
                            error.message(),
                        )),
                    }
                }
            }
            _ => self.problems.push(SettingsProblem::new(
                name,
                format!("must be tables: [{name}.support]"),
            )),
        }
        sections
    }

    fn section<T: DeserializeOwned>(&mut self, name: &str, defaults: &Table) -> Option<T> {
        let given = self.table.get(name)?.as_table()?.clone();
        if let Ok(section) = T::deserialize(Value::Table(given.clone())) {
            return Some(section);
        }
        let mut section = defaults.get(name)?.as_table()?.clone();
        for (key, value) in given {
            let mut tried = section.clone();
            tried.insert(key.clone(), value);
            match T::deserialize(Value::Table(tried.clone())) {
                Ok(_) => section = tried,
                Err(error) => {
                    let path = format!("{name}.{key}");
                    let at = self.origins.get(&path).cloned().unwrap_or(path);
                    self.problems
                        .push(SettingsProblem::new(at, error.message()));
                }
            }
        }
        T::deserialize(Value::Table(section)).ok()
    }
}

/// Merges `over` into `base`. The keys and types of `base` are the only ones allowed.
fn merge(base: &mut Table, over: Table, prefix: &str, problems: &mut Vec<SettingsProblem>) {
    for (key, value) in over {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        if FREE_TABLES.contains(&path.as_str()) {
            base.insert(key, value);
            continue;
        }
        let Some(slot) = base.get_mut(&key) else {
            let hint = suggestion(&key, base.keys().map(String::as_str));
            problems.push(SettingsProblem::new(
                path,
                format!("is not a setting{hint}"),
            ));
            continue;
        };
        match (slot, value) {
            (Value::Table(base), Value::Table(over)) => merge(base, over, &path, problems),
            (slot, value) if slot.same_type(&value) => *slot = value,
            (slot, value) => problems.push(SettingsProblem::new(
                path,
                format!(
                    "must be of type {}, and is of type {}",
                    slot.type_str(),
                    value.type_str()
                ),
            )),
        }
    }
}

fn lookup<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn lookup_mut<'a>(table: &'a mut Table, path: &str) -> Option<&'a mut Value> {
    let mut parts = path.split('.');
    let first = table.get_mut(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get_mut(part))
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!("; did you mean {candidate}?"))
        .unwrap_or_default()
}
