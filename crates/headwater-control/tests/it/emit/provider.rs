//! Terraform against the provider's own schema, as `provider.toml` has it: `cargo xtask schema` writes that anew.

use std::collections::{BTreeMap, BTreeSet};

use headwater_control::plan::{Emitted, Format};

const SCHEMA: &str = include_str!("provider.toml");

#[derive(Default)]
struct Known {
    required: BTreeSet<String>,
    all: BTreeSet<String>,
    given: BTreeSet<String>,
}

/// By type, and by `type/block` for what is in a block.
fn schema() -> BTreeMap<String, Known> {
    let table: toml::Table = SCHEMA.parse().unwrap();
    let mut known = BTreeMap::new();
    for (name, value) in table {
        let names = |key: &str| -> BTreeSet<String> {
            let listed = value.get(key).and_then(|list| list.as_array()).cloned().unwrap_or_default();
            listed.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let required = names("required");
        let all = required.union(&names("optional")).cloned().collect();
        known.insert(name, Known { required, all, given: names("given") });
    }
    known
}

/// What Terraform itself knows of in every resource.
const META: [&str; 5] = ["count", "for_each", "depends_on", "lifecycle", "provider"];

fn wrong(path: &str, body: &hcl::Body, schema: &BTreeMap<String, Known>, found: &mut Vec<String>) {
    let Some(known) = schema.get(path) else {
        found.push(format!("there is no {path}"));
        return;
    };
    let mut there = BTreeSet::new();
    for attribute in body.attributes() {
        let key = attribute.key.as_str();
        there.insert(key.to_owned());
        if !known.all.contains(key) && !META.contains(&key) {
            found.push(format!("{path} has no attribute {key}"));
        }
        if schema.contains_key(&format!("{path}/{key}"))
            && !matches!(attribute.expr, hcl::Expression::Array(_))
        {
            found.push(format!("{path}: {key} is a block"));
        }
    }
    for block in body.blocks() {
        let name = block.identifier.as_str();
        there.insert(name.to_owned());
        if !META.contains(&name) {
            wrong(&format!("{path}/{name}"), &block.body, schema, found);
        }
    }
    found.extend(known.required.difference(&there).map(|name| format!("{path} lacks {name}")));
}

fn bodies(files: &[&Emitted]) -> Vec<(String, hcl::Body)> {
    let terraform = files.iter().filter(|file| file.path.ends_with(".tf"));
    terraform
        .map(|file| {
            let body = hcl::parse(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
            (file.path.clone(), body)
        })
        .collect()
}

#[test]
fn the_provider_knows_every_attribute_and_misses_none() {
    let schema = schema();
    for (name, plan) in super::plans() {
        let mut found = Vec::new();
        let files = super::emitted(plan, Format::Terraform);
        for (folder, files) in super::folders(&files) {
            let mut addresses = BTreeSet::new();
            for (path, body) in bodies(&files) {
                for block in body.blocks() {
                    let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
                    let kind = match (block.identifier.as_str(), &labels[..]) {
                        ("resource", [kind, _]) => (*kind).to_owned(),
                        ("data", [kind, _]) => format!("data.{kind}"),
                        _ => continue,
                    };
                    assert!(
                        addresses.insert(format!("{kind}.{}", labels[1])),
                        "{name}/{path}: {labels:?} twice"
                    );
                    if !kind.starts_with("random_") {
                        wrong(&kind, &block.body, &schema, &mut found);
                    }
                }
            }
            assert!(addresses.len() > 10, "{name}/{folder}");
        }
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

/// `aws_kms_key.main.arn`, `var.zones`, `data.x.y.z`: in attributes, templates and functions alike.
fn references(text: &str) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut found = Vec::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    for (at, _) in code.char_indices() {
        let begins =
            ["aws_", "random_", "var.", "data.", "module."].iter().any(|word| code[at..].starts_with(word));
        let before = code[..at].chars().next_back();
        // Names in quotes are types in a header; the words of another name begin none.
        if !begins || before.is_some_and(|c| is_word(c) || c == '"' || c == '.') {
            continue;
        }
        let mut parts = vec![String::new()];
        let mut in_index = false;
        for c in code[at..].chars() {
            match c {
                '[' => in_index = true,
                ']' => in_index = false,
                _ if in_index => {}
                '.' => parts.push(String::new()),
                c if is_word(c) => parts.last_mut().unwrap().push(c),
                _ => break,
            }
        }
        found.push(parts);
    }
    found
}

#[test]
fn whatever_is_referred_to_is_there() {
    let schema = schema();
    for (name, plan) in super::plans() {
        let files = super::emitted(plan, Format::Terraform);
        let folders = super::folders(&files);
        let mut given: BTreeMap<String, Given> = BTreeMap::new();
        for (folder, files) in &folders {
            given.insert(folder.clone(), Given::of(files));
        }
        for (folder, files) in &folders {
            let mut count = 0;
            let here = &given[folder];
            for file in files.iter().filter(|file| file.path.ends_with(".tf")) {
                for parts in references(&file.text) {
                    let (kind, length) = match &*parts[0] {
                        "data" => (parts[..2].join("."), 3),
                        _ => (parts[0].clone(), 2),
                    };
                    let address = parts[..length].join(".");
                    assert!(here.there.contains(&address), "{name}/{}: {address} is not there", file.path);
                    if let (Some(known), Some(attribute)) = (schema.get(&kind), parts.get(length)) {
                        let given = known.given.contains(attribute) || known.all.contains(attribute);
                        assert!(given, "{name}/{}: {address} has no {attribute}", file.path);
                    }
                    if let ("module", Some(output)) = (&*parts[0], parts.get(length)) {
                        let module = &given[&here.modules[&parts[1]].0];
                        assert!(module.outputs.contains(output), "{name}: {address} gives no {output}");
                    }
                    count += 1;
                }
            }
            // A module is told what it has to know, and nothing that it does not know.
            for (source, told) in here.modules.values() {
                let wanted = &given[source];
                assert!(
                    told.iter().all(|name| wanted.variables.contains_key(name)),
                    "{name}: {source}: {told:?}"
                );
                let needed = wanted.variables.iter().filter(|(_, has_default)| !**has_default);
                for (variable, _) in needed {
                    assert!(told.contains(variable), "{name}: {source} is not told {variable}");
                }
            }
            assert!(count > 20, "{name}");
        }
    }
}

/// What one folder has for those who refer to it.
struct Given {
    there: BTreeSet<String>,
    /// And whether they have a default.
    variables: BTreeMap<String, bool>,
    outputs: BTreeSet<String>,
    /// The folder, and what it is told.
    modules: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl Given {
    fn of(files: &[&Emitted]) -> Given {
        let mut given = Given {
            there: BTreeSet::new(),
            variables: BTreeMap::new(),
            outputs: BTreeSet::new(),
            modules: BTreeMap::new(),
        };
        for (_, body) in bodies(files) {
            for block in body.blocks() {
                let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
                let has =
                    |name: &str| block.body.attributes().any(|attribute| attribute.key.as_str() == name);
                given.there.insert(match block.identifier.as_str() {
                    "resource" => labels.join("."),
                    "data" => format!("data.{}", labels.join(".")),
                    "variable" => {
                        given.variables.insert(labels[0].to_owned(), has("default"));
                        format!("var.{}", labels[0])
                    }
                    "output" => {
                        given.outputs.insert(labels[0].to_owned());
                        continue;
                    }
                    "module" => {
                        let mut told: BTreeSet<String> =
                            block.body.attributes().map(|told| told.key.as_str().to_owned()).collect();
                        told.retain(|name| !["source", "providers", "depends_on"].contains(&&**name));
                        let source =
                            block.body.attributes().find(|told| told.key.as_str() == "source").unwrap();
                        let source = source.expr.to_string();
                        let source = source.trim_matches('"').trim_start_matches("./").to_owned();
                        given.modules.insert(labels[0].to_owned(), (source, told));
                        format!("module.{}", labels[0])
                    }
                    _ => continue,
                });
            }
        }
        given
    }
}
