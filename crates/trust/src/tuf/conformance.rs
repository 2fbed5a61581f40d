//! The library half of `staffel tuf`: the command line that theupdateframework/tuf-conformance drives.
//!
//! - `--metadata-dir D init ROOT`: trusts a root on first use; no network.
//! - `--metadata-url U --metadata-dir D refresh`
//! - `--metadata-url U --metadata-dir D --target-name T [--target-name T2 ...] --target-dir TD --target-base-url B download`:
//!   one client for all targets, stops at the first that fails.
//!
//! The program exits with 0 or 1. It passes in its HTTP transport and the system clock's time: the suite changes that clock
//! from outside. Protocol: CLIENT-CLI.md of the suite. Downloads land in the target directory under the percent-encoded
//! target path, so no target name can lead out of it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::client::{Client, ClientError, Transport};
use super::path::percent_encode;

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// Where trusted metadata is kept.
    pub metadata_dir: PathBuf,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Trust this root file.
    Init {
        /// The file.
        root: PathBuf,
    },
    /// Bring metadata up to date.
    Refresh {
        /// Where metadata is fetched from.
        metadata_url: String,
    },
    /// Bring metadata up to date, then download.
    Download {
        /// Where metadata is fetched from.
        metadata_url: String,
        /// Where targets are fetched from.
        target_base_url: String,
        /// Where they are put.
        target_dir: PathBuf,
        /// Which ones, in this order.
        target_names: Vec<String>,
    },
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The command line is not as described.
    #[error("usage: {0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The client refused or failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Arguments {
    /// Parses what follows the program's name. Options may stand before or after the command.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, ConformanceError> {
        let mut options: [(&str, Vec<String>); 5] =
            ["--metadata-dir", "--metadata-url", "--target-name", "--target-dir", "--target-base-url"]
                .map(|name| (name, Vec::new()));
        let mut words = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if let Some((_, values)) = options.iter_mut().find(|(name, _)| *name == argument) {
                let value = arguments.next().ok_or_else(|| ConformanceError::Usage(format!("{argument} VALUE")))?;
                values.push(value);
            } else if argument.starts_with('-') {
                return Err(ConformanceError::Usage(format!("unknown option {argument}")));
            } else {
                words.push(argument);
            }
        }
        let [metadata_dir, metadata_url, target_names, target_dir, target_base_url] = options;
        let one = |(name, mut values): (&str, Vec<String>)| match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(ConformanceError::Usage(format!("{name} is needed once"))),
        };
        let metadata_dir = PathBuf::from(one(metadata_dir)?);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = match words.as_slice() {
            ["init", root] => Command::Init { root: PathBuf::from(root) },
            ["refresh"] => Command::Refresh { metadata_url: one(metadata_url)? },
            ["download"] if target_names.1.is_empty() => {
                return Err(ConformanceError::Usage("--target-name is needed".to_owned()));
            }
            ["download"] => Command::Download {
                metadata_url: one(metadata_url)?,
                target_base_url: one(target_base_url)?,
                target_dir: PathBuf::from(one(target_dir)?),
                target_names: target_names.1,
            },
            _ => return Err(ConformanceError::Usage("init ROOT | refresh | download".to_owned())),
        };
        Ok(Self { metadata_dir, command })
    }
}

/// Runs the command. `connect` gets the metadata address and, for a download, the targets address. `now_unix_ms` is the
/// system clock's time.
pub async fn run<T: Transport + 'static>(
    arguments: &Arguments,
    connect: impl FnOnce(&str, Option<&str>) -> T,
    now_unix_ms: u64,
) -> Result<(), ConformanceError> {
    let metadata_dir = &arguments.metadata_dir;
    match &arguments.command {
        Command::Init { root } => {
            let bytes = read(root)?;
            fs::create_dir_all(metadata_dir).map_err(file_error("creating", metadata_dir))?;
            // Opening verifies the root and stores it; the transport is never asked.
            let nowhere = super::client::FromFunction(|_: super::client::Resource<'_>, _| {
                Err(super::client::FetchError::NotFound)
            });
            Client::open(metadata_dir, &bytes, nowhere)?;
            Ok(())
        }
        Command::Refresh { metadata_url } => {
            let mut client = open(metadata_dir, connect(metadata_url, None))?;
            Ok(client.refresh(now_unix_ms).await?)
        }
        Command::Download { metadata_url, target_base_url, target_dir, target_names } => {
            let mut client = open(metadata_dir, connect(metadata_url, Some(target_base_url)))?;
            client.refresh(now_unix_ms).await?;
            fs::create_dir_all(target_dir).map_err(file_error("creating", target_dir))?;
            for name in target_names {
                download(&mut client, name, target_dir).await?;
            }
            Ok(())
        }
    }
}

fn open<T: Transport + 'static>(metadata_dir: &Path, transport: T) -> Result<Client, ConformanceError> {
    let root = read(&metadata_dir.join("root.json"))?;
    Ok(Client::open(metadata_dir, &root, transport)?)
}

async fn download(client: &mut Client, name: &str, target_dir: &Path) -> Result<(), ConformanceError> {
    let info = client.target_info(name).await?;
    let info = info.ok_or_else(|| ClientError::UnknownTarget { path: name.to_owned() })?;
    let path = target_dir.join(percent_encode(name));
    // What is there already and is right is not fetched again.
    if fs::metadata(&path).is_ok_and(|file| file.len() == info.length) && info.verify(&read(&path)?).is_ok() {
        return Ok(());
    }
    let bytes = client.download_target(&info).await?;
    // By rename, so that a symbolic link of that name is replaced and not followed.
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(target_dir)?;
        file.write_all(&bytes)?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(file_error("writing", &path))
}

fn read(path: &Path) -> Result<Vec<u8>, ConformanceError> {
    fs::read(path).map_err(file_error("reading", path))
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConformanceError {
    let path = path.to_owned();
    move |source| ConformanceError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ConformanceError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn parses_the_three_commands() {
        let init = parse("--metadata-dir D init R").unwrap();
        assert_eq!(init, Arguments { metadata_dir: "D".into(), command: Command::Init { root: "R".into() } });
        let refresh = parse("--metadata-url U --metadata-dir D refresh").unwrap();
        assert_eq!(refresh.command, Command::Refresh { metadata_url: "U".into() });
        let download = parse(
            "--metadata-url U --metadata-dir D --target-name A --target-name B --target-dir TD --target-base-url B download",
        );
        let Command::Download { target_names, .. } = download.unwrap().command else { panic!("not a download") };
        assert_eq!(target_names, ["A", "B"]);
    }

    #[test]
    fn refuses_other_lines() {
        for line in [
            "",
            "init R",
            "--metadata-dir D",
            "--metadata-dir D init",
            "--metadata-dir D refresh",
            "--metadata-dir",
            "--metadata-dir D --metadata-dir E init R",
            "--metadata-dir D --what init R",
            "--metadata-url U --metadata-dir D --target-dir TD --target-base-url B download",
        ] {
            assert!(matches!(parse(line), Err(ConformanceError::Usage(_))), "{line}");
        }
    }
}
