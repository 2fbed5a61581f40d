//! A folder as the carrier: each parcel is one file under its attempt's key, there whole or not at all. Somebody else, a mail
//! relay, a fax server or a print shop, empties it. A second delivery of the same attempt changes nothing.

use super::{Parcel, short};
use crate::event::{Found, Outcome};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The folder. Files: `KEY.eml`, `KEY.sms.json`, `KEY.fax.json` with `KEY.fax.pdf`, `KEY.letter.pdf`.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
}

/// What ends the name of a parcel's last file: once it is there, the parcel is.
const ENDINGS: [&str; 4] = ["eml", "sms.json", "fax.json", "letter.pdf"];
/// Whoever empties the folder moves parcels here, so that what was taken still counts as sent.
const TAKEN: &str = "taken";
const RULES: &str = "Each file is there whole or not at all. Names beginning with a dot are not finished: leave them.\n\
    Take a parcel by moving its files into `taken`; remove them there when they are older than a week.\n\
    A fax is two files: once NAME.fax.json is there, NAME.fax.pdf is, too.\n";

impl Spool {
    /// Creates the folder, and in it `taken` and the rules for whoever empties it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, io::Error> {
        let folder = folder.into();
        fs::create_dir_all(folder.join(TAKEN))?;
        write_whole(&folder, "RULES.txt", RULES.as_bytes())?;
        Ok(Spool { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) async fn send(&self, key: &str, parcel: &Parcel) -> Outcome {
        let (spool, key, parcel) = (self.clone(), key.to_owned(), parcel.clone());
        let written = tokio::task::spawn_blocking(move || spool.put(&key, &parcel)).await;
        match written {
            Ok(Ok(file)) => Outcome::HandedOver { receipt: file },
            // Nothing has its final name, so nothing was handed over; a full disk may be emptied.
            Ok(Err(error)) => Outcome::TryLater { why: short(&format!("write into the spool folder: {error}")) },
            Err(error) => Outcome::Unknown { why: short(&error.to_string()) },
        }
    }

    fn put(&self, key: &str, parcel: &Parcel) -> Result<String, io::Error> {
        if let Some(file) = self.find(key) {
            return Ok(file);
        }
        let about = |value: serde_json::Value| value.to_string().into_bytes();
        let files: Vec<(&str, Vec<u8>)> = match parcel {
            Parcel::Mail(mail) => vec![("eml", mail.bytes.clone())],
            Parcel::Sms { number, text } => {
                vec![("sms.json", about(serde_json::json!({ "key": key, "number": number, "text": text })))]
            }
            Parcel::Fax { number, pdf } => {
                let file = format!("{key}.fax.pdf");
                let job = serde_json::json!({ "key": key, "number": number, "file": file });
                vec![("fax.pdf", pdf.clone()), ("fax.json", about(job))]
            }
            Parcel::Letter { pdf } => vec![("letter.pdf", pdf.clone())],
        };
        let mut last = String::new();
        for (ending, bytes) in files {
            last = format!("{key}.{ending}");
            write_whole(&self.folder, &last, &bytes)?;
        }
        Ok(last)
    }

    fn find(&self, key: &str) -> Option<String> {
        let names = ENDINGS.iter().map(|ending| format!("{key}.{ending}"));
        let there = |name: &String| self.folder.join(name).exists() || self.folder.join(TAKEN).join(name).exists();
        names.into_iter().find(there)
    }

    pub(super) fn look_up(&self, key: &str) -> Found {
        match self.find(key) {
            Some(_) => Found::There,
            None => Found::NotThere,
        }
    }
}

/// Writes under another name, then renames: after a power cut the file is there whole or not at all.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), io::Error> {
    let part = folder.join(format!(".{name}.part"));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(name))?;
    File::open(folder)?.sync_all()
}
