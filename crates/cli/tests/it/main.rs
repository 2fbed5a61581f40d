//! Tests of the real program, as a person or a script runs it.

mod alert;
mod comeback;
mod console;
mod content;
mod declined;
mod demo;
mod direction;
mod evidence;
mod fleet;
mod foreign;
mod gate;
mod july;
mod late;
mod log;
mod lying;
mod notices;
mod recovery;
mod repair;
mod restart;
mod rollout;
mod server;
mod shipping;
mod sim;
mod trouble;
mod tuf;
mod workaround;
