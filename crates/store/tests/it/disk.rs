//! A disk that loses, tears and lies, as an SQLite VFS between SQLite and the real one.
//!
//! Every write, truncation, sync and deletion is counted and can fail. Beside the real files it keeps a model of what
//! would be left after a power cut, and can write that out as files. Locks and shared memory pass through.

#![expect(unsafe_code, reason = "an SQLite VFS is a table of C functions")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use crate::support::Numbers;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation never happens, and only what was synced is left.
    Lost,
    /// The power goes: of what was not synced, an arbitrary part is left.
    Scattered,
    /// The power goes in the middle: of this write the first half is left, and all before it.
    TornFront,
    /// The power goes in the middle: of this write the second half is left, and all before it.
    TornBack,
    /// The operation is done and is on the disk at once, but is reported as failed. The machine goes on.
    FailedButPersisted,
    /// As before, but then the power goes, with all else that was written left.
    FailedButPersistedThenDead,
    /// The operation is not done and is reported as failed. The machine goes on.
    Failed,
}

/// What is left of what was never synced, when files are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it.
    Kept,
    /// Nothing of it.
    Dropped,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Truncate(size) => bytes.resize(*size, 0),
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Model {
    /// What the running system sees; `None` once deleted.
    seen: Option<Vec<u8>>,
    /// What a power cut leaves; `None` if not even the name was synced.
    durable: Option<Vec<u8>>,
    /// Changes since the last sync, from `durable` to `seen`.
    pending: Vec<Change>,
    /// SQLite's Unix VFS syncs the directory with the first sync of a journal that it may have created.
    syncs_directory: bool,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Model>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    fired: bool,
    /// The power is gone: nothing works any more.
    dead: bool,
    /// No file may grow.
    full: bool,
    numbers: Numbers2,
}

/// Numbers for [`Fault::Scattered`], with a `Debug` that the state can derive from.
struct Numbers2(Numbers);

impl std::fmt::Debug for Numbers2 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.0.0)
    }
}

/// What an operation does to the real file and answers to SQLite.
enum Verdict {
    /// Do it.
    Go,
    /// Do it, then say this.
    GoButSay(c_int),
    /// Don't, and say this.
    Refuse(c_int),
}

impl State {
    /// Counts an operation and decides what becomes of it.
    fn operation(&mut self, name: &str, change: Option<&Change>, failure: c_int) -> Verdict {
        if self.dead {
            return Verdict::Refuse(failure);
        }
        self.operations += 1;
        let Some((_, fault)) = self.fault.filter(|(at, _)| *at == self.operations) else {
            return Verdict::Go;
        };
        self.fired = true;
        match fault {
            Fault::Lost => {
                self.keep_only(|_| false);
                self.dead = true;
                Verdict::Refuse(failure)
            }
            Fault::Scattered => {
                let mut coins: Vec<bool> = Vec::new();
                let pending: usize = self.files.values().map(|model| model.pending.len() + 1).sum();
                coins.resize_with(pending, || self.numbers.0.below(2) == 0);
                self.keep_only(|at| coins[at]);
                self.dead = true;
                Verdict::Refuse(failure)
            }
            Fault::TornFront | Fault::TornBack => {
                if let (Some(Change::Write(at, data)), Some(model)) = (change, self.files.get_mut(name)) {
                    let half = data.len() / 2;
                    let torn = match fault {
                        Fault::TornFront => Change::Write(*at, data[..half].to_vec()),
                        _ => Change::Write(at + half, data[half..].to_vec()),
                    };
                    torn.apply(model.seen.get_or_insert_default());
                }
                self.sync_all();
                self.dead = true;
                Verdict::Refuse(failure)
            }
            Fault::FailedButPersisted | Fault::FailedButPersistedThenDead => {
                if let (Some(change), Some(model)) = (change, self.files.get_mut(name)) {
                    change.apply(model.durable.get_or_insert_default());
                }
                Verdict::GoButSay(failure)
            }
            Fault::Failed => Verdict::Refuse(failure),
        }
    }

    /// Once the operation was done: the power may go now.
    fn after_fault(&mut self) {
        if self.fault.is_some_and(|(_, fault)| fault == Fault::FailedButPersistedThenDead) {
            self.sync_all();
            self.dead = true;
        }
    }

    fn changed(&mut self, name: &str, change: Change) {
        let model = self.files.entry(name.to_owned()).or_default();
        change.apply(model.seen.get_or_insert_default());
        model.pending.push(change);
    }

