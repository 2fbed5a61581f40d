//! The edge, from outside: TLS over the loopback, the real engine behind it.

mod alerts;
mod devices;
mod hostile;
mod limits;
mod notices;
mod openapi;
mod operators;
mod recovery;
mod repository;
mod stop;
mod support;
