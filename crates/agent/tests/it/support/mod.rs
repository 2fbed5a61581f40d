//! A server and a guard that are just large enough.

#[cfg(unix)]
pub mod guard;
pub mod http;
pub mod keys;
#[cfg(unix)]
pub mod world;

/// Runs a future with an event loop of its own.
pub fn block_on<T>(future: impl std::future::Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
