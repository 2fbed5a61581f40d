//! What came of one policy: counts, times, the curve, and the texts that a person reads. Must stay out: how it came to be.

use crate::scenario::Scenario;
use serde::Serialize;

/// How many, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Seconds since the release was published.
    pub at_s: u32,
    /// Devices that ever got it.
    pub exposed: u64,
    /// Devices that ever went dark for it.
    pub bricked: u64,
    /// Of these, back.
    pub recovered: u64,
}

/// The end of one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    pub name: String,
    pub exposed: u64,
    pub bricked: u64,
    pub recovered: u64,
    pub halted_after_s: Option<u32>,
    pub completed_after_s: Option<u32>,
    /// What stopped it, or what it waited for at the end.
    pub verdict: String,
    /// It does nothing more by itself.
    #[serde(skip)]
    pub needs_a_person: bool,
    /// Held for a person or for a device's return, so often.
    #[serde(skip)]
    pub holds: u32,
    #[serde(skip)]
    pub waves: u32,
    /// Check-ins a second in the busiest second; 0 where it was not modelled.
    #[serde(skip)]
    pub busiest: u64,
    #[serde(skip)]
    pub curve: Vec<Point>,
}

/// All policies of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub scenario: String,
    pub seed: u64,
    pub devices: u32,
    pub policies: Vec<Outcome>,
}

/// The most points that a curve keeps.
const POINTS: usize = 1_000;

/// Collects a curve: a point where something changed, thinned out so that it stays short.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curve {
    points: Vec<Point>,
    step_s: u32,
}

impl Curve {
    pub fn add(&mut self, point: Point) {
        let counts = |point: &Point| (point.exposed, point.bricked, point.recovered);
        let (many, step_s) = (self.points.len() > 1, self.step_s.max(1));
        match self.points.last_mut() {
            Some(last) if counts(last) == counts(&point) => return,
            Some(last) if many && last.at_s / step_s == point.at_s / step_s => {
                *last = point;
                return;
            }
            _ => self.points.push(point),
        }
        if self.points.len() > POINTS {
            self.step_s = self.step_s.max(1) * 2;
            let step_s = self.step_s;
            let mut kept: Vec<Point> = Vec::with_capacity(POINTS);
            for point in self.points.drain(..) {
                match kept.last_mut() {
                    Some(last) if last.at_s / step_s == point.at_s / step_s => *last = point,
                    _ => kept.push(point),
                }
            }
            self.points = kept;
        }
    }

    pub fn finish(self) -> Vec<Point> {
        self.points
    }
}

/// `4 s`, `12 min`, `3.5 h`, `2.1 d`: two digits are enough for a plan.
pub fn time(seconds: u32) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", (seconds + 30) / 60),
        7_200..=172_799 => format!("{:.1} h", f64::from(seconds) / 3_600.0),
        _ => format!("{:.1} d", f64::from(seconds) / 86_400.0),
    }
}

/// `8,500,000`
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first line of every output: seed and options.
pub fn head(scenario: &Scenario, seed: u64) -> String {
    let fleet = &scenario.fleet;
    format!(
        "scenario {}, seed {seed}: {} devices, {} customers, {} OS builds, {} hardware models, {} of permits go silent anyway",
        scenario.name,
        number(u64::from(fleet.devices)),
        number(u64::from(fleet.customers)),
        fleet.os_builds,
        fleet.hardware_models,
        percent(fleet.silent),
    )
}

impl Comparison {
    /// Table of all policies.
    pub fn table(&self) -> String {
        let rows: Vec<Vec<String>> = std::iter::once(Outcome::HEAD.map(String::from).to_vec())
            .chain(self.policies.iter().map(Outcome::row))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..Outcome::HEAD.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
        };
        rows.iter().map(line).collect()
    }

    /// The table, then each policy.
    pub fn body(&self) -> String {
        let each: Vec<String> = self.policies.iter().map(Outcome::text).collect();
        format!("{}\n{}", self.table(), each.join("\n"))
    }

    /// The whole output: seed and options, then [`Comparison::body`].
    pub fn text(&self, scenario: &Scenario) -> String {
        format!("{}\n\n{}", head(scenario, self.seed), self.body())
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

impl Outcome {
    /// The cells of a table row.
    pub fn row(&self) -> Vec<String> {
        let after = |at: Option<u32>| at.map_or("-".into(), time);
        vec![
            self.name.clone(),
            number(self.exposed),
            number(self.bricked),
            number(self.recovered),
            after(self.halted_after_s),
            after(self.completed_after_s),
        ]
    }

    /// The heads of these cells.
    pub const HEAD: [&str; 6] = ["policy", "exposed", "bricked", "recovered", "halted after", "completed after"];

    /// One policy for a person: the figures, then what stopped it.
    pub fn text(&self) -> String {
        let after = |at: Option<u32>| at.map_or("never".into(), time);
        let mut text = format!(
            "{}\n  exposed    {}\n  bricked    {}\n  recovered  {}\n  halted     {}\n  completed  {}\n",
            self.name,
            number(self.exposed),
            number(self.bricked),
            number(self.recovered),
            after(self.halted_after_s),
            after(self.completed_after_s),
        );
        if self.waves > 0 {
            text.push_str(&format!("  waves      {}, held {} times\n", self.waves, self.holds));
        }
        if self.busiest > 0 {
            text.push_str(&format!("  busiest    {} check-ins a second\n", number(self.busiest)));
        }
        text.push_str(&format!("  in words   {}\n", self.verdict));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!([0, 999, 1_000, 8_500_000].map(number), ["0", "999", "1,000", "8,500,000"]);
        assert_eq!([90, 4_680, 19_800, 604_800].map(time), ["90 s", "78 min", "5.5 h", "7.0 d"]);
    }

    #[test]
    fn a_long_curve_is_thinned_out_and_keeps_its_ends() {
        let mut curve = Curve::default();
        for at_s in 0..50_000 {
            curve.add(Point { at_s, exposed: u64::from(at_s), ..Point::default() });
        }
        let points = curve.finish();
        assert!((300..=POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!((points[points.len() - 1].exposed, points[0].exposed < 100), (49_999, true));
        assert!(points.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }
}
