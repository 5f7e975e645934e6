//! Finds dependency cycles between files, from their `use` lines and full paths.
//!
//! The use of a re-exported name depends on the file that defines the name. A child's use of its parent does not
//! count: parent and child are one subject in two files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta, UseTree, Visibility, visit::Visit};

/// The modules of a crate, and what each uses of the others.
#[derive(Default)]
pub struct Modules(BTreeMap<Vec<String>, Module>);

/// A module; an inline module belongs to its parent's file.
#[derive(Default)]
struct Module {
    file: PathBuf,
    /// Full paths in its code, as written.
    paths: Vec<Vec<String>>,
    /// Imported names, and the paths they stand for.
    imports: BTreeMap<String, Vec<String>>,
    /// Paths all of whose names are imported.
    globs: Vec<Vec<String>>,
}

impl Modules {
    /// Reads a crate, beginning with its root file.
    pub fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        let directory = root.parent().unwrap().to_owned();
        modules.read_file(root, &directory, Vec::new());
        modules
    }

    /// `directory` is where the files of its child modules are.
    fn read_file(&mut self, file: &Path, directory: &Path, name: Vec<String>) {
        let text = fs::read_to_string(file).unwrap();
        let parsed = syn::parse_file(&text).unwrap();
        self.read_items(&parsed.items, file, directory, name);
    }

    fn read_items(&mut self, items: &[Item], file: &Path, directory: &Path, name: Vec<String>) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items {
            match item {
                Item::Mod(child) if !is_test(&child.attrs) => {
                    self.read_child(child, file, directory, &name);
                }
                Item::Mod(_) => {}
                other => module.visit_item(other),
            }
        }
        self.0.insert(name, module);
    }

    fn read_child(&mut self, child: &ItemMod, file: &Path, directory: &Path, parent: &[String]) {
        let child_name = child.ident.to_string();
        let name = [parent, std::slice::from_ref(&child_name)].concat();
        let below = directory.join(&child_name);
        match (&child.content, path_attribute(&child.attrs)) {
            (Some((_, items)), _) => self.read_items(items, file, &below, name),
            (None, Some(path)) => {
                // `queries/x.rs` and `postgres/../queries/x.rs` are one file.
                let file = directory.join(path).canonicalize().unwrap();
                self.read_file(&file, &below, name);
            }
            (None, None) => {
                let file = directory.join(format!("{child_name}.rs"));
                self.read_file(&file.canonicalize().unwrap(), &below, name);
            }
        }
    }

    /// Groups of files that depend on each other.
    pub fn circles(&self) -> Vec<BTreeSet<PathBuf>> {
        let dependencies = self.dependencies();
        let reach = |from: &PathBuf| {
            let mut reached = BTreeSet::new();
            let mut left: Vec<&PathBuf> = vec![from];
            while let Some(file) = left.pop() {
                let next = dependencies.get(file).into_iter().flatten();
                left.extend(next.filter(|next| reached.insert((*next).clone())));
            }
            reached
        };
        let reached: BTreeMap<&PathBuf, _> = dependencies
            .keys()
            .map(|file| (file, reach(file)))
            .collect();
        let circles = reached
            .iter()
            .filter(|(file, reached)| reached.contains(**file));
        let circles = circles.map(|(file, all)| {
            let comes_back =
                |other: &&PathBuf| reached.get(other).is_some_and(|back| back.contains(*file));
            all.iter().filter(comes_back).cloned().collect()
        });
        let circles: BTreeSet<BTreeSet<PathBuf>> = circles.collect();
        circles.into_iter().collect()
    }

    /// For each file, the files that it uses; a child's use of its parents does not count.
    pub fn dependencies(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut dependencies: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (name, module) in &self.0 {
            let all = module.imports.values().chain(&module.globs);
            for path in all.chain(&module.paths) {
                let Some(target) = self.resolve(name, path, &mut BTreeSet::new()) else {
                    continue;
                };
                let file = &self.0.get(&target).unwrap().file;
                if *file != module.file && !name.starts_with(&target) {
                    let known = dependencies.entry(module.file.clone()).or_default();
                    known.insert(file.clone());
                }
            }
        }
        dependencies
    }

    /// The module that defines what `path` means in module `from`; `None` for another crate's.
    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        seen: &mut BTreeSet<(Vec<String>, Vec<String>)>,
    ) -> Option<Vec<String>> {
        if !seen.insert((from.to_vec(), path.to_vec())) {
            return None;
        }
        let mut path = path.iter();
        let mut name = path.next()?.clone();
        let mut at = from.to_vec();
        match name.as_str() {
            "crate" => {
                at.clear();
                name = path.next()?.clone();
            }
            "self" => name = path.next()?.clone(),
            "super" => {
                while name == "super" {
                    at.pop()?;
                    let Some(next) = path.next() else {
                        return Some(at);
                    };
                    name = next.clone();
                }
            }
            _ => {
                let is_known = self.child(&at, &name).is_some()
                    || self.0.get(&at)?.imports.contains_key(&name);
                is_known.then_some(())?;
            }
        }
        loop {
            if let Some(child) = self.child(&at, &name) {
                at = child;
            } else {
                let module = self.0.get(&at)?;
                let rest: Vec<String> = path.cloned().collect();
                let imported = module.imports.get(&name).and_then(|import| {
                    let path = [import.as_slice(), &rest].concat();
                    self.resolve(&at, &path, seen)
                });
                return Some(imported.unwrap_or(at));
            }
            match path.next() {
                Some(next) => name = next.clone(),
                None => return Some(at),
            }
        }
    }

    fn child(&self, parent: &[String], name: &str) -> Option<Vec<String>> {
        let child = [parent, &[name.to_owned()]].concat();
        self.0.contains_key(&child).then_some(child)
    }
}

