//! Customers, sites and how to reach their people, and what an import takes. Must stay out: reading CSV (the command line
//! does that, so that a bad row is named where it stands).

use serde::{Deserialize, Serialize};
use staffel_core::recovery::Channel;

/// One way to reach a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    pub channel: Channel,
    /// Number, e-mail address, or lines of a letter's address.
    pub address: String,
    /// A person or role there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// What kind of machines a site has: the way to help differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    Physical,
    Virtual,
    EncryptedDisk,
    Mixed,
}

/// How a customer or site stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segment {
    Standard,
    Pilot,
    Critical,
}

/// A customer's own data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerInfo {
    pub tenant: String,
    /// As it stands on letters.
    pub full_name: String,
    /// `de` or `en`.
    pub language: String,
    pub segment: Segment,
}

/// A site's own data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteInfo {
    pub tenant: String,
    pub site: String,
    /// Lines of the postal address, separated by commas.
    pub address: String,
    /// `de` or `en`; empty: the customer's.
    pub language: String,
    pub platform: Platform,
    pub segment: Segment,
}

/// How to reach a site; a record of its own, so that it can be erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteContacts {
    pub tenant: String,
    pub site: String,
    /// In the order in which they are tried.
    pub channels: Vec<ChannelView>,
    /// When somebody last made sure that they work, `YYYY-MM-DD`; empty: never.
    pub verified: String,
}

/// A device that is to enrol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedDevice {
    pub tenant: String,
    pub site: String,
    pub name: String,
}

/// `POST /api/v1/import`: all of it or nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Import {
    #[serde(default)]
    pub customers: Vec<CustomerInfo>,
    #[serde(default)]
    pub sites: Vec<SiteInfo>,
    #[serde(default)]
    pub contacts: Vec<SiteContacts>,
    #[serde(default)]
    pub devices: Vec<ExpectedDevice>,
    /// Hours until the devices' tokens are worthless; 24 x 14 if not said.
    #[serde(default)]
    pub token_hours: Option<u64>,
    /// Check and answer, but record nothing and make no token.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Imported {
    pub new: u64,
    pub changed: u64,
    pub unchanged: u64,
    /// One for each new device, in the order given; shown once.
    #[serde(default)]
    pub tokens: Vec<DeviceToken>,
    /// What is wrong, by place in the list that was sent: nothing was recorded if there is any.
    #[serde(default)]
    pub wrong: Vec<WrongRow>,
}

/// A device's enrolment token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceToken {
    pub tenant: String,
    pub site: String,
    pub name: String,
    pub token: String,
    pub expires_ms: u64,
}

/// A row that can't be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongRow {
    /// Place in its list, from 0 on.
    pub row: u64,
    pub column: String,
    pub what: String,
}

/// A site as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteView {
    pub tenant: String,
    pub site: String,
    /// The customer's name as it stands on letters.
    pub full_name: Option<String>,
    pub address: Option<String>,
    /// `de` or `en`.
    pub language: Option<String>,
    pub platform: Option<Platform>,
    pub segment: Option<Segment>,
    pub channels: Vec<ChannelView>,
    /// `YYYY-MM-DD`; none: never, or no contacts are known.
    pub verified: Option<String>,
    /// Devices that have enrolled.
    pub devices: u64,
    /// Devices that are expected and have not enrolled.
    pub expected: Vec<String>,
    pub open_cases: u64,
}
