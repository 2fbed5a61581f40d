//! From the bytes of a CSV file to what the server takes, with the line of every row. Must stay out: the server's own checks.

use anyhow::{Context as _, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use staffel_core::recovery::Channel;
use staffel_server::api::{
    ChannelView, CustomerInfo, ExpectedDevice, Import, Platform, Segment, SiteContacts, SiteInfo, WrongRow,
};
use std::collections::BTreeMap;

/// A row that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// In the file, from 1 on.
    pub line: u64,
    pub column: String,
    pub what: String,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct Table {
    pub import: Import,
    /// By line.
    pub bad: Vec<BadRow>,
    /// The line of each row in `import`.
    lines: Vec<u64>,
}

impl Table {
    /// Takes rows out that the server does not take.
    pub fn take_out(&mut self, wrong: &[WrongRow]) {
        for row in wrong {
            let line = self.lines.get(row.row as usize).copied().unwrap_or(0);
            self.bad.push(BadRow { line, column: row.column.clone(), what: row.what.clone() });
        }
        self.bad.sort_by_key(|bad| bad.line);
        let gone = |row: usize| wrong.iter().any(|wrong| wrong.row == row as u64);
        fn keep<T>(list: &mut Vec<T>, gone: impl Fn(usize) -> bool) {
            let mut row = 0;
            list.retain(|_| {
                row += 1;
                !gone(row - 1)
            });
        }
        keep(&mut self.lines, gone);
        keep(&mut self.import.customers, gone);
        keep(&mut self.import.sites, gone);
        keep(&mut self.import.contacts, gone);
        keep(&mut self.import.devices, gone);
    }
}

/// A line of the file, by column.
struct Row<'a> {
    line: u64,
    columns: &'a BTreeMap<String, usize>,
    record: csv::StringRecord,
    bad: Vec<BadRow>,
}

impl Row<'_> {
    fn text(&self, column: &str) -> String {
        let at = self.columns.get(column).copied();
        at.and_then(|at| self.record.get(at)).unwrap_or_default().trim().to_string()
    }

    fn needed(&mut self, column: &str) -> String {
        let text = self.text(column);
        if text.is_empty() {
            self.wrong(column, "it is empty".into());
        }
        text
    }

    /// One of a few words; `if_empty` where nothing is said.
    fn word<T: DeserializeOwned>(&mut self, column: &str, words: &str, if_empty: Option<T>) -> Option<T> {
        let text = self.text(column).to_lowercase();
        if text.is_empty() && if_empty.is_some() {
            return if_empty;
        }
        let value = serde_json::from_value(text.clone().into()).ok();
        if value.is_none() {
            self.wrong(column, format!("{text:?} is none of {words}"));
        }
        value
    }

    fn wrong(&mut self, column: &str, what: String) {
        self.bad.push(BadRow { line: self.line, column: column.into(), what });
    }
}

/// Customers.
pub fn customers(bytes: &[u8], separator: u8) -> Result<Table> {
    read(bytes, separator, &["customer", "name", "language"], &["segment"], |row, table| {
        let tenant = row.needed("customer");
        let full_name = row.needed("name");
        let language = row.needed("language").to_lowercase();
        let segment = segment(row);
        if let (Some(segment), true) = (segment, row.bad.is_empty()) {
            table.lines.push(row.line);
            table.import.customers.push(CustomerInfo { tenant, full_name, language, segment });
        }
    })
}

/// Sites.
pub fn sites(bytes: &[u8], separator: u8) -> Result<Table> {
    let more = ["address", "language", "platform", "segment"];
    read(bytes, separator, &["customer", "site"], &more, |row, table| {
        let (tenant, site) = (row.needed("customer"), row.needed("site"));
        let (address, language) = (row.text("address"), row.text("language").to_lowercase());
        let platform = row.word("platform", "physical, virtual, encrypted-disk, mixed", Some(Platform::Physical));
        let segment = segment(row);
        if let (Some(platform), Some(segment), true) = (platform, segment, row.bad.is_empty()) {
            table.lines.push(row.line);
            table.import.sites.push(SiteInfo { tenant, site, address, language, platform, segment });
        }
    })
}

/// Contacts: rows of a site are gathered, in their order.
pub fn contacts(bytes: &[u8], separator: u8) -> Result<Table> {
    let more = ["name", "verified"];
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    read(bytes, separator, &["customer", "site", "channel", "address"], &more, |row, table| {
        let (tenant, site, address) = (row.needed("customer"), row.needed("site"), row.needed("address"));
        let channel: Option<Channel> = row.word("channel", "email, sms, fax, letter, phone", None);
        let (name, verified) = (row.text("name"), row.text("verified"));
        let (Some(channel), true) = (channel, row.bad.is_empty()) else { return };
        let way = ChannelView { channel, address, name };
        match places.get(&(tenant.clone(), site.clone())) {
            Some(place) => {
                let known = &mut table.import.contacts[*place];
                known.channels.push(way);
                known.verified = known.verified.clone().max(verified);
            }
            None => {
                places.insert((tenant.clone(), site.clone()), table.import.contacts.len());
                table.lines.push(row.line);
                table.import.contacts.push(SiteContacts { tenant, site, channels: vec![way], verified });
            }
        }
    })
}

/// Devices that are to enrol.
pub fn devices(bytes: &[u8], separator: u8) -> Result<Table> {
    read(bytes, separator, &["customer", "site", "device"], &[], |row, table| {
        let (tenant, site, name) = (row.needed("customer"), row.needed("site"), row.needed("device"));
        if row.bad.is_empty() {
            table.lines.push(row.line);
            table.import.devices.push(ExpectedDevice { tenant, site, name });
        }
    })
}

