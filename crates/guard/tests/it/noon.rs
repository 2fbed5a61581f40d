//! A clock for file systems that tests write. The loader does not count files without a time.

use fatfs::{Date, DateTime, Time, TimeProvider};

#[derive(Debug)]
pub struct Noon;
pub static NOON: Noon = Noon;

impl TimeProvider for Noon {
    fn get_current_date(&self) -> Date {
        Date { year: 2026, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 12, min: 0, sec: 0, millis: 0 } }
    }
}
