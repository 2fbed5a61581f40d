//! Sending. An attempt is durable in the log before anything leaves; its end is recorded after. Whatever is cut off between the
//! two is unknown at the next start, and is looked up.

use super::{
    super::{Engine, EngineError, now_ms, record::Record, state::State},
    Desk, incident_name, words,
};
use staffel_core::recovery::Contact;
use staffel_notice::{
    AttemptKey, Outcome, Recipient, Step,
    address::{Address, Channel},
    deliver::Parcel,
};
use staffel_paper::{Date, Document, Job, Printed};
use std::{collections::BTreeMap, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt as _, process::Command, task::JoinSet};

/// Attempts at a time: enough to keep a mail server busy, few enough for its limits.
const AT_ONCE: usize = 32;
/// Between two looks while there is nothing to send.
const PAUSE: Duration = Duration::from_secs(1);

/// An attempt that is durable in the log.
struct Begun {
    key: AttemptKey,
    channel: Channel,
    parcel: Result<Parcel, Unready>,
}

/// Why there is no parcel yet.
enum Unready {
    /// It has to be printed first.
    Paper {
        number: Option<String>,
        document: Box<Document>,
    },
    Later(String),
    Never(String),
}

impl Engine {
    /// Sends what is due until `stop` completes. Does nothing without a desk.
    pub async fn deliver_notices(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let sent = match self.0.desk.get() {
                None => false,
                Some(desk) => self.deliver_some(desk).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "notices wait");
                    false
                }),
            };
            let pause = if sent { Duration::ZERO } else { PAUSE };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round; whether there was anything to do.
    async fn deliver_some(&self, desk: &Desk) -> Result<bool, EngineError> {
        let now = now_ms();
        let due = self.state().notices.book.due(&desk.manners, now, AT_ONCE);
        if due.is_empty() {
            return Ok(false);
        }
        let mut begun = self.begin(desk, &due, now).await?;
        self.print(desk, &mut begun).await;
        let mut ends = JoinSet::new();
        for (notice, recipient, step) in due {
            let Step::LookUp { attempt, channel } = step else { continue };
            let Some(carrier) = desk.carrier(channel).cloned() else { continue };
            let key = AttemptKey { notice, recipient, attempt };
            ends.spawn(async move { (key, channel, Err(carrier.look_up(&key.to_string()).await)) });
        }
        for Begun { key, channel, parcel } in begun {
            let carrier = desk.carrier(channel).cloned();
            ends.spawn(async move {
                let outcome = match (parcel, carrier) {
                    (Ok(parcel), Some(carrier)) => carrier.send(&key.to_string(), &parcel).await,
                    (Err(Unready::Never(why)), _) => Outcome::Failed { why },
                    (Err(Unready::Later(why)), _) => Outcome::TryLater { why },
                    (Err(Unready::Paper { .. }), _) => Outcome::TryLater { why: "it was not printed".into() },
                    (_, None) => Outcome::Failed { why: format!("nobody carries {channel}") },
                };
                (key, channel, Ok(outcome))
            });
        }
        let mut pending = Vec::new();
        while let Some(ended) = ends.join_next().await {
            // A task that panicked leaves its attempt under way; the next start calls it unknown.
            let Ok((key, channel, ended)) = ended else { continue };
            let now = now_ms();
            let mut state = self.state();
            let event = match &ended {
                Ok(outcome) => state.notices.book.end(key, outcome.clone()),
                Err(found) => state.notices.book.looked_up(key, *found),
            };
            let Ok(event) = event else { continue };
            let mut records = vec![words::record(event)];
            if matches!(ended, Ok(Outcome::HandedOver { .. })) {
                let told = (key.notice, key.recipient, channel, Contact::Sent);
                records.extend(words::tell_cases(&state, told, "staffel", now));
            }
            pending.push(self.commit(&mut state, &records, now)?);
        }
        for pending in pending {
            self.durable(pending).await?;
        }
        Ok(true)
    }

    /// Logs the attempts, and waits until that is durable.
    async fn begin(&self, desk: &Desk, due: &[(u64, u32, Step)], now: u64) -> Result<Vec<Begun>, EngineError> {
        let (begun, pending) = {
            let mut state = self.state();
            let mut begun = Vec::new();
            let mut records: Vec<Record> = Vec::new();
            for (notice, recipient, step) in due {
                let Step::Send { attempt, route, channel } = step else { continue };
                let key = AttemptKey { notice: *notice, recipient: *recipient, attempt: *attempt };
                let Ok(event) = state.notices.book.start(key, &desk.manners, now) else { continue };
                records.push(words::record(event));
                let parcel = parcel(&state, desk, key, *route as usize, now);
                begun.push(Begun { key, channel: *channel, parcel });
            }
            if records.is_empty() {
                return Ok(begun);
            }
            (begun, self.commit(&mut state, &records, now)?)
        };
        self.durable(pending).await?;
        Ok(begun)
    }

    /// Prints what has to be printed, in one run of the press.
    async fn print(&self, desk: &Desk, begun: &mut [Begun]) {
        let papers = begun.iter().filter_map(|one| match &one.parcel {
            Err(Unready::Paper { document, .. }) => {
                Some(Job { name: one.key.to_string(), document: (**document).clone() })
            }
            _ => None,
        });
        let jobs: Vec<Job> = papers.collect();
        if jobs.is_empty() {
            return;
        }
        let printed = press(desk, &jobs).await;
        if let Err(why) = &printed {
            tracing::warn!(why, "letters and fax pages wait");
        }
        for one in begun {
            let Err(Unready::Paper { number, .. }) = &one.parcel else { continue };
            let number = number.clone();
            let answer = match &printed {
                Ok(answers) => {
                    answers.get(&one.key.to_string()).cloned().unwrap_or(Err("the press left it out".into()))
                }
                Err(why) => {
                    one.parcel = Err(Unready::Later(why.clone()));
                    continue;
                }
            };
            one.parcel = answer.map_err(Unready::Never).and_then(|pdf| page(desk, one.key, number, pdf));
        }
    }
}

