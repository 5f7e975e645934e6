//! Rules of the architecture that the compiler does not check.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use quote::ToTokens;

#[path = "tidy/circles.rs"]
mod circles;

use circles::Modules;

/// A name, and the modules that may use it.
const FENCES: [(&str, &[&str]); 6] = [
    ("actix_web", &["server", "routes", "error"]),
    ("diesel", &["store"]),
    ("std::env", &["config"]),
    ("reqwest::Client::", &["http"]),
    ("Client::builder", &["http"]),
    ("crate::routes", &["server", "routes"]),
];

/// Every module of the crate, highest layer first: a module may use only modules of lower lines.
const LAYERS: [&[&str]; 19] = [
    &["lib", "main"],
    &["builder", "cli"],
    &["server"],
    &["routes", "telemetry"],
    &["conversations"],
    &["app"],
    &["devices", "jobs", "typing"],
    &["evaluations", "notify"],
    &["experts"],
    &["auth", "connections", "turn"],
    &["hub", "judges", "limits", "maintenance"],
    &["sessions"],
    &["agents"],
    &["secret", "signature", "tools"],
    &["llm"],
    &["http", "metrics", "store"],
    &["clock", "config"],
    &["context", "widgets"],
    &["error", "schema", "text"],
];

const LONGEST: usize = 400;

/// The folder of the crate.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .canonicalize()
        .unwrap()
}

fn files(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join(directory)];
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.ends_with("node_modules") {
            left.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path
            .extension()
            .is_some_and(|ending| endings.contains(&ending.to_str().unwrap()))
        {
            found.push(path);
        }
    }
    found
}

/// The top-level module of a source file: `src/store/pool.rs` belongs to `store`.
fn module(file: &Path) -> String {
    let path = file.strip_prefix(root().join("src")).unwrap();
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// A file's text without comment lines.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn only_a_few_modules_know_a_few_crates() {
    for file in files("src", &["rs"]) {
        let (module, code) = (module(&file), code(&file));
        for (name, allowed) in FENCES {
            let known = allowed.contains(&module.as_str());
            assert!(
                known || !code.contains(name),
                "{}: {name} belongs to {allowed:?}",
                file.display()
            );
        }
    }
}

#[test]
fn dependencies_point_down() {
    let layer = |file: &Path| {
        let module = module(file);
        let layer = LAYERS
            .iter()
            .position(|layer| layer.contains(&module.as_str()));
        layer.unwrap_or_else(|| panic!("{module} is in no layer"))
    };
    for file in files("src", &["rs"]) {
        layer(&file);
    }
    for (file, named) in crate_modules().dependencies() {
        for other in named.iter().filter(|other| module(other) != module(&file)) {
            assert!(
                layer(&file) < layer(other),
                "{} may not name {}",
                file.display(),
                other.display()
            );
        }
    }
}

#[test]
fn no_files_depend_on_each_other() {
    let circles = crate_modules().circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn constants_of_one_name_have_one_value() {
    let mut values: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in files("src", &["rs"]) {
        let parsed = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
        for item in parsed.items {
            let syn::Item::Const(constant) = item else {
                continue;
            };
            let value = constant.expr.to_token_stream().to_string();
            let known = values.entry(constant.ident.to_string()).or_default();
            known.insert(value, file.clone());
        }
    }
    values.retain(|_, values| values.len() > 1);
    assert!(values.is_empty(), "{values:#?}");
}

/// Type names that two files may define: the queries are compiled once per database, each with its own `Conn`.
const SHARED_TYPES: [&str; 1] = ["Conn"];

#[test]
fn types_have_names_of_their_own() {
    let mut files_of: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files("src", &["rs"]) {
        let parsed = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
        for item in parsed.items {
            let name = match item {
                syn::Item::Struct(item) => item.ident,
                syn::Item::Enum(item) => item.ident,
                syn::Item::Trait(item) => item.ident,
                syn::Item::Type(item) => item.ident,
                _ => continue,
            };
            files_of
                .entry(name.to_string())
                .or_default()
                .push(file.clone());
        }
    }
    files_of.retain(|name, files| files.len() > 1 && !SHARED_TYPES.contains(&name.as_str()));
    assert!(files_of.is_empty(), "{files_of:#?}");
}

fn crate_modules() -> Modules {
    Modules::read(&root().join("src/lib.rs"))
}

#[test]
fn files_have_one_subject() {
    let all = ["src", "tests", "static"]
        .into_iter()
        .flat_map(|directory| files(directory, &["rs", "js"]));
    for file in all {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(
            lines <= LONGEST,
            "{}: {lines} lines are two subjects",
            file.display()
        );
    }
}
