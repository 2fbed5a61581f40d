//! The edge, from outside: TLS over the loopback, the real engine behind it.

mod devices;
mod hostile;
mod limits;
mod openapi;
mod operators;
mod repository;
mod stop;
mod support;
