//! Tells open pages that something changed, by server-sent events: never what. The page then asks for itself again, as the
//! person who looks at it. What must stay out: any content.

use crate::{auth::Ask, web::Console};
use axum::{
    Router,
    body::Body,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use hyper::body::Frame;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};

/// Between two events at least: two a second are enough for eyes.
const GAP: Duration = Duration::from_millis(500);
/// Whether a device is silent changes without an entry in the log.
const ANYWAY: Duration = Duration::from_secs(5);
/// Whoever is bound to a customer is told in a fixed rhythm: when the others' entries are written is none of its business.
const RHYTHM: Duration = Duration::from_millis(1_500);

const EVENT: Bytes = Bytes::from_static(b"event: refresh\ndata: 1\n\n");

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/events", get(events))
}

async fn events(ask: Ask) -> Response {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(tell(ask, sender));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::new(Events(receiver))).into_response()
}

/// Until the browser is gone, the session is over or the server stops.
async fn tell(ask: Ask, sender: mpsc::Sender<Bytes>) {
    let Ask { console, person, .. } = ask;
    let mut changes = console.engine.changes();
    let mut stopped = console.stopped.clone();
    loop {
        tokio::select! {
            changed = changes.changed(), if person.caller.tenant.is_none() => if changed.is_err() { return },
            () = sleep(if person.caller.tenant.is_none() { ANYWAY } else { RHYTHM }) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = sender.closed() => return,
        }
        let goes_on = console.still(&person.session);
        if sender.send(EVENT).await.is_err() || !goes_on {
            // The page asks once more and is sent to the log-in.
            return;
        }
        sleep(GAP).await;
    }
}

/// The events as a body.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
