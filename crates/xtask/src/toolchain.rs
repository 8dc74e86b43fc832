//! Finds a way to compile for WebAssembly on this machine.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// What assets are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// Wide vectors halve the time it takes to scan a record.
const RUSTFLAGS: &str = "-C target-feature=+simd128,+bulk-memory";
/// A machine without access to the toolchain server must not hang.
const RUSTUP_MAX: Duration = Duration::from_mins(1);
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A way to compile for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain in use has the target.
    Installed,
    /// Debian's compiler, which builds the standard library from Debian's sources.
    Debian,
}

impl Toolchain {
    /// Returns a cargo that compiles with it.
    pub(crate) fn cargo(self) -> Command {
        let mut cargo = Command::new("cargo");
        // What cargo sets for xtask itself must not reach the inner build.
        cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTC_WRAPPER").env("RUSTFLAGS", RUSTFLAGS);
        if self == Self::Debian {
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            if let Some(linker) = rust_lld() {
                cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }
}

/// Finds a toolchain: the installed target, Debian's if it is there, `rustup target add`, Debian's packages.
pub(crate) fn find() -> Result<Toolchain> {
    if has_target() {
        return Ok(Toolchain::Installed);
    }
    if has_debian() {
        return Ok(Toolchain::Debian);
    }
    let added = run(Command::new("rustup").args(["target", "add", TARGET]), RUSTUP_MAX);
    if added.is_ok() && has_target() {
        return Ok(Toolchain::Installed);
    }
    let packages = Command::new("sh")
        .args(["-c", "apt-get update && apt-get install -y --no-install-recommends rustc-web rust-web-src"])
        .stdout(Stdio::null())
        .status();
    if packages.is_ok_and(|status| status.success()) && has_debian() {
        return Ok(Toolchain::Debian);
    }
    bail!(
        "no way to compile for {TARGET}: run `rustup target add {TARGET}`, \
         or on Debian, as root, `apt-get install rustc-web rust-web-src`"
    )
}

fn has_target() -> bool {
    sysroot("rustc").is_some_and(|root| Path::new(&root).join("lib/rustlib").join(TARGET).is_dir())
}

/// Tells whether Debian's compiler and its library's sources are installed.
fn has_debian() -> bool {
    sysroot(DEBIAN_RUSTC)
        .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/std").is_dir())
}

fn sysroot(rustc: &str) -> Option<String> {
    let printed = Command::new(rustc).args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    printed.status.success().then(|| String::from_utf8_lossy(&printed.stdout).trim().to_owned())
}

/// Returns the linker of the toolchain in use; Debian's compiler comes without one.
fn rust_lld() -> Option<String> {
    let root = sysroot("rustc")?;
    let lld = format!("{root}/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    Path::new(&lld).is_file().then_some(lld)
}

/// Runs a command for at most `limit`.
#[expect(clippy::disallowed_methods, reason = "a command line program without the engine's context")]
fn run(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { bail!("it failed: {status}") };
        }
        if start.elapsed() > limit {
            child.kill().context("failed to end it")?;
            let _status = child.wait()?;
            bail!("it took longer than {} seconds", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