impl Module {
    fn import(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => {
                let last = prefix.last().cloned().unwrap_or_default();
                self.imports.insert(last, prefix.to_vec());
            }
            UseTree::Name(name) => {
                self.imports
                    .insert(name.ident.to_string(), with(&name.ident));
            }
            UseTree::Rename(renamed) => {
                let path = match renamed.ident == "self" {
                    true => prefix.to_vec(),
                    false => with(&renamed.ident),
                };
                self.imports.insert(renamed.rename.to_string(), path);
            }
            UseTree::Glob(_) => self.globs.push(prefix.to_vec()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(prefix, tree);
                }
            }
        }
    }
}

impl Visit<'_> for Module {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.import(&[], &item.tree);
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_visibility(&mut self, _: &Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        let names: Vec<String> = names.collect();
        if matches!(names.first().map(String::as_str), Some("crate" | "super")) {
            self.paths.push(names);
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg");
        is_cfg
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|name| name == "test")
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) if pair.path.is_ident("path") => Some(text.value()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dependency cycles of a crate with these files, by file name.
    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let root = directory.path().canonicalize().unwrap();
        let name = |file: &PathBuf| file.strip_prefix(&root).unwrap().display().to_string();
        let circles = Modules::read(&root.join("lib.rs")).circles();
        circles
            .iter()
            .map(|circle| circle.iter().map(name).collect())
            .collect()
    }

    const ROOT: (&str, &str) = ("lib.rs", "mod turn; mod text; pub use text::Tidy;");

    #[test]
    fn a_broken_import_is_caught_through_a_re_export() {
        let turn = ("turn.rs", "use crate::Tidy; pub struct Turn;");
        let sound = ("text.rs", "pub struct Tidy;");
        assert!(circles(&[ROOT, turn, sound]).is_empty());
        for broken in [
            "use crate::turn::Turn; pub struct Tidy;",
            "use super::{turn::{self}, Other}; pub struct Tidy;",
            "pub struct Tidy(crate::turn::Turn);",
            "use crate::turn::*; pub struct Tidy;",
        ] {
            let found = circles(&[ROOT, turn, ("text.rs", broken)]);
            assert_eq!(found, [["text.rs", "turn.rs"]], "{broken}");
        }
        let in_tests = "pub struct Tidy; #[cfg(test)] mod tests { use crate::turn::Turn; }";
        assert!(circles(&[ROOT, turn, ("text.rs", in_tests)]).is_empty());
    }

    #[test]
    fn children_may_name_their_parent_but_not_each_other_in_a_circle() {
        let root = ("lib.rs", "mod turn;");
        let parent = (
            "turn.rs",
            "mod run; mod log; use run::Run; pub struct Turn;",
        );
        let log = (
            "turn/log.rs",
            "use super::{Turn, run::Run}; pub struct Log;",
        );
        let run = ("turn/run.rs", "use super::Turn; pub struct Run;");
        assert!(circles(&[root, parent, log, run]).is_empty());
        let run = (
            "turn/run.rs",
            "use super::{Turn, log::Log}; pub struct Run;",
        );
        let found = circles(&[root, parent, log, run]);
        assert_eq!(found, [["turn/log.rs", "turn/run.rs"]]);
    }
}
