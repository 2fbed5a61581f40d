//! The routes of notices. Must stay out: what the answers mean.

use super::Client;
use anyhow::Result;
use staffel_server::api::{CallBack, Erase, NewNotice, NoticeCall, NoticeSheet, NoticeView};

impl Client {
    /// Notices, oldest first.
    pub fn notices(&self) -> Result<Vec<NoticeView>> {
        self.get("/notices")
    }

    /// One notice with its recipients.
    pub fn notice(&self, id: u64) -> Result<NoticeSheet> {
        self.get(&format!("/notices/{id}"))
    }

    /// Freezes the audience and begins to send, or shows what would be sent.
    pub fn draw_notice(&self, asked: &NewNotice) -> Result<NoticeSheet> {
        self.post("/notices", asked)
    }

    /// Who has not said that they know.
    pub fn notice_call_list(&self, id: u64) -> Result<Vec<NoticeCall>> {
        self.get(&format!("/notices/{id}/call-list"))
    }

    /// Erases its addresses.
    pub fn erase_notice(&self, id: u64, asked: &Erase) -> Result<NoticeSheet> {
        self.post(&format!("/notices/{id}/erasure"), asked)
    }

    /// What somebody who holds a code said.
    pub fn call_back(&self, said: &CallBack) -> Result<NoticeSheet> {
        self.post("/call-backs", said)
    }
}
