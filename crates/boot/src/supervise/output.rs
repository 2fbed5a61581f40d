//! The output of a supervised process: a pipe, read by a thread, written to a file that does not grow beyond its bound.

use std::{
    fs::File,
    io::{self, PipeWriter, Read, Write},
    path::{Path, PathBuf},
};

/// A log file is put aside as `.log.1` at this size, bytes.
const MOST: u64 = 1 << 20;

/// The writing end of a pipe into `log`. The thread behind it ends when the last holder of this end does.
pub fn to_log(log: &Path) -> io::Result<PipeWriter> {
    let (mut reader, writer) = io::pipe()?;
    let log = log.to_path_buf();
    std::thread::Builder::new().name("log".into()).spawn(move || {
        // A log that can't be written must not stop what writes it: the pipe is read on and thrown away.
        if let Err(error) = copy(&mut reader, &log, MOST) {
            eprintln!("guard-ctl: can't write the log {}: {error}", log.display());
            let _ = io::copy(&mut reader, &mut io::sink());
        }
    })?;
    Ok(writer)
}

fn copy(from: &mut impl Read, log: &Path, most: u64) -> io::Result<()> {
    let (mut file, mut size) = open(log)?;
    let mut buffer = [0; 8 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if size + read as u64 > most {
            drop(file);
            std::fs::rename(log, before(log))?;
            (file, size) = open(log)?;
        }
        file.write_all(&buffer[..read])?;
        size += read as u64;
    }
}

fn open(log: &Path) -> io::Result<(File, u64)> {
    let file = File::options().create(true).append(true).open(log)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn before(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_takes_more_than_twice_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("service.log");
        let input: Vec<u8> = (0..100_000u32).map(|n| b'a' + (n % 26) as u8).collect();
        copy(&mut &input[..], &log, 20_000).unwrap();
        copy(&mut &b"the last line"[..], &log, 20_000).unwrap();
        assert!(std::fs::metadata(&log).unwrap().len() <= 20_000);
        assert!(std::fs::metadata(before(&log)).unwrap().len() <= 20_000);
        assert!(std::fs::read_to_string(&log).unwrap().ends_with("the last line"));
    }
}
