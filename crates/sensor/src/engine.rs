//! The evaluator guest inside Wasm: metered by fuel, stopped by an epoch, capped in memory, with no import at all.
//!
//! The guest is not believed: every place that it names is checked against its own memory, every answer against the form.

use serde::{Deserialize, Serialize};
use staffel_pack::wire::{Answer, MOST_HITS};
use wasmtime::{Config, Engine, Instance, Memory, Module, ResourceLimiter, Store, Trap, TypedFunc};

/// Most memory of a guest in bytes.
pub const MEMORY: usize = 96 << 20;
/// Instructions, about, for loading a pack.
pub const FUEL_TO_LOAD: u64 = 20_000_000_000;
/// Instructions, about, for a batch, whatever it holds.
pub const FUEL_A_BATCH: u64 = 20_000_000;
/// Instructions, about, for each byte of a batch. An ordinary pack of 200 rules takes a few hundred.
pub const FUEL_A_BYTE: u64 = 20_000;
/// Ticks of the epoch that one call may last: the backstop behind the fuel, for what fuel does not see.
const TICKS: u64 = 100;
/// Milliseconds of one tick.
pub const TICK_MS: u64 = 100;
/// Bytes of a guest's stack.
const STACK: usize = 512 << 10;
/// Longest refusal in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;

/// What went wrong with a pack in its evaluator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    #[error("the evaluator refuses the pack: {0}")]
    Refused(String),
    #[error("it used up its fuel: more instructions than any batch of this size may take")]
    Fuel,
    #[error("it ran for longer than {} s", TICKS * TICK_MS / 1_000)]
    Time,
    #[error("it wanted more than {} MiB of memory", MEMORY >> 20)]
    Memory,
    #[error("it used up its stack")]
    Stack,
    #[error("it trapped: {0}")]
    Trap(String),
    #[error("what it answered is no answer: {0}")]
    Nonsense(String),
    #[error("its process ended: {0}")]
    Gone(String),
    #[error("its process did not answer within {0} ms")]
    Silent(u64),
    #[error("the evaluator can't be loaded: {0}")]
    Unloadable(String),
}

impl Trouble {
    /// True if somebody else may have caused it, by killing or stopping the process.
    pub fn may_be_foreign(&self) -> bool {
        matches!(self, Trouble::Gone(_) | Trouble::Silent(_))
    }
}

/// What code is compiled with and run with; both must agree (`tools/precompile`).
fn config() -> Config {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true).max_wasm_stack(STACK).wasm_backtrace(false);
    config
}

struct Limiter {
    refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.refused |= desired > MEMORY;
        Ok(desired <= MEMORY)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 10_000)
    }
}

/// The guest, ready to be called.
pub struct Guest {
    engine: Engine,
    store: Store<Limiter>,
    memory: Memory,
    input: TypedFunc<u32, u32>,
    output: TypedFunc<(), u64>,
    load: TypedFunc<(), u32>,
    evaluate: TypedFunc<(), ()>,
}

impl Guest {
    /// Makes a guest of precompiled code, which is part of the signed engine and never comes with content.
    pub fn new(precompiled: &[u8]) -> Result<Self, Trouble> {
        let wrong = |error: wasmtime::Error| Trouble::Unloadable(format!("{error:#}"));
        let engine = Engine::new(&config()).map_err(wrong)?;
        // SAFETY: these bytes came with this program, in the same signed release, from `tools/precompile`.
        #[expect(unsafe_code, reason = "code that was compiled beforehand is believed, as this program is")]
        let module = unsafe { Module::deserialize(&engine, precompiled) }.map_err(wrong)?;
        if module.imports().len() > 0 {
            return Err(Trouble::Unloadable("it wants something of its host".into()));
        }
        let mut store = Store::new(&engine, Limiter { refused: false });
        store.limiter(|limiter| limiter);
        store.set_fuel(FUEL_A_BATCH).map_err(wrong)?;
        store.set_epoch_deadline(TICKS);
        let instance = Instance::new(&mut store, &module, &[]).map_err(wrong)?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| Trouble::Unloadable("it has no memory to write to".into()))?;
        Ok(Guest {
            memory,
            input: instance.get_typed_func(&mut store, "input").map_err(wrong)?,
            output: instance.get_typed_func(&mut store, "output").map_err(wrong)?,
            load: instance.get_typed_func(&mut store, "load").map_err(wrong)?,
            evaluate: instance.get_typed_func(&mut store, "evaluate").map_err(wrong)?,
            engine,
            store,
        })
    }

    /// Moves the epoch on; to be called every [`TICK_MS`] by another thread.
    pub fn ticker(&self) -> impl Fn() + Send + 'static {
        let engine = self.engine.clone();
        move || engine.increment_epoch()
    }

    /// Loads a pack (`staffel_pack::wire::encode_load`).
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.give(bytes, FUEL_TO_LOAD)?;
        match self.load.call(&mut self.store, ()) {
            Ok(0) => Ok(()),
            Ok(_) => {
                let said = self.take(LONGEST_REFUSAL)?;
                Err(Trouble::Refused(String::from_utf8_lossy(&said).into_owned()))
            }
            Err(error) => Err(self.trouble(&error)),
        }
    }

    /// Runs a batch of records.
    pub fn evaluate(&mut self, batch: &[u8]) -> Result<Answer, Trouble> {
        self.give(batch, FUEL_A_BATCH + FUEL_A_BYTE * batch.len() as u64)?;
        if let Err(error) = self.evaluate.call(&mut self.store, ()) {
            return Err(self.trouble(&error));
        }
        let said = self.take(16 + 12 * MOST_HITS)?;
        Answer::decode(&said).ok_or_else(|| Trouble::Nonsense(format!("{} bytes of another form", said.len())))
    }

    fn give(&mut self, bytes: &[u8], fuel: u64) -> Result<(), Trouble> {
        self.store.set_fuel(fuel).map_err(|error| Trouble::Trap(error.to_string()))?;
        self.store.set_epoch_deadline(TICKS);
        let length = u32::try_from(bytes.len()).map_err(|_| Trouble::Refused("4 GiB are too much".into()))?;
        let place = match self.input.call(&mut self.store, length) {
            Ok(place) => place,
            Err(error) => return Err(self.trouble(&error)),
        };
        self.memory
            .write(&mut self.store, place as usize, bytes)
            .map_err(|_| Trouble::Nonsense("its input lies outside its memory".into()))
    }

    fn take(&mut self, most: usize) -> Result<Vec<u8>, Trouble> {
        let named = match self.output.call(&mut self.store, ()) {
            Ok(named) => named,
            Err(error) => return Err(self.trouble(&error)),
        };
        let (place, length) = ((named >> 32) as usize, (named & 0xffff_ffff) as usize);
        if length > most {
            return Err(Trouble::Nonsense(format!("{length} bytes, at most {most} are taken")));
        }
        let found = place.checked_add(length).and_then(|end| self.memory.data(&self.store).get(place..end));
        found.map(<[u8]>::to_vec).ok_or_else(|| Trouble::Nonsense("its output lies outside its memory".into()))
    }

    fn trouble(&self, error: &wasmtime::Error) -> Trouble {
        if self.store.data().refused {
            return Trouble::Memory;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Trouble::Fuel,
            Some(Trap::Interrupt) => Trouble::Time,
            Some(Trap::StackOverflow) => Trouble::Stack,
            Some(trap) => Trouble::Trap(trap.to_string()),
            None => Trouble::Trap(error.to_string()),
        }
    }
}
