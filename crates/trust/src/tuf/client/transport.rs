//! Where metadata and targets come from: one trait, so that an agent plugs in its HTTP client and a test a closure.
//!
//! A transport fetches and limits; it verifies nothing and is not trusted.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'name> {
    /// A metadata file by name. The name is to be used as it is in a URL: role names in it are percent-encoded already.
    Metadata(&'name str),
    /// A target by its place below the targets directory, with the hash in it. It has passed the rules for target paths and
    /// is not percent-encoded; see [`percent_encode_path`](crate::tuf::path::percent_encode_path).
    Target(&'name str),
}

impl<'name> Resource<'name> {
    /// The name or path.
    pub fn name(self) -> &'name str {
        match self {
            Self::Metadata(name) | Self::Target(name) => name,
        }
    }
}

/// Why a transport has nothing to give.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source answers that there is no such file (HTTP 404, or 403 as object stores say it).
    #[error("not found")]
    NotFound,
    /// There are more bytes than the limit. The transport stops reading there.
    #[error("too large")]
    TooLarge,
    /// Anything else: no connection, cut off, an unexpected status.
    #[error("failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl FetchError {
    /// A failure with a message or an error.
    pub fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }
}

/// What [`Transport::fetch`] returns.
pub type Fetch<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>>;

/// A source of metadata and targets.
pub trait Transport: Send + Sync {
    /// Fetches a file of at most `limit` bytes. Must stop reading beyond that, and must not wait for ever.
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a>;
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        (**self).fetch(resource, limit)
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        (**self).fetch(resource, limit)
    }
}

/// A blocking function as a transport.
pub struct FromFunction<F>(pub F);

impl<F> Transport for FromFunction<F>
where
    F: Fn(Resource<'_>, u64) -> Result<Vec<u8>, FetchError> + Send + Sync,
{
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        Box::pin(async move { (self.0)(resource, limit) })
    }
}

/// Runs a future on this thread, without an async runtime. For programs whose transport blocks, such as
/// [`DirectoryTransport`](super::DirectoryTransport); one that needs a runtime's reactor must be run by that runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
