//! The engine: how guests are compiled and interrupted.

use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Guests are interrupted at this grain.
const TICK: Duration = Duration::from_millis(5);
/// Native stack of a guest.
const STACK_BYTES: usize = 512 << 10;

/// Core instances, memories and tables of one component at the most.
pub(crate) const INSTANCES_MAX: u32 = 32;
pub(crate) const MEMORIES_MAX: u32 = 8;
pub(crate) const TABLES_MAX: u32 = 8;
/// Fuel per millisecond of a limit: what a machine of today burns in about that time.
const FUEL_PER_MS: u64 = 1_000_000;

/// How much a guest is trusted. Each tier has an engine and compiled code of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Interrupted when it takes too long.
    #[default]
    Default,
    /// Never interrupted, and faster for it; for assets of one's own.
    Trusted,
    /// Interrupted after a number of instructions, the same on every machine; for tests.
    Deterministic,
}

impl Tier {
    /// Returns the word used in file names and configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Trusted => "trusted",
            Self::Deterministic => "deterministic",
        }
    }

    /// Reads that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Default, Self::Trusted, Self::Deterministic].into_iter().find(|tier| tier.as_str() == word)
    }
}

/// Makes an engine that only compiles: it takes no address space for instances.
pub(crate) fn compiler(tier: Tier) -> wasmtime::Result<Engine> {
    let mut config = config(tier);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// Makes the engine of a tier with room for `slots` instances; without a pool where address space is short.
pub(crate) fn engine(tier: Tier, slots: usize) -> wasmtime::Result<Engine> {
    let mut config = config(tier);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    let engine = Engine::new(&config).or_else(|error| {
        tracing::warn!(%error, "no instance pool, making each instance on demand");
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    })?;
    if tier == Tier::Default {
        start_ticker(&engine)?;
    }
    Ok(engine)
}

/// Returns the fuel that stands for a time limit.
pub(crate) fn fuel(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).saturating_mul(FUEL_PER_MS)
}

/// Returns how many ticks make up a time limit.
pub(crate) fn ticks(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX).saturating_add(1)
}

fn config(tier: Tier) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .compiler_inlining(wasmtime::Inlining::Yes)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(tier == Tier::Default)
        .consume_fuel(tier == Tier::Deterministic)
        .concurrency_support(false)
        .max_wasm_stack(STACK_BYTES)
        .wasm_component_model(true)
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_tail_call(false);
    config
}

fn pool(slots: usize) -> PoolingAllocationConfig {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX / 8);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .total_core_instances(slots * 4)
        .total_memories(slots * 2)
        .total_tables(slots * 4)
        .max_core_instances_per_component(INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .table_elements(100_000)
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Starts the thread that moves the engine's epoch on, for as long as the engine lives.
fn start_ticker(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("wasm-epoch".to_owned()).spawn(tick)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_a_limit_up_to_whole_ticks() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(6)), 3);
    }
}
