//! Tests of the agent from outside: the course of a change with a small server and a small guard, the renewal of its
//! certificate, downloads, probes, the sandbox, what a sensor left. Everything runs in this process, on 127.0.0.1.

mod blobs;
#[cfg(unix)]
mod course;
mod probe;
#[cfg(unix)]
mod renew;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(unix)]
mod sensor;
mod support;
mod tls;
