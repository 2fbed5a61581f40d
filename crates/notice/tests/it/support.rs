//! A letterhead, drafts, and a log of events from which a book can be rebuilt.

use staffel_notice::{
    AttemptKey, Book, Draft, Drawn, Event, Kind, Language, Manners, Notice, Outcome, Person, Refusal, ShortCode, Step,
    Value, Values,
    address::{Address, Channel},
    paper::Letterhead,
};
use staffel_paper::Sender;

pub const MINUTE: u64 = 60_000;

pub fn letterhead() -> Letterhead {
    Letterhead {
        sender: Sender {
            name: "Musterhaus Apothekensoftware GmbH".into(),
            address: vec!["Lange Straße 12".into(), "70173 Stuttgart".into()],
            phone: "0711 555 01 99".into(),
            phone_hours: None,
            fax: Some("0711 555 01 98".into()),
            email: None,
        },
        short_name: "Musterhaus".into(),
        signature_de: "Jürgen Weiß".into(),
        signature_en: "Jürgen Weiß".into(),
        answer_address: "https://status.example/c/".into(),
    }
}

pub fn values(kind: Kind) -> Values {
    let text = |words: &str| Value::Text(words.into());
    let time = |words: &str| Value::Time(words.parse().expect("a time"));
    let all = kind.fields().iter().map(|field| {
        let value = match field.name {
            "since" => time("2026-11-22T06:10+01:00"),
            "next_update" | "until" | "report" | "earlier" => time("2026-11-22T09:00+01:00"),
            "steps" | "check" => Value::Steps(vec!["Größe prüfen.".into(), "Rechner starten.".into()]),
            name => text(&format!("Wert für {name}")),
        };
        (field.name.into(), value)
    });
    Values { all: all.collect(), ..Values::default() }
}

pub fn person(site: &str, addresses: &[(Channel, &str)]) -> Person {
    let parse = |(channel, text): &(Channel, &str)| Address::parse(*channel, text).expect("an address");
    Person {
        tenant: "loewen".into(),
        site: site.into(),
        language: Language::De,
        critical: false,
        addresses: addresses.iter().map(parse).collect(),
    }
}

/// E-mail, then fax, then phone.
pub fn usual(site: &str) -> Person {
    let mail = format!("{site}@kunde.example");
    person(site, &[(Channel::Email, &mail), (Channel::Fax, "0351 555 77 01"), (Channel::Phone, "0351 555 77 00")])
}

pub fn draft(kind: Kind, audience: Vec<Person>) -> Draft {
    Draft { incident: 7, kind, values: values(kind), supersedes: None, by: "m.weiss".into(), audience }
}

/// A log, and the book that it gives.
#[derive(Default)]
pub struct World {
    pub log: Vec<(u64, Event)>,
    pub book: Book,
    pub addresses: Vec<Vec<Vec<Address>>>,
    pub manners: Manners,
    pub now_ms: u64,
    random: u64,
}

impl World {
    pub fn new() -> Self {
        World { now_ms: 1_800_000_000_000, ..World::default() }
    }

    pub fn record(&mut self, event: Event) {
        self.book.apply(&event, self.now_ms);
        self.log.push((self.now_ms, event));
    }

    pub fn try_draw(&mut self, draft: Draft) -> Result<Drawn, Refusal> {
        let letterhead = letterhead();
        let mut random = self.random;
        let code = ShortCode::from_random(1);
        let drawn = self.book.draw(draft, &letterhead.frame("V-2026-007", code), self.now_ms, || {
            random += 1;
            random.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        self.random = random;
        drawn
    }

    pub fn draw(&mut self, draft: Draft) -> Notice {
        let drawn = self.try_draw(draft).expect("a complete draft");
        self.addresses.push(drawn.addresses);
        let Event::Drawn { notice } = drawn.event.clone() else { panic!("draw answers Drawn") };
        self.record(drawn.event);
        *notice
    }

    pub fn next(&self, notice: u64, recipient: u32) -> Step {
        self.book.notice(notice).expect("a notice").next(recipient, &self.manners, self.now_ms)
    }

    /// Begins what comes next.
    pub fn start(&mut self, notice: u64, recipient: u32) -> AttemptKey {
        let Step::Send { attempt, .. } = self.next(notice, recipient) else {
            panic!("nothing to send: {:?}", self.next(notice, recipient))
        };
        let key = AttemptKey { notice, recipient, attempt };
        let event = self.book.start(key, &self.manners, self.now_ms).expect("it comes next");
        self.record(event);
        key
    }

    pub fn end(&mut self, key: AttemptKey, outcome: Outcome) {
        let event = self.book.end(key, outcome).expect("it is under way");
        self.record(event);
    }

    /// As after `kill -9`: everything anew from the log.
    pub fn restart(&mut self) {
        let mut book = Book::default();
        for (at_ms, event) in &self.log {
            book.apply(event, *at_ms);
        }
        self.book = book;
        for event in self.book.after_restart() {
            self.record(event);
        }
    }
}

pub fn later(why: &str) -> Outcome {
    Outcome::TryLater { why: why.into() }
}

pub fn failed(why: &str) -> Outcome {
    Outcome::Failed { why: why.into() }
}

pub fn handed() -> Outcome {
    Outcome::HandedOver { receipt: "250 ok".into() }
}
