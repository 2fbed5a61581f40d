//! Renders letters and e-mails and prints how long that took: `bench_notices PRESS [COUNT]`. The press is the program
//! `staffel-press`; it uses as many threads as there are cores, the e-mails one. `./dev bench` runs it.

use staffel_notice::{
    AttemptKey, Kind, Language, LocalTime, ShortCode, Value, Values, mail::MailSender, paper::Letterhead,
};
use staffel_paper::{Document, Job, Printed, Sender};
use std::{
    error::Error,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const NOW_MS: u64 = 1_800_000_000_000;

fn letterhead() -> Letterhead {
    Letterhead {
        sender: Sender {
            name: "Musterhaus Apothekensoftware GmbH".into(),
            address: vec!["Lange Straße 12".into(), "70173 Stuttgart".into()],
            phone: "0711 555 01 99".into(),
            phone_hours: None,
            fax: None,
            email: Some("hilfe@musterhaus.example".into()),
        },
        short_name: "Musterhaus".into(),
        signature_de: "Jürgen Weiß, Kundendienst".into(),
        signature_en: "Jürgen Weiß, customer service".into(),
        answer_address: "https://status.example/c/".into(),
    }
}

fn values(time: LocalTime) -> Values {
    let text = |words: &str| Value::Text(words.into());
    let all = [
        ("problem", text("Kassenplätze starten nach einem Update nicht")),
        ("since", Value::Time(time)),
        ("affected", text("alle Kassenplätze mit der Komponente Wächter 4.2")),
        ("known", text("Ein Update war fehlerhaft; wir haben die Verteilung nach vier Minuten angehalten.")),
        ("do_now", text("Schalten Sie betroffene Rechner nicht aus und wieder ein, bis unsere Anleitung da ist.")),
        ("next_update", Value::Time(time)),
    ];
    Values { all: all.map(|(name, value)| (name.into(), value)).into(), ..Values::default() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let press = arguments.next().ok_or("name the program staffel-press")?;
    let count: u32 = arguments.next().map_or(Ok(10_000), |count| count.parse())?;
    let (letterhead, time) = (letterhead(), "2026-11-22T06:10+01:00".parse::<LocalTime>()?);
    let (values, template) = (values(time), Kind::FirstInformation.newest());
    let code = |n: u32| ShortCode::from_random(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let language = |n: u32| if n.is_multiple_of(4) { Language::En } else { Language::De };

    let sender = MailSender::parse("Musterhaus <dienst@musterhaus.example>", None)?;
    let began = Instant::now();
    let mut bytes = 0;
    for n in 0..count {
        let message = template.fill(&values, language(n), &letterhead.frame("V-7", code(n)))?;
        let key = AttemptKey { notice: 1, recipient: n, attempt: 1 };
        let to = format!("apotheke-{n}@kunde.example");
        bytes += sender.notice(key, &to, &message, &letterhead, code(n), NOW_MS)?.bytes.len();
    }
    let mails = began.elapsed();
    say("e-mails", count, mails, bytes);

    let folder = std::env::temp_dir().join(format!("staffel-bench-{}", std::process::id()));
    let began = Instant::now();
    let mut child =
        Command::new(press).arg("--out").arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take().ok_or("the press has no input")?;
    let output = child.stdout.take().ok_or("the press has no output")?;
    let (written, bytes) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            let printed = lines.filter_map(|line| match serde_json::from_str(&line) {
                Ok(Printed::Written { bytes, .. }) => Some(bytes),
                _ => None,
            });
            printed.fold((0, 0), |(written, sum), bytes| (written + 1, sum + bytes))
        });
        let mut input = BufWriter::new(input);
        for n in 0..count {
            let message = template.fill(&values, language(n), &letterhead.frame("V-7", code(n)))?;
            let to = [format!("Apotheke Nr. {n}"), "Frau Dr. Änne Größe".into(), "01097 Dresden".into()];
            let letter = letterhead.letter(&message, &to, "V-7", code(n), time.date());
            let job = Job { name: format!("letter-{n}"), document: Document::Letter(letter) };
            serde_json::to_writer(&mut input, &job)?;
            input.write_all(b"\n")?;
        }
        drop(input.into_inner().map_err(std::io::IntoInnerError::into_error)?);
        reader.join().map_err(|_| Box::<dyn Error>::from("the press's answers could not be read"))
    })?;
    child.wait()?;
    let letters = began.elapsed();
    std::fs::remove_dir_all(&folder)?;
    if written != count {
        return Err(format!("only {written} of {count} letters were printed").into());
    }
    say("letters", count, letters, bytes);
    say("both", count, mails + letters, 0);
    Ok(())
}

fn say(what: &str, count: u32, time: Duration, bytes: usize) {
    let rate = f64::from(count) / time.as_secs_f64();
    println!("{count} {what}: {:.1} s, {rate:.0} a second, {} bytes in all", time.as_secs_f64(), bytes);
}
