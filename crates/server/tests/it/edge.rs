//! The edge, from outside: TLS over the loopback, the real engine behind it.

mod alerts;
mod detections;
mod devices;
mod hostile;
mod limits;
mod notices;
mod openapi;
mod operators;
mod recover;
mod recovery;
mod repository;
mod starts;
mod stop;
mod support;
