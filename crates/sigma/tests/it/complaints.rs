//! What an author reads: file, line, and what is meant.

use std::{fs, path::Path};

const RULE: &str = "title: Shell
id: 7c1fbb4e-0f1d-4a56-9c0c-3a3b4f6a1a01
logsource:
  product: linux
  category: process_creation
detection:
  selection:
    Image|endswith: /sh
  condition: selection
level: low
";
const EXAMPLES: &str = "{\"matches\": true, \"fields\": {\"Image\": \"/bin/sh\"}}
{\"matches\": false, \"fields\": {\"Image\": \"/bin/ls\"}}
";

/// What is said about a pack with this rule and these examples.
fn said(rule: &str, examples: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("it is written");
    write("pack.toml", "name = \"test\"\nversion = 3\n");
    write("shell.yml", rule);
    write("shell.vectors.jsonl", examples);
    lines(folder.path())
}

fn lines(folder: &Path) -> Vec<String> {
    match staffel_sigma::build(folder) {
        Ok(_) => Vec::new(),
        Err(complaints) => complaints.iter().map(ToString::to_string).collect(),
    }
}

fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(RULE.contains(from), "{from}");
    said(&RULE.replace(from, to), EXAMPLES)
}

#[track_caller]
fn is(said: &[String], expected: &str) {
    assert!(said.len() == 1 && said[0].starts_with(expected), "{said:#?}\nexpected: {expected}");
}

#[test]
fn a_good_pack_has_none() {
    assert_eq!(said(RULE, EXAMPLES), [] as [&str; 0]);
}

#[test]
fn each_names_the_line_and_what_is_meant() {
    is(
        &changed("Image|endswith", "Imagee|endswith"),
        "shell.yml:8: events of class process_creation have no field Imagee; Image was meant?",
    );
    is(&changed("Image|endswith", "Image|base64"), "shell.yml:8: the modifier |base64 is not known");
    is(&changed("Image|endswith", "Image|ends"), "shell.yml:8: this is no Sigma rule: Unknown modifier 'ends'");
    is(&changed("condition: selection", "condition: selected"), "shell.yml:9: the condition names selected");
    is(&changed("condition: selection", "condition: selection and"), "shell.yml:9: this is no Sigma rule");
    is(&changed("condition: selection", "condition: 2 of them"), "shell.yml:9: the condition says \"2 of them\"");
    is(&changed("Image|endswith: /sh", "UserId: root"), "shell.yml:8: UserId is a number: \"root\" is none");
    is(&changed("Image|endswith: /sh", "UserId|contains: 1"), "shell.yml:8: UserId is a number: |contains asks");
    is(&changed("Image|endswith: /sh", "Image|re: 'a('"), "shell.yml:1: rule 7c1fbb4e");
    is(
        &changed("product: linux", "product: windows"),
        "shell.yml:3: no sensor here supplies events of logsource windows",
    );
    is(&changed("id: 7c1fbb4e-0f1d-4a56-9c0c-3a3b4f6a1a01\n", ""), "shell.yml:1: the rule has no `id`");
    is(&changed("  condition", " condition"), "shell.yml:9: this is no Sigma rule");
}

#[test]
fn examples_are_part_of_a_rule() {
    let lines: Vec<&str> = EXAMPLES.lines().collect();
    is(
        &said(RULE, lines[0]),
        "shell.vectors.jsonl:1: rule 7c1fbb4e-0f1d-4a56-9c0c-3a3b4f6a1a01 has no example that it must not",
    );
    is(
        &said(RULE, lines[1]),
        "shell.vectors.jsonl:1: rule 7c1fbb4e-0f1d-4a56-9c0c-3a3b4f6a1a01 has no example that it must match",
    );
    let both = |line: &str| said(RULE, &format!("{EXAMPLES}{line}\n"));
    is(&both("{\"matches\": true, \"fields\": {\"Image\": \"/bin/ls\"}}"), "shell.vectors.jsonl:3: rule 7c1fbb4e");
    is(&both("{\"matches\": false, \"fields\": {\"Image\": \"/bin/sh\"}}"), "shell.vectors.jsonl:3: rule 7c1fbb4e");
    is(&both("{\"matches\": false, \"fields\": {\"image\": \"/bin/sh\"}}"), "shell.vectors.jsonl:3: events of class");
    is(&both("{\"matches\": false, \"fields\": {\"UserId\": \"x\"}}"), "shell.vectors.jsonl:3: UserId is a number");
    is(&both("{\"match\": false}"), "shell.vectors.jsonl:3: unknown field `match`");
}

#[test]
fn the_folder_itself_is_looked_at_too() {
    let folder = tempfile::tempdir().expect("a folder");
    is(&lines(folder.path()), "pack.toml:1: ");
    fs::write(folder.path().join("pack.toml"), "name = \"test\"\nversion = \"x\"\n").expect("it is written");
    is(&lines(folder.path()), "pack.toml:2: invalid type");
    fs::write(folder.path().join("pack.toml"), "name = \"test\"\nversion = 1\n").expect("it is written");
    is(&lines(folder.path()), ".:1: there is no rule");
    for name in ["a", "b"] {
        fs::write(folder.path().join(format!("{name}.yml")), RULE).expect("it is written");
        fs::write(folder.path().join(format!("{name}.vectors.jsonl")), EXAMPLES).expect("it is written");
    }
    is(&lines(folder.path()), "b.yml:1: another rule has the id 7c1fbb4e");
}