    fn sync(&mut self, name: &str) {
        let mut directory = false;
        if let Some(model) = self.files.get_mut(name) {
            model.durable.clone_from(&model.seen);
            model.pending.clear();
            directory = std::mem::take(&mut model.syncs_directory);
        }
        if directory {
            // Deletions become durable, other files' contents don't.
            self.files.values_mut().filter(|model| model.seen.is_none()).for_each(|model| model.durable = None);
        }
    }

    fn sync_all(&mut self) {
        for model in self.files.values_mut() {
            model.durable.clone_from(&model.seen);
            model.pending.clear();
        }
    }

    /// Makes durable those unsynced changes that `keep` names by number; a deletion counts as one.
    fn keep_only(&mut self, keep: impl Fn(usize) -> bool) {
        let mut at = 0;
        for model in self.files.values_mut() {
            let deleted = model.seen.is_none();
            if deleted && keep(at) {
                model.durable = None;
            }
            at += 1;
            for change in std::mem::take(&mut model.pending) {
                if keep(at) {
                    change.apply(model.durable.get_or_insert_default());
                }
                at += 1;
            }
        }
    }
}

/// Behind the VFS's pointer.
struct Shared {
    real: *mut ffi::sqlite3_vfs,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered VFS. Close all connections before dropping it.
pub struct Disk {
    name: CString,
    vfs: *mut ffi::sqlite3_vfs,
    shared: *mut Shared,
}

impl Disk {
    /// A disk that fails at operation `fault.0`, counted from 1.
    pub fn new(fault: Option<(u64, Fault)>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("faulty-{number}")).expect("no zero in it");
        let state = State {
            files: BTreeMap::new(),
            operations: 0,
            fault,
            fired: false,
            dead: false,
            full: false,
            numbers: Numbers2(Numbers(fault.map_or(0, |(at, _)| at))),
        };
        // SAFETY: asks for SQLite's default VFS, which lives as long as the process.
        let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!real.is_null(), "SQLite has a default VFS");
        let shared = Box::into_raw(Box::new(Shared { real, state: Mutex::new(state) }));
        // SAFETY: `real` was checked; the copy keeps its functions, which do not look at the VFS they're called with,
        // but for `xOpen`, which gets the real one.
        let mut vfs = unsafe { *real };
        vfs.iVersion = 2;
        vfs.pNext = ptr::null_mut();
        vfs.zName = name.as_ptr();
        vfs.szOsFile += c_int::try_from(size_of::<File>()).expect("a small struct");
        vfs.pAppData = shared.cast();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        let vfs = Box::into_raw(Box::new(vfs));
        // SAFETY: `vfs` and the name that it points to stay until `drop`.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK);
        Self { name, vfs, shared }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // SAFETY: freed only in `drop`.
        unsafe { &*self.shared }.state()
    }

    /// Name to open connections with.
    pub fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// Whether the fault has happened.
    pub fn fired(&self) -> bool {
        self.state().fired
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From now on no file may grow, or may again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Writes the files as they'd be found after the power has come back. After a power cut that the fault itself was,
    /// `unsynced` no longer matters.
    pub fn write_out(&self, directory: &Path, unsynced: Unsynced) {
        let state = self.state();
        for (name, model) in &state.files {
            let left = match unsynced {
                Unsynced::Kept if !state.dead => &model.seen,
                _ => &model.durable,
            };
            if let (Some(bytes), Some(name)) = (left, Path::new(name).file_name()) {
                std::fs::write(directory.join(name), bytes).expect("write out");
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: made in `new`, given up here; the caller has closed all connections.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
            drop(Box::from_raw(self.vfs));
            drop(Box::from_raw(self.shared));
        }
    }
}

/// What SQLite allocates for an open file: this, and right after it the real VFS's own.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    shared: *const Shared,
    /// Name of a file that survives the process, or null for a temporary one.
    name: *mut String,
}

