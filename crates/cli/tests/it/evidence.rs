//! The vectors of evidence.md through the program that auditors use, to 1e-9.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Output, Stdio},
};

fn staffel(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_staffel"))
        .arg("evidence")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that ends at a wrong line does not read the rest.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

/// The numbers of each printed line.
fn numbers(output: &Output) -> Vec<Vec<f64>> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let places = |word: &str| word.split('.').nth(1).map(str::len);
    assert!(text.split_whitespace().all(|word| places(word) == Some(12)), "12 places: {text}");
    text.lines().map(|line| line.split(' ').map(|word| word.parse().expect("a number")).collect()).collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn the_vectors_of_the_specification_come_out() {
    let v1 = ("event 1 10000 T\n", 3.805789672957, Some(4.487753741659));
    let v2 = ("event 4 10000 C\n", -0.014391591119, Some(-0.028993328148));
    let v3 = ("event 4 10000 T\nevent 3 10000 T\nevent 2 10000 T\n", 16.767012270853, Some(17.460159425282));
    let v5a = ("event 100 800 C\nevent 100 799 C\nevent 100 798 T\n", -0.008335155605, None);
    let v5b = (
        "# wave 1\nevent 100 800 C\nevent 100 799 C\nevent 100 798 T\n\nwave\n\
         event 200 1600 T\nevent 199 1600 T\nevent 198 1600 C\nevent 198 1599 T\n",
        2.563744690325,
        Some(2.869258504083),
    );
    for (input, ln_e, ln_e_1) in [v1, v2, v3, v5a, v5b] {
        let lines = numbers(&staffel(&[], input));
        let events = input.lines().filter(|line| line.starts_with("event")).count();
        assert_eq!(lines.len(), events, "one line an event, none for a wave: {input}");
        let last = lines.last().expect("at least one");
        close(last[0], ln_e);
        if let Some(expected) = ln_e_1 {
            close(last[1], expected);
        }
    }
    assert!(numbers(&staffel(&[], "")).is_empty(), "V0");
}

#[test]
fn theta0_is_taken_from_the_command_line() {
    let plain = numbers(&staffel(&[], "event 1 10000 T\n"));
    let tolerant = numbers(&staffel(&["--theta0", "1.5"], "event 1 10000 T\n"));
    assert!(tolerant[0][0] < plain[0][0], "what restarts do anyway counts for less");
}

#[test]
fn the_bounds_of_the_specification_come_out() {
    for (input, beta, expected) in [
        ("0 10\n", "0.01", 0.419843057134),
        ("0 60\n# the same value again\n0 40\n", "0.01", 0.053682662675),
        ("0 5\n", "0.05", 0.520056676853),
    ] {
        close(numbers(&staffel(&["widen", "--beta", beta], input))[0][0], expected);
    }
}

#[test]
fn a_wrong_line_ends_it_with_its_number_and_what_is_meant() {
    for (arguments, input, line, meant) in [
        (&[][..], "event 1 2 T\nevent 1 2\n", "line 2", "event N_T N_C T|C"),
        (&[], "bogus\n", "line 1", "expected `event N_T N_C T|C` or `wave`"),
        (&["widen", "--beta", "0.01"], "0 1\n\n2 1\n", "line 3", "from -1 to 1"),
    ] {
        let output = staffel(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{input}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(line) && said.contains(meant), "{said}");
    }
    assert_eq!(staffel(&["widen", "--beta", "0"], "").status.code(), Some(1));
    assert_eq!(staffel(&["widen"], "").status.code(), Some(2), "beta has no default");
}

#[test]
fn it_answers_each_line_before_the_next_one_comes() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_staffel"))
        .args(["evidence", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    for number in 1..=3 {
        writeln!(input, "event 4 10000 C").expect("the program reads");
        let mut line = String::new();
        output.read_line(&mut line).expect("the program answers");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["line"], number);
        assert!(value["ln_e"].is_f64() && value["ln_e_1"].is_f64());
    }
    drop(input);
    assert!(child.wait().expect("the program ends").success());
}
