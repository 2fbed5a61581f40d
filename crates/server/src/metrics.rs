//! The edge's own figures, in Prometheus text form. What must stay out: figures of rollouts, which the engine has.

use axum::http::{Method, StatusCode};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Upper bounds of the latency classes, seconds.
const CLASSES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Default)]
pub(crate) struct Metrics {
    /// By route as it is registered, never by the path asked for: so their number is bounded.
    routes: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
    latency: Mutex<BTreeMap<String, Latency>>,
    pub handshakes: AtomicU64,
    pub handshakes_failed: AtomicU64,
    pub connections: AtomicU64,
    pub in_flight: AtomicU64,
    pub rate_limited: AtomicU64,
    pub stalled: AtomicU64,
}

/// Counts something while it is there, however it ends.
pub(crate) struct Present {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicU64,
}

impl Present {
    pub fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicU64) -> Self {
        gauge(metrics).fetch_add(1, Relaxed);
        Present { metrics: metrics.clone(), gauge }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Relaxed);
    }
}

#[derive(Default)]
struct Latency {
    classes: [u64; CLASSES.len()],
    count: u64,
    seconds: f64,
}

impl Metrics {
    /// One request has been answered.
    pub fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let key = (route.to_owned(), method_name(method), status.as_u16());
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = latency.entry(route.to_owned()).or_default();
        let seconds = took.as_secs_f64();
        if let Some(class) = CLASSES.iter().position(|bound| seconds <= *bound) {
            latency.classes[class] += 1;
        }
        latency.count += 1;
        latency.seconds += seconds;
    }

    /// Everything, as text.
    pub fn text(&self, server_certificate_ends: Option<i64>) -> String {
        let mut out = String::new();
        let single = [
            ("tls_handshakes_total", "counter", "Completed TLS handshakes.", &self.handshakes),
            ("tls_handshakes_failed_total", "counter", "Failed or abandoned TLS handshakes.", &self.handshakes_failed),
            ("connections", "gauge", "Open connections.", &self.connections),
            ("http_requests_in_flight", "gauge", "Requests not answered yet, this one included.", &self.in_flight),
            ("rate_limited_total", "counter", "Requests answered with 429.", &self.rate_limited),
            ("stalled_total", "counter", "Connections cut because the client read nothing.", &self.stalled),
        ];
        for (name, kind, help, value) in single {
            let _ = write!(out, "# HELP staffel_{name} {help}\n# TYPE staffel_{name} {kind}\n");
            let _ = writeln!(out, "staffel_{name} {}", value.load(Relaxed));
        }
        if let Some(ends) = server_certificate_ends {
            let name = "staffel_server_certificate_ends_seconds";
            let _ = write!(out, "# HELP {name} End of the server's certificate, Unix time.\n# TYPE {name} gauge\n");
            let _ = writeln!(out, "{name} {ends}");
        }
        self.request_text(&mut out);
        out
    }

    fn request_text(&self, out: &mut String) {
        let name = "staffel_http_requests_total";
        let _ = write!(out, "# HELP {name} Answered requests.\n# TYPE {name} counter\n");
        for ((route, method, status), count) in self.routes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(out, "{name}{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}");
        }
        let name = "staffel_http_request_seconds";
        let _ = write!(out, "# HELP {name} Time from header to answer.\n# TYPE {name} histogram\n");
        for (route, latency) in self.latency.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut below = 0;
            for (bound, count) in CLASSES.iter().zip(latency.classes) {
                below += count;
                let _ = writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {below}");
            }
            let _ = writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", latency.count);
            let _ = writeln!(out, "{name}_sum{{route=\"{route}\"}} {}", latency.seconds);
            let _ = writeln!(out, "{name}_count{{route=\"{route}\"}} {}", latency.count);
        }
    }
}

/// Methods that we know by name; a client may invent others.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_add_up_and_invented_methods_share_one_name() {
        let metrics = Metrics::default();
        metrics.answered("/a", &Method::GET, StatusCode::OK, Duration::from_micros(500));
        metrics.answered("/a", &Method::GET, StatusCode::OK, Duration::from_secs(2));
        metrics.answered("/a", &Method::GET, StatusCode::OK, Duration::from_secs(200));
        for name in ["X1", "X2"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            metrics.answered("/a", &method, StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        }
        let text = metrics.text(Some(7));
        for line in [
            "staffel_http_requests_total{route=\"/a\",method=\"GET\",status=\"200\"} 3",
            "staffel_http_requests_total{route=\"/a\",method=\"other\",status=\"405\"} 2",
            "staffel_http_request_seconds_bucket{route=\"/a\",le=\"0.001\"} 3",
            "staffel_http_request_seconds_bucket{route=\"/a\",le=\"5\"} 4",
            "staffel_http_request_seconds_bucket{route=\"/a\",le=\"+Inf\"} 5",
            "staffel_http_request_seconds_count{route=\"/a\"} 5",
            "staffel_server_certificate_ends_seconds 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
