//! Notices from the draft to the last call, with real carriers: a folder, a mail server, a gateway, a webhook.

mod alert;
mod crash;
mod gateway;
mod life;
mod mail;
mod smtp;
mod support;
