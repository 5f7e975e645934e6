//! The fences of the architecture that the compiler does not keep.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A name, and the modules that may know it.
const FENCES: [(&str, &[&str]); 6] = [
    ("actix_web", &["server", "routes", "error"]),
    ("diesel", &["store"]),
    ("std::env", &["config"]),
    ("reqwest::Client::", &["http"]),
    ("Client::builder", &["http"]),
    ("crate::routes", &["server", "routes"]),
];

/// A module, and those above it, which it may not know.
const UPWARDS: [(&str, &[&str]); 12] = [
    (
        "store",
        &[
            "turn", "sessions", "agents", "llm", "upkeep", "app", "devices",
        ],
    ),
    (
        "config",
        &[
            "turn", "sessions", "agents", "tools", "llm", "store", "upkeep", "app",
        ],
    ),
    (
        "widgets",
        &["turn", "agents", "tools", "llm", "store", "config"],
    ),
    ("tools", &["turn", "sessions", "agents", "upkeep", "app"]),
    (
        "llm",
        &["turn", "sessions", "agents", "upkeep", "app", "devices"],
    ),
    ("agents", &["turn", "sessions", "upkeep", "app", "devices"]),
    ("sessions", &["turn", "upkeep", "app", "devices"]),
    (
        "judges",
        &["turn", "agents", "experts", "evaluations", "app"],
    ),
    (
        "turn",
        &["app", "server", "devices", "experts", "evaluations", "jobs"],
    ),
    ("experts", &["app", "server", "devices", "evaluations"]),
    ("evaluations", &["app", "server", "devices", "jobs"]),
    ("auth", &["turn", "sessions", "agents", "experts", "app"]),
];

const LONGEST: usize = 400;

fn files(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
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

/// The first part of a source file's path: `src/store/lane.rs` is of the module `store`.
fn module(file: &Path) -> String {
    let path = file
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Code lines: what comments say does not count.
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

/// The modules of this crate that a file names.
fn known(code: &str) -> Vec<String> {
    let lists = code
        .split("use crate::{\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n};").next());
    let in_lists = lists.flat_map(str::lines).filter_map(|line| {
        line.strip_prefix("    ")
            .filter(|line| !line.starts_with(' '))
    });
    let in_paths = code.split("crate::").skip(1);
    let name = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    in_lists.chain(in_paths).map(name).collect()
}

#[test]
fn dependencies_point_down() {
    for file in files("src", &["rs"]) {
        let (module, known) = (module(&file), known(&code(&file)));
        for (_, above) in UPWARDS.iter().filter(|(lower, _)| *lower == module) {
            let upward = known.iter().find(|name| above.contains(&name.as_str()));
            assert_eq!(upward, None, "{}: {module} may not know it", file.display());
        }
    }
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
