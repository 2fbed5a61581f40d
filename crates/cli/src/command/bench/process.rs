//! The server as a process of its own, and what a process has used, from Linux' `/proc` (proc(5)). Must stay out: what is
//! asked of it.

use crate::layout::Layout;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A stopped server gets this long to end by itself.
const STOP: Duration = Duration::from_secs(20);

/// A running server; dropping it ends it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    console_file: PathBuf,
}

impl Server {
    /// Starts this very program as a server on a free port of 127.0.0.1, and waits until it serves.
    pub fn start(layout: &Layout, patience: Duration) -> Result<Server> {
        let log = layout.root.join("server.log");
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let address_file = layout.root.join("address");
        let console_file = layout.root.join("console-address");
        let _ = std::fs::remove_file(&address_file);
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .arg("server")
            .arg("--dir")
            .arg(&layout.root)
            .args(["--listen", "127.0.0.1:0", "--address-file"])
            .arg(&address_file)
            .arg("--console-file")
            .arg(&console_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("start the server")?;
        let since = Instant::now();
        loop {
            if let Some(address) = std::fs::read_to_string(&address_file).ok().and_then(|text| text.trim().parse().ok())
            {
                return Ok(Server { child, address, console_file });
            }
            let ended = child.try_wait().context("look after the server")?;
            if ended.is_some() || since.elapsed() > patience {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let how = ended.map_or_else(|| "is not ready in time".into(), |status| format!("ended with {status}"));
                bail!("the server {how}: {}", said.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where the console is, once it is there.
    pub fn console(&self, patience: Duration) -> Result<SocketAddr> {
        let since = Instant::now();
        while since.elapsed() < patience {
            let text = std::fs::read_to_string(&self.console_file).unwrap_or_default();
            if let Ok(address) = text.trim().parse() {
                return Ok(address);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the console is not there in time")
    }

    /// Its process number, as `/proc` has it.
    pub fn process(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let since = Instant::now();
        while since.elapsed() < STOP {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of memory that a process (`self` or its number) holds now.
pub fn resident_bytes(process: &str) -> Result<u64> {
    let path = format!("/proc/{process}/statm");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}: this needs Linux"))?;
    let pages: Option<u64> = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    Ok(pages.with_context(|| format!("read {path}"))? * rustix::param::page_size() as u64)
}

/// Seconds of processor time that a process (`self` or its number) has used, its threads included.
pub fn cpu_seconds(process: &str) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}: this needs Linux"))?;
    let ticks = cpu_ticks(&text).with_context(|| format!("read {path}"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_can_not_move_the_fields() {
        let stat = "7 (a) 1 (b)) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 1 0 100 1000 100";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (x) S 1"), None);
    }

    #[test]
    fn memory_that_is_used_is_counted() {
        let before = resident_bytes("self").unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident_bytes("self").unwrap() >= before + (32 << 20), "{}", block.len());
        assert!(cpu_seconds("self").unwrap() >= 0.0);
    }
}
