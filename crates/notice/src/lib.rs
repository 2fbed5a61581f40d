//! Notices: who is told what, over which channel, in which order, and who has still not been reached.
//!
//! Two halves. The model ([`Book`] and what hangs on it) is pure: it decides, returns events, and changes only by applying
//! them, so that a restart is the same code as a normal run. The other half ([`mail`], [`deliver`], [`alert`]) carries out
//! what was decided and says how it ended; it decides nothing. What must stay out: who is concerned by an incident (the
//! caller knows), and how paper looks (`staffel-press`).

#![forbid(unsafe_code)]

pub mod address;
pub mod alert;
mod book;
pub mod call_list;
mod code;
mod decide;
pub mod deliver;
mod event;
pub mod mail;
mod next;
mod notice;
pub mod paper;
mod template;
mod time;

pub use book::{Attempt, Book, Progress, Reach};
pub use code::{BadCode, ShortCode};
pub use decide::{Draft, Drawn, Person, Refusal};
pub use event::{Acknowledged, CallResult, Event, Found, Means, Outcome};
pub use next::{Done, Manners, Step, Waiting};
pub use notice::{AttemptKey, Notice, NoticeId, Recipient};
pub use staffel_paper::Language;
pub use template::{Field, FieldKind, Frame, Kind, Message, TemplateRef, Unfilled, Value, Values, sms_parts};
pub use time::{LocalTime, NoTime};
