//! Tests of the real program, as a person or a script runs it.

mod demo;
mod direction;
mod evidence;
mod fleet;
mod log;
mod lying;
mod restart;
mod rollout;
mod server;
mod shipping;
mod trouble;
mod tuf;