/// Counts lines along the file. The reader's own count is one too low where lines end with CR and LF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the record that begins at or after this byte.
    fn at(&mut self, byte: u64) -> u64 {
        let to = usize::try_from(byte).unwrap_or(usize::MAX);
        while let Some(next) = self.bytes.get(self.at)
            && (self.at < to || matches!(next, b'\r' | b'\n'))
        {
            self.line += u64::from(*next == b'\n');
            self.at += 1;
        }
        self.line
    }
}

fn segment(row: &mut Row<'_>) -> Option<Segment> {
    row.word("segment", "standard, pilot, critical", Some(Segment::Standard))
}

fn read(
    bytes: &[u8],
    separator: u8,
    needed: &[&str],
    more: &[&str],
    mut take: impl FnMut(&mut Row<'_>, &mut Table),
) -> Result<Table> {
    // What spreadsheets write before the first name.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(bytes);
    let head = reader.headers().context("the first line has to name the columns, in UTF-8")?.clone();
    let mut columns = BTreeMap::new();
    for (at, name) in head.iter().enumerate() {
        let name = name.trim().to_lowercase();
        if !needed.contains(&name.as_str()) && !more.contains(&name.as_str()) {
            let known = [needed, more].concat().join(", ");
            bail!("the column {name:?} is not known here; columns are {known} (is the separator right?)");
        }
        if columns.insert(name.clone(), at).is_some() {
            bail!("the column {name:?} stands in the first line twice");
        }
    }
    if let Some(missing) = needed.iter().find(|name| !columns.contains_key(**name)) {
        bail!("the first line does not name the column {missing:?}");
    }
    let mut table = Table::default();
    let mut record = csv::StringRecord::new();
    let mut lines = Lines { bytes, at: 0, line: 1 };
    loop {
        let line = lines.at(reader.position().byte());
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                let what = format!("not readable: {error}");
                table.bad.push(BadRow { line, column: "-".into(), what });
                continue;
            }
        }
        let mut row = Row { line, columns: &columns, record: record.clone(), bad: Vec::new() };
        if record.len() != head.len() {
            row.wrong("-", format!("{} fields, the first line has {}", record.len(), head.len()));
        } else {
            take(&mut row, &mut table);
        }
        table.bad.append(&mut row.bad);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_keep_commas_lines_and_quotes() {
        let text = "\u{feff}customer,site,Address,platform\r\nclinic,ward-a,\"Am Markt 1, 50667 Köln\",virtual\r\n\
            clinic,ward-b,\"\"\"Haus\"\" 2\n3. Stock\",\r\n";
        let table = sites(text.as_bytes(), b',').unwrap();
        assert_eq!(table.bad, []);
        let addresses: Vec<_> = table.import.sites.iter().map(|site| site.address.as_str()).collect();
        assert_eq!(addresses, ["Am Markt 1, 50667 Köln", "\"Haus\" 2\n3. Stock"]);
        assert_eq!(table.import.sites[0].platform, Platform::Virtual);
        assert_eq!(table.lines, [2, 3]);
    }

    #[test]
    fn every_bad_row_is_named_with_its_line_and_column() {
        let text = "customer;name;language;segment\nclinic;Klinik am See;de;\nschool;;en;pilot\nairport;Airport;en;gold\n\
            shop;Shop\n\"x\ny\";X;de;\n";
        let table = customers(text.as_bytes(), b';').unwrap();
        let bad: Vec<_> = table.bad.iter().map(|bad| (bad.line, bad.column.as_str())).collect();
        assert_eq!(bad, [(3, "name"), (4, "segment"), (5, "-")]);
        assert_eq!(table.lines, [2, 6]);
        assert!(table.bad[1].what.contains("standard, pilot, critical"), "{:?}", table.bad);
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_row_only() {
        let text = b"customer,site,device\nclinic,ward-a,pc-1\nclinic,\xff\xfe,pc-2\nclinic,ward-a,pc-3\n";
        let table = devices(text, b',').unwrap();
        assert_eq!(table.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3]);
        assert_eq!(table.import.devices.len(), 2);
    }

    #[test]
    fn columns_that_are_missing_unknown_or_double_are_named() {
        let error = |text: &str| devices(text.as_bytes(), b',').unwrap_err().to_string();
        assert!(error("customer,site\n").contains("\"device\""));
        assert!(error("customer,site,device,colour\n").contains("\"colour\""));
        assert!(error("customer,site,device,site\n").contains("twice"));
        assert!(error("customer;site;device\n").contains("separator"));
    }

    #[test]
    fn rows_of_a_site_are_one_contact_and_the_server_s_no_takes_all_of_it_out() {
        let text = "customer,site,channel,address,name,verified\nclinic,a,phone,110,desk,2026-01-02\n\
            clinic,b,email,x@y.example,,\nclinic,a,fax,112,,2026-03-04\n";
        let mut table = contacts(text.as_bytes(), b',').unwrap();
        assert_eq!(table.import.contacts.len(), 2);
        let first = &table.import.contacts[0];
        assert_eq!((first.channels.len(), first.verified.as_str()), (2, "2026-03-04"));
        assert_eq!(first.channels[1].channel, Channel::Fax);
        let wrong = WrongRow { row: 1, column: "site".into(), what: "clinic has no site \"b\"".into() };
        table.take_out(&[wrong]);
        assert_eq!((table.import.contacts.len(), table.bad[0].line), (1, 3));
    }
}
