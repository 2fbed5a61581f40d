//! Sessions: who is logged in, in memory only. A cookie holds 256 random bits, the table their SHA-256. What must stay out:
//! cookies and HTTP.

use crate::accounts::Hashed;
use sha2::{Digest as _, Sha256};
use staffel_server::api::Caller;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Sessions at a time; the one that was not used for longest gives way.
const MOST: usize = 10_000;

/// How long a session lives.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Without anything that a person does. Pages that refresh themselves do not count.
    pub idle: Duration,
    /// Whatever is done.
    pub whole: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Lifetime { idle: Duration::from_secs(3_600), whole: Duration::from_secs(12 * 3_600) }
    }
}

/// Why somebody was let in.
#[derive(Clone)]
pub(crate) enum Proof {
    /// The account's password then: another one ends the session.
    Password(Hashed),
    /// The provider's word, and what the rules made of it.
    Provider(Caller),
}

/// Names a session in the table.
pub(crate) type Key = [u8; 32];

#[derive(Clone)]
pub(crate) struct Session {
    pub account: String,
    /// Must come with every change, hex.
    pub csrf: String,
    pub proof: Proof,
    made: Instant,
    used: Instant,
}

/// What became of a cookie.
pub(crate) enum Found {
    Alive(Session),
    /// It was one.
    Expired {
        account: String,
    },
    /// Forged, or of a server that was stopped since.
    Unknown,
}

pub(crate) struct Sessions {
    lifetime: Lifetime,
    table: Mutex<HashMap<Key, Session>>,
}

/// 256 random bits, hex.
pub(crate) fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Where a cookie's value stands in the table.
pub(crate) fn key(token: &str) -> Key {
    Sha256::digest(token.as_bytes()).into()
}

impl Sessions {
    pub fn new(lifetime: Lifetime) -> Self {
        Sessions { lifetime, table: Mutex::default() }
    }

    /// Begins a session; answers what the cookie holds.
    pub fn begin(&self, account: &str, proof: Proof) -> Result<String, getrandom::Error> {
        let (token, now) = (random()?, Instant::now());
        let session = Session { account: account.to_owned(), csrf: random()?, proof, made: now, used: now };
        let mut table = self.table();
        table.retain(|_, session| !self.is_over(session, now));
        if table.len() >= MOST
            && let Some(oldest) = table.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key)
        {
            table.remove(&oldest);
        }
        table.insert(key(&token), session);
        Ok(token)
    }

    /// The session of a cookie. `by_person`: this is no refresh by the page itself.
    pub fn find(&self, key: &Key, by_person: bool) -> Found {
        let now = Instant::now();
        let mut table = self.table();
        let Some(session) = table.get_mut(key) else { return Found::Unknown };
        if self.is_over(session, now) {
            let account = session.account.clone();
            table.remove(key);
            return Found::Expired { account };
        }
        if by_person {
            session.used = now;
        }
        Found::Alive(session.clone())
    }

    /// Ends a session.
    pub fn end(&self, key: &Key) {
        self.table().remove(key);
    }

    fn is_over(&self, session: &Session, now: Instant) -> bool {
        now.duration_since(session.used) > self.lifetime.idle || now.duration_since(session.made) > self.lifetime.whole
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Session>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(sessions: &Sessions, name: &str) -> String {
        sessions.begin(name, Proof::Password(Hashed::nobody())).unwrap()
    }

    #[test]
    fn a_session_is_found_by_its_token_alone_and_ends() {
        let sessions = Sessions::new(Lifetime::default());
        let (ann, ben) = (begin(&sessions, "ann"), begin(&sessions, "ben"));
        assert!(ann != ben && ann.len() == 64);
        assert!(matches!(sessions.find(&key(&ann), true), Found::Alive(s) if s.account == "ann"));
        assert!(matches!(sessions.find(&key(&ann[1..]), true), Found::Unknown));
        sessions.end(&key(&ann));
        assert!(matches!(sessions.find(&key(&ann), true), Found::Unknown));
        assert!(matches!(sessions.find(&key(&ben), true), Found::Alive(_)));
    }

    #[test]
    fn a_session_that_is_over_is_said_once_and_gone() {
        let sessions = Sessions::new(Lifetime { idle: Duration::ZERO, whole: Duration::from_secs(60) });
        let token = begin(&sessions, "ann");
        std::thread::sleep(Duration::from_millis(2));
        assert!(matches!(sessions.find(&key(&token), true), Found::Expired { account } if account == "ann"));
        assert!(matches!(sessions.find(&key(&token), true), Found::Unknown));
    }
}
