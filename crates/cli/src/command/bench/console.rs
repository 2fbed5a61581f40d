//! `staffel bench console`: pages of a large fleet as a browser asks for them, over TLS with a session, and how long an open
//! page takes to show a change. Must stay out: shortcuts in the server; it is the real one, as a process of its own.

use super::{
    Figure, Goal, how_built,
    memory::{init_args, write_fleet, write_rollout},
    percentile,
    process::Server,
    report,
};
use crate::{client, command::init, layout::Layout};
use anyhow::{Context as _, Result, bail};
use reqwest::{Client, header, redirect::Policy};
use staffel_server::api::{Role, TokenRequest};
use std::time::{Duration, Instant};

/// Goals of issue 3: milliseconds that 95 of 100 pages stay below, and that a change takes to be seen.
const PAGE_GOAL: f64 = 100.0;
const LIVE_GOAL: f64 = 2_000.0;
const PATIENCE: Duration = Duration::from_secs(1_800);
const PASSWORD: &str = "only for this measurement";

/// What people look for: one device by its whole name (the last one, so that all are looked at), part of a name, nobody, a
/// customer's site, everything that runs a release, a state.
const SEARCHES: [&str; 6] = [
    "text=till-0099999",
    "text=9999",
    "text=no-such-device",
    "tenant=customer-009&site=site-01999",
    "version=till",
    "state=silent",
];

/// Arguments of `staffel bench console`.
#[derive(clap::Args)]
pub struct Args {
    /// Devices in the fleet.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    devices: u32,
    /// How often each page is asked for.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    times: u32,
    /// Changes whose way to the page is timed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    changes: u32,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let layout = init::create(&init_args(scratch.path().join("staffel")))?;
    eprintln!("writing a log with {} devices and a rollout over all of them ...", args.devices);
    write_fleet(&layout, args.devices)?;
    write_rollout(&layout)?;
    staffel_console::accounts::add(&layout.server_dir(), "bench", Role::Viewer, None, PASSWORD)?;
    let server = Server::start(&layout, PATIENCE)?;
    let address = server.console(PATIENCE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    let (pages, live) = runtime.block_on(async {
        let browser = Browser::log_in(&layout, &format!("https://{address}")).await?;
        let mut pages = Vec::new();
        let overview = ["/".to_string()];
        let searches = SEARCHES.map(|search| format!("/devices?{search}"));
        let rollout = ["/rollouts/1".to_string()];
        for (what, paths) in
            [("overview", &overview[..]), ("device search", &searches[..]), ("a rollout", &rollout[..])]
        {
            eprintln!("{what} ...");
            pages.push((what, browser.time(paths, args.times).await?));
        }
        eprintln!("changes ...");
        let live = browser.changes(&layout, &format!("https://{}", server.address), args.changes).await?;
        Ok::<_, anyhow::Error>((pages, live))
    })?;
    let ms = |sorted: &[u64], share: f64| percentile(sorted, share) as f64 / 1e3;
    let mut figures = Vec::new();
    for (what, times) in &pages {
        figures.push(Figure::new(format!("{what}, median"), ms(times, 0.5), "ms"));
        figures.push(Figure::new(format!("{what}, 95 % below"), ms(times, 0.95), "ms").with(Goal::AtMost(PAGE_GOAL)));
    }
    figures.push(Figure::new("from a change to the new page, median", ms(&live, 0.5), "ms"));
    figures
        .push(Figure::new("from a change to the new page, most", ms(&live, 1.0), "ms").with(Goal::AtMost(LIVE_GOAL)));
    let remarks = [
        format!(
            "{} devices, {} requests a page, one after the other over one kept TLS connection, {} processors for both processes",
            args.devices,
            args.times,
            std::thread::available_parallelism().map_or(0, usize::from)
        ),
        "searches in turn: one name, part of a name, nobody, a site, a release, a state".into(),
        "a change: an operator's request, until an open page was told and has fetched itself again".into(),
        how_built().into(),
    ];
    report(&figures, &remarks, as_json)
}

/// Somebody who is logged in.
struct Browser {
    client: Client,
    url: String,
    cookie: String,
}

impl Browser {
    async fn log_in(layout: &Layout, url: &str) -> Result<Browser> {
        let tls = client::tls()?.with_root_certificates(client::roots(&layout.ca_file())?).with_no_client_auth();
        let client = Client::builder().tls_backend_preconfigured(tls).redirect(Policy::none()).build()?;
        let form = client.get(format!("{url}/login")).send().await.context("ask for the log-in form")?;
        let own = cookies(&form);
        let page = form.text().await?;
        let csrf = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let csrf = csrf.context("the log-in form has no token")?;
        let body = format!("csrf={csrf}&name=bench&password={}&next=/", PASSWORD.replace(' ', "+"));
        let sent = client.post(format!("{url}/login")).header(header::COOKIE, own);
        let answer = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body).send().await?;
        let cookie = cookies(&answer);
        if !cookie.contains("__Host-staffel=") {
            bail!("the console does not let the measurement in: {}", answer.status());
        }
        Ok(Browser { client, url: url.into(), cookie })
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        let request = self.client.get(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie);
        let answer = request.send().await.with_context(|| format!("ask for {path}"))?;
        if !answer.status().is_success() {
            bail!("{path} is answered by {}", answer.status());
        }
        Ok(answer)
    }

    /// Microseconds until the whole page was there, sorted.
    async fn time(&self, paths: &[String], times: u32) -> Result<Vec<u64>> {
        let mut took = Vec::new();
        for path in paths.iter().cycle().take(times as usize) {
            let since = Instant::now();
            self.get(path).await?.bytes().await?;
            took.push(micros(since));
        }
        took.sort_unstable();
        Ok(took)
    }

    /// Microseconds from a change until the page was told and had fetched itself again, sorted.
    async fn changes(&self, layout: &Layout, api: &str, changes: u32) -> Result<Vec<u64>> {
        let token = layout.operator_token()?;
        let mut stream = self.get("/events").await?;
        let mut took = Vec::new();
        for number in 0..changes {
            // Whatever is still under way, and the pause between two events.
            while tokio::time::timeout(Duration::from_millis(700), stream.chunk()).await.is_ok() {}
            let request = TokenRequest { tenant: "bench".into(), site: format!("site-{number}"), hours: None };
            let since = Instant::now();
            let change = self.client.post(format!("{api}/api/v1/tokens")).bearer_auth(&token).json(&request).send();
            change.await?.error_for_status().context("make a change")?;
            let told = tokio::time::timeout(Duration::from_secs(60), stream.chunk()).await;
            if told.context("the page is told nothing")??.is_none() {
                bail!("the stream of events ended");
            }
            self.get("/").await?.bytes().await?;
            took.push(micros(since));
        }
        took.sort_unstable();
        Ok(took)
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The cookies that an answer sets, as a request sends them.
fn cookies(answer: &reqwest::Response) -> String {
    let lines = answer.headers().get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
}