/// The real VFS's file behind ours.
fn real_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` asked for both, and `File` is a multiple of eight bytes, so the second one is aligned.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// State and name for a file that is open. Names of temporary files are empty.
fn parts<'a>(file: *mut ffi::sqlite3_file) -> (&'a Shared, &'a str) {
    // SAFETY: SQLite calls with files that `open` has set up and `close` has not yet taken down.
    unsafe {
        let file = &*file.cast::<File>();
        (&*file.shared, file.name.as_ref().map_or("", String::as_str))
    }
}

/// Calls a function of the real file's table.
macro_rules! pass {
    ($file:expr, $function:ident $(, $argument:expr)*) => {{
        let real = real_file($file);
        // SAFETY: the real file was opened by `open`, and SQLite's default VFS fills in every function of version 2.
        unsafe { ((*(*real).pMethods).$function.expect("version 2 has it"))(real $(, $argument)*) }
    }};
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2 has shared memory, which a write-ahead log needs, but no memory-mapped reading past the counters.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with our VFS, a file of the size we asked for, and a name that is null or a C string.
    unsafe {
        let shared = &*(*vfs).pAppData.cast::<Shared>();
        (*file).pMethods = ptr::null();
        if shared.state().dead {
            return ffi::SQLITE_CANTOPEN;
        }
        let real = real_file(file);
        (*real).pMethods = ptr::null();
        let code = ((*shared.real).xOpen.expect("every VFS opens"))(shared.real, name, real, flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let ours = file.cast::<File>();
        (*ours).shared = shared;
        (*ours).name = ptr::null_mut();
        if !name.is_null() {
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let mut state = shared.state();
            let model = state.files.entry(name.clone()).or_default();
            if model.seen.is_none() {
                // New, perhaps over one whose deletion was not synced: then that one may come back instead.
                model.seen = Some(Vec::new());
                model.pending = vec![Change::Truncate(0)];
            }
            let journal = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL;
            model.syncs_directory |= flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journal != 0;
            (*ours).name = Box::into_raw(Box::new(name));
        }
        (*file).pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite calls with our VFS and a C string.
    unsafe {
        let shared = &*(*vfs).pAppData.cast::<Shared>();
        let path = CStr::from_ptr(name).to_string_lossy().into_owned();
        let verdict = shared.state().operation(&path, None, ffi::SQLITE_IOERR_DELETE);
        if let Verdict::Refuse(code) = verdict {
            return code;
        }
        let code = ((*shared.real).xDelete.expect("every VFS deletes"))(shared.real, name, 0);
        let mut state = shared.state();
        if let Some(model) = state.files.get_mut(&path) {
            model.seen = None;
            model.pending.clear();
            if sync_directory != 0 || matches!(verdict, Verdict::GoButSay(_)) {
                model.durable = None;
            }
        }
        finish(&mut state, &verdict, code)
    }
}

/// What to answer after an operation was done with result `code`.
fn finish(state: &mut State, verdict: &Verdict, code: c_int) -> c_int {
    match verdict {
        Verdict::GoButSay(failure) => {
            state.after_fault();
            *failure
        }
        _ => code,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = pass!(file, xClose);
    // SAFETY: the name was boxed in `open`, and SQLite uses the file no more.
    unsafe {
        let ours = file.cast::<File>();
        if !(*ours).name.is_null() {
            drop(Box::from_raw((*ours).name));
        }
    }
    code
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, count: c_int, at: i64) -> c_int {
    if parts(file).0.state().dead {
        return ffi::SQLITE_IOERR_READ;
    }
    pass!(file, xRead, to, count, at)
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, count: c_int, at: i64) -> c_int {
    let (shared, name) = parts(file);
    // SAFETY: SQLite hands over `count` readable bytes.
    let data = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(count).expect("a size")) };
    let start = usize::try_from(at).expect("an offset");
    let change = Change::Write(start, data.to_vec());
    if name.is_empty() {
        return pass!(file, xWrite, from, count, at);
    }
    let mut state = shared.state();
    let size = state.files.get(name).and_then(|model| model.seen.as_ref()).map_or(0, Vec::len);
    if state.full && start + data.len() > size {
        return ffi::SQLITE_FULL;
    }
    let verdict = state.operation(name, Some(&change), ffi::SQLITE_IOERR_WRITE);
    if let Verdict::Refuse(code) = verdict {
        return code;
    }
    let code = pass!(file, xWrite, from, count, at);
    state.changed(name, change);
    finish(&mut state, &verdict, code)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let (shared, name) = parts(file);
    let change = Change::Truncate(usize::try_from(size).expect("a size"));
    let mut state = shared.state();
    let verdict = state.operation(name, Some(&change), ffi::SQLITE_IOERR_TRUNCATE);
    if let Verdict::Refuse(code) = verdict {
        return code;
    }
    let code = pass!(file, xTruncate, size);
    state.changed(name, change);
    finish(&mut state, &verdict, code)
}

/// Never reaches the real disk: what survives is the model's business.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let (shared, name) = parts(file);
    let mut state = shared.state();
    let verdict = state.operation(name, None, ffi::SQLITE_IOERR_FSYNC);
    if let Verdict::Refuse(code) = verdict {
        return code;
    }
    state.sync(name);
    finish(&mut state, &verdict, ffi::SQLITE_OK)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    pass!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, out)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    pass!(file, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    pass!(file, xShmMap, page, size, extend, out)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    pass!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    pass!(file, xShmBarrier);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, delete)
}
