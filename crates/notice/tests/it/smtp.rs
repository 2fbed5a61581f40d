//! A real conversation with a small mail server that can also be busy, refuse, break off and never answer.

use crate::mail::mail;
use staffel_notice::{
    AttemptKey, Outcome,
    deliver::{Carrier, Parcel, Security, Smtp},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What the server does to a recipient, by the name before the `@`.
#[derive(Clone, Copy)]
enum Habit {
    Accept,
    /// Answers `RCPT` with this.
    AtRecipient(&'static str),
    /// Answers the end of the text with this.
    AtEnd(&'static str),
    /// Closes the line at `DATA`.
    HangsUpAtData,
    /// Takes the whole text, keeps it, and closes the line without a word.
    KeepsAndHangsUp,
    /// Takes the whole text, keeps it, and never says so.
    KeepsAndIsSilent,
}

/// A mail server on the loopback interface.
#[derive(Clone)]
pub struct Server {
    port: u16,
    /// How often a text for each recipient was taken, also where the client was not told.
    kept: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    /// Tells when a text was taken.
    took: Arc<Notify>,
}

impl Server {
    pub async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Server { port, kept: Arc::default(), took: Arc::default() };
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { drop(this.talk(stream).await) });
            }
        });
        server
    }

    pub fn carrier(&self) -> Carrier {
        Carrier::Smtp(self.smtp())
    }

    fn smtp(&self) -> Smtp {
        Smtp {
            host: "127.0.0.1".into(),
            port: self.port,
            security: Security::Plain,
            login: None,
            authority: None,
            timeout: Duration::from_secs(120),
            hello: "staffel.example".into(),
        }
    }

    pub fn kept(&self, name: &str) -> usize {
        self.kept.lock().expect("no panic").get(name).map_or(0, Vec::len)
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 mail.example ESMTP\r\n").await?;
        let mut to = String::new();
        while let Some(line) = lines.next_line().await? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => "250-mail.example\r\n250 8BITMIME",
                "MAIL" => "250 sender ok",
                "RCPT" => {
                    to = line.split(['<', '@']).nth(1).unwrap_or_default().to_owned();
                    match habit(&to) {
                        Habit::AtRecipient(answer) => answer,
                        _ => "250 recipient ok",
                    }
                }
                "DATA" if matches!(habit(&to), Habit::HangsUpAtData) => return Ok(()),
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let mut text = String::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        text.push_str(&line);
                        text.push('\n');
                    }
                    let keep = || {
                        self.kept.lock().expect("no panic").entry(to.clone()).or_default().push(text);
                        self.took.notify_one();
                    };
                    match habit(&to) {
                        Habit::AtEnd(answer) => answer,
                        Habit::KeepsAndHangsUp => {
                            keep();
                            return Ok(());
                        }
                        Habit::KeepsAndIsSilent => {
                            keep();
                            return std::future::pending().await;
                        }
                        _ => {
                            keep();
                            "250 2.0.0 queued as 4711"
                        }
                    }
                }
                "QUIT" => "221 bye",
                _ => "500 what?",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}

fn habit(name: &str) -> Habit {
    match name {
        "busy" => Habit::AtRecipient("450 4.2.1 try again"),
        "unknown" => Habit::AtRecipient("550 5.1.1 no such mailbox"),
        "full" => Habit::AtEnd("452 4.3.1 no space"),
        "spam" => Habit::AtEnd("554 5.7.1 refused"),
        "breaks" => Habit::HangsUpAtData,
        "mute" => Habit::KeepsAndHangsUp,
        "silent" => Habit::KeepsAndIsSilent,
        _ => Habit::Accept,
    }
}

async fn send(smtp: Smtp, name: &str) -> Outcome {
    let key = AttemptKey { notice: 1, recipient: 0, attempt: 1 };
    let parcel = Parcel::Mail(mail(key, &format!("{name}@kunde.example")));
    Carrier::Smtp(smtp).send(&key.to_string(), &parcel).await
}

#[tokio::test]
async fn each_end_of_the_conversation_is_what_it_is() {
    let server = Server::start().await;
    let outcome = send(server.smtp(), "good").await;
    assert!(matches!(&outcome, Outcome::HandedOver { receipt } if receipt.contains("4711")), "{outcome:?}");
    for name in ["busy", "full", "breaks"] {
        let outcome = send(server.smtp(), name).await;
        assert!(matches!(outcome, Outcome::TryLater { .. }), "{name}: {outcome:?}");
        assert_eq!(server.kept(name), 0, "surely not sent");
    }
    for name in ["unknown", "spam"] {
        let outcome = send(server.smtp(), name).await;
        assert!(matches!(&outcome, Outcome::Failed { why } if why.contains('5')), "{name}: {outcome:?}");
        assert_eq!(server.kept(name), 0, "surely not sent");
    }
    // The silent one costs its time limit, so that is shorter; what the server keeps, it may keep a little later.
    let silent = Smtp { timeout: Duration::from_secs(5), ..server.smtp() };
    server.took.notified().await;
    for (name, smtp) in [("mute", server.smtp()), ("silent", silent)] {
        let outcome = send(smtp, name).await;
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{name}: {outcome:?}");
        server.took.notified().await;
        assert_eq!(server.kept(name), 1, "it was sent, and nobody knows");
    }
}

#[tokio::test]
async fn no_server_is_a_reason_to_try_later() {
    let server = Server::start().await;
    let mut smtp = server.smtp();
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    smtp.port = closed.local_addr().expect("an address").port();
    drop(closed);
    let outcome = send(smtp, "good").await;
    assert!(matches!(outcome, Outcome::TryLater { .. }), "{outcome:?}");
}

#[tokio::test]
async fn without_encryption_nothing_is_said_where_encryption_is_asked_for() {
    let server = Server::start().await;
    let outcome = send(Smtp { security: Security::StartTls, ..server.smtp() }, "good").await;
    assert!(matches!(outcome, Outcome::TryLater { .. }), "{outcome:?}");
    assert_eq!(server.kept("good"), 0);
}

/// The program ends while the server has the text and has not said so.
#[tokio::test]
async fn an_attempt_killed_after_the_text_was_taken_is_not_repeated() {
    use crate::support::{World, draft, usual};
    use staffel_notice::{Kind, Step, address::Channel};
    let server = Server::start().await;
    let mut world = World::new();
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("silent")])).id;
    let key = world.start(notice, 0);
    let parcel = Parcel::Mail(mail(key, "silent@kunde.example"));
    let carrier = server.carrier();
    let attempt = tokio::spawn(async move { carrier.send(&key.to_string(), &parcel).await });
    server.took.notified().await;
    attempt.abort();
    assert!(attempt.await.is_err_and(|error| error.is_cancelled()), "it was killed");
    world.restart();
    assert_eq!(world.next(notice, 0), Step::LookUp { attempt: 1, channel: Channel::Email });
    let found = server.carrier().look_up(&key.to_string()).await;
    let event = world.book.looked_up(key, found).expect("it is unknown");
    world.record(event);
    for _ in 0..300 {
        world.now_ms += crate::support::MINUTE;
        let step = world.next(notice, 0);
        assert!(!matches!(step, Step::Send { channel: Channel::Email, .. }), "a blind repetition: {step:?}");
    }
    assert_eq!(world.next(notice, 0), Step::Send { route: 1, channel: Channel::Fax, attempt: 2 });
    assert_eq!(server.kept("silent"), 1);
}