fn page(desk: &Desk, key: AttemptKey, number: Option<String>, pdf: Vec<u8>) -> Result<Parcel, Unready> {
    let Some(number) = number else { return Ok(Parcel::Letter { pdf }) };
    let Some(domain) = &desk.fax_by_mail else { return Ok(Parcel::Fax { number, pdf }) };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let key = key.to_string();
    let mail = desk.mail.page(&key, &format!("{digits}@{domain}"), &key, pdf, now_ms());
    mail.map(Parcel::Mail).map_err(|error| Unready::Never(error.to_string()))
}

/// What leaves for this attempt.
fn parcel(state: &State, desk: &Desk, key: AttemptKey, route: usize, now: u64) -> Result<Parcel, Unready> {
    let never = |why: &str| Unready::Never(why.into());
    let progress = state.notices.book.notice(key.notice).ok_or_else(|| never("the notice is gone"))?;
    let notice = &progress.notice;
    let one: &Recipient = notice.audience.get(key.recipient as usize).ok_or_else(|| never("no such recipient"))?;
    let kept = state.notices.addresses.get(&key.notice);
    let addresses = kept.and_then(|kept| kept.lists.get(key.recipient as usize));
    let address = addresses.and_then(|all| all.get(route)).ok_or_else(|| never("the address was erased"))?;
    let incident = incident_name(notice.incident);
    let message = notice.template.fill(&notice.values, one.language, &desk.letterhead.frame(&incident, one.code));
    let message = message.map_err(|error| never(&error.to_string()))?;
    let head = &desk.letterhead;
    let paper =
        |number: Option<String>, document: Document| Err(Unready::Paper { number, document: Box::new(document) });
    match address {
        Address::Email(to) => {
            let mail = desk.mail.notice(key, to, &message, head, one.code, now);
            mail.map(Parcel::Mail).map_err(|error| never(&error.to_string()))
        }
        Address::Sms(number) => Ok(Parcel::Sms { number: number.clone(), text: message.sms }),
        Address::Fax(number) => {
            let page = head.fax_page(&message, &one.site, number, &incident, one.code, today(now));
            paper(Some(number.clone()), Document::FaxPage(page))
        }
        Address::Letter(lines) => {
            let letter = head.letter(&message, lines, &incident, one.code, today(now));
            paper(None, Document::Letter(letter))
        }
        Address::Phone(_) => Err(never("nothing is sent to a phone")),
    }
}

/// The date in UTC; a letter takes days anyway.
fn today(now: u64) -> Date {
    let text = super::view::clock(now);
    text.get(..10).and_then(|date| date.parse().ok()).unwrap_or(Date::EPOCH)
}

/// Runs the press once; the PDF, or why there is none, by name.
async fn press(desk: &Desk, jobs: &[Job]) -> Result<BTreeMap<String, Result<Vec<u8>, String>>, String> {
    let mut child = Command::new(&desk.press)
        .args(["--jobs", "1", "--out"])
        .arg(&desk.papers)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let press = desk.press.display();
            format!("{press} does not start ({error}): build it with `./dev build`, or name it in notices.toml")
        })?;
    let mut lines = Vec::new();
    for job in jobs {
        serde_json::to_writer(&mut lines, job).map_err(|error| format!("write {}: {error}", job.name))?;
        lines.push(b'\n');
    }
    let mut input = child.stdin.take().ok_or("the press has no input")?;
    let feed = tokio::spawn(async move { input.write_all(&lines).await });
    let out = child.wait_with_output().await.map_err(|error| format!("wait for the press: {error}"))?;
    // A press that ended early says so by what it left out.
    drop(feed.await);
    let mut answers = BTreeMap::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        match serde_json::from_str::<Printed>(line) {
            Ok(Printed::Written { name, file, .. }) => {
                let path = desk.papers.join(file);
                let pdf = tokio::fs::read(&path).await.map_err(|error| format!("read what was printed: {error}"));
                // It is with its carrier from now on.
                drop(tokio::fs::remove_file(&path).await);
                answers.insert(name, pdf);
            }
            Ok(Printed::Refused { name: Some(name), message, .. }) => drop(answers.insert(name, Err(message))),
            Ok(Printed::Refused { name: None, message, .. }) => return Err(message),
            Err(error) => return Err(format!("the press says {line:?}: {error}")),
        }
    }
    Ok(answers)
}
