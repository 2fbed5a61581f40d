//! The program: lines in, files and lines out.

use crate::support::{fax, job, letter};
use staffel_paper::{Document, Job, Language, Printed};
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Runs the program; answers its exit code and its lines.
fn run(folder: &Path, lines: &[String]) -> (Option<i32>, Vec<Printed>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_staffel-press"))
        .args(["--jobs", "2", "--out"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the press starts");
    let mut input = child.stdin.take().expect("its input");
    let text = lines.join("\n");
    let feed = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let out = child.wait_with_output().expect("the press ends");
    feed.join().expect("no panic").expect("it reads all");
    let lines = String::from_utf8(out.stdout).expect("UTF-8");
    let answers = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    (out.status.code(), answers)
}

fn line(job: &Job) -> String {
    serde_json::to_string(job).expect("a job is JSON")
}

#[test]
fn a_bad_line_is_answered_and_the_others_are_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("papers");
    let mut empty = fax(Language::En);
    empty.subject = String::new();
    let good = |name: &str| line(&job(name, Document::Letter(letter(Language::De))));
    let lines = [
        good("first"),
        "not JSON".into(),
        r#"{"name":"strange","document":{"kind":"postcard"}}"#.into(),
        String::new(),
        line(&job("empty", Document::FaxPage(empty))),
        good("../outside"),
        good("first"),
        good("last"),
    ];
    let (code, answers) = run(&out, &lines);
    assert_eq!(code, Some(2), "some were refused");
    let mut refused = BTreeMap::new();
    let mut written = Vec::new();
    for answer in answers {
        match answer {
            Printed::Refused { line, error, .. } => drop(refused.insert(line, error)),
            Printed::Written { name, file, pages, bytes } => {
                let found = std::fs::read(out.join(&file)).expect("the file is there");
                assert_eq!((found.len(), pages), (bytes, 1));
                written.push(name);
            }
        }
    }
    written.sort();
    assert_eq!(written, ["first", "last"]);
    let refused: Vec<(usize, &str)> = refused.iter().map(|(line, error)| (*line, error.as_str())).collect();
    assert_eq!(refused, [(2, "unreadable"), (3, "unreadable"), (5, "incomplete"), (6, "name"), (7, "name")]);
    let mut left: Vec<_> = std::fs::read_dir(&out).expect("a folder").map(|f| f.expect("a file").file_name()).collect();
    left.sort();
    assert_eq!(left, ["first.pdf", "last.pdf"], "nothing half written is left");
    assert!(!folder.path().join("outside.pdf").exists());
}

#[test]
fn nothing_to_do_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(folder.path(), &[]), (Some(0), Vec::new()));
}
