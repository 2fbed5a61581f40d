//! What the demo has shown, for people and as JSON. Must stay out: finding it out.

use serde::Serialize;

/// Everything.
#[derive(Serialize)]
pub struct Summary {
    pub devices: usize,
    pub version_1: GoodRelease,
    pub version_2: BadRelease,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
    pub log_entries: u64,
    /// Of the whole demo.
    pub seconds: u64,
}

/// A release that reached everybody.
#[derive(Serialize)]
pub struct GoodRelease {
    pub confirmed: u64,
    pub waves: u32,
    pub seconds: u64,
}

/// A release that was halted.
#[derive(Serialize)]
pub struct BadRelease {
    /// Machines that ever ran it.
    pub exposed: u64,
    pub seconds: u64,
    pub why: String,
    /// Machines all of whose processes were killed, and of these the ones that run version 1 again.
    pub dark: usize,
    pub back: usize,
    pub cases_opened: usize,
    pub cases_closed_by_probe: usize,
    /// Machines that went dark and have no case: none.
    pub dark_without_case: usize,
    #[serde(skip)]
    pub curve: String,
}

/// Software that Staffel did not bring.
#[derive(Serialize)]
pub struct Foreign {
    pub name: String,
    pub version: String,
    pub supplier: String,
    /// Machines on which it changed itself.
    pub hurt: usize,
    /// The product's words when it named it: devices that got it, of these in trouble; the others, of these in trouble.
    pub got: u64,
    pub got_in_trouble: u64,
    pub others: u64,
    pub others_in_trouble: u64,
    pub chance: f64,
    /// Components that are suspected at the end.
    pub suspects: usize,
    /// From the update on.
    pub named_after_seconds: f64,
    pub back_after_seconds: f64,
    /// Machines whose content is gone, and those that still have theirs.
    pub files_taken_away: usize,
    pub left_alone: usize,
    pub cases_opened: usize,
    pub cases_closed_by_probe: usize,
    pub unreachable: Unreachable,
    /// Sites on the call list at the end.
    pub call_list: Vec<String>,
}

/// A site where nobody answers.
#[derive(Serialize)]
pub struct Unreachable {
    pub site: String,
    pub phone: String,
    pub incident: u64,
    pub case: u64,
    /// Calls in vain.
    pub attempts: u32,
    /// What `staffel case close` said.
    pub refused: String,
}

impl Summary {
    /// Prints it for people.
    pub fn print(&self) {
        let (good, bad, devices) = (&self.version_1, &self.version_2, self.devices);
        println!();
        println!("What you saw");
        println!(
            "  version 1   on {} of {devices} machines in {} waves ({} s)",
            good.confirmed, good.waves, good.seconds
        );
        println!(
            "  version 2   passed the gate, got as far as {} of {devices} machines, halted after {} s",
            bad.exposed, bad.seconds
        );
        println!("              because {}", bad.why.trim_start_matches("halted: "));
        println!(
            "  recovery    {} went dark (every process dead), {} came back without help, on version 1",
            bad.dark, bad.back
        );
        println!(
            "              cases: {} opened, {} closed by probe ({})",
            bad.cases_opened, bad.cases_closed_by_probe, bad.curve
        );
        if let Some(foreign) = &self.foreign {
            foreign.print();
        }
        println!("  log         verified, {} entries", self.log_entries);
        println!("  took        {} s in all", self.seconds);
        println!();
        println!("Where to look next");
        println!("  `staffel demo --stay` keeps it running; it prints the commands to look around with");
        println!("  README.md has the claims, each with the command that shows it");
    }
}

impl Foreign {
    fn print(&self) {
        println!(
            "  foreign     {} by {} changed itself on {} machines and stopped them",
            self.name, self.supplier, self.hurt
        );
        println!(
            "              named after {:.0} s: {} of {} that got it were in trouble, {} of {} that did not",
            self.named_after_seconds, self.got_in_trouble, self.got, self.others_in_trouble, self.others
        );
        println!(
            "  remedy      signed by two operators: the file was taken away on {} machines, {} keep theirs",
            self.files_taken_away, self.left_alone
        );
        println!(
            "              all {} back through safe mode after {:.0} s; cases: {} opened, {} closed by probe",
            self.hurt, self.back_after_seconds, self.cases_opened, self.cases_closed_by_probe
        );
        let Unreachable { site, phone, case, attempts, .. } = &self.unreachable;
        println!("  call list   {site}, {phone}, {attempts} calls in vain: its machine has no power");
        println!("              case {case} stays open: nobody may close it without the machine's own proof");
    }
}

/// 19 July 2024.
#[derive(Serialize)]
pub struct Content {
    pub machines: usize,
    /// What the gate said to the pack.
    pub refused: String,
    /// The same pack, its gate waived.
    pub waived: Waived,
    /// One that an evaluator of that day dies of, its gate waived.
    pub contained: Waived,
    /// Milliseconds without an active evaluator, the longest of all sensors.
    pub longest_gap_ms: f64,
    pub alert: Alert,
}

/// What a sensor saw.
#[derive(Serialize)]
pub struct Alert {
    /// As `staffel alert ls` prints it.
    pub line: String,
    /// From the event to the terminal.
    pub seconds: f64,
}

/// A rollout without the gate.
#[derive(Serialize)]
pub struct Waived {
    /// Machines that got a permit.
    pub exposed: u64,
    /// Machines whose sensor put the pack aside or did not take it.
    pub touched: usize,
    /// Until the rollout was halted.
    pub seconds: u64,
    /// What the log says of the first device.
    pub why: String,
}

impl Content {
    /// Prints it for people.
    pub fn print(&self, seconds: u64) {
        let (first, second, of) = (&self.waived, &self.contained, self.machines);
        println!();
        println!("19 July 2024, at three lines");
        println!("  the gate    {}", self.refused);
        println!(
            "  the sensor  gate waived by two: {} of {of} exposed, halted after {} s",
            first.exposed, first.seconds
        );
        println!("              {}", first.why);
        println!(
            "  the sandbox vulnerable evaluator: {} of {of} exposed, halted after {} s",
            second.exposed, second.seconds
        );
        println!("              {}", second.why);
        println!(
            "              every sensor runs the pack before; the longest time without any evaluator was {:.1} ms",
            self.longest_gap_ms
        );
        println!("  an alert    {:.1} s after a failed log-in: {}", self.alert.seconds, self.alert.line);
        println!("  took        {seconds} s in all");
    }
}
