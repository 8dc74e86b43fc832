//! Finds a way to compile for WebAssembly on this machine.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// What assets are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// Wide vectors halve the time it takes to scan a record.
const FEATURES: &str = "-Ctarget-feature=+simd128,+bulk-memory";
/// A machine without access to the toolchain server must not hang.
const RUSTUP_MAX: Duration = Duration::from_mins(1);
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// What the assets need, as in their `rust-version`.
const DEBIAN_MINOR_MIN: u32 = 95;

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
        for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            cargo.env_remove(name);
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags());
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

/// Returns the flags, with a separator that no path holds between them.
fn rustflags() -> String {
    let mut flags = vec![FEATURES.to_owned()];
    let home = std::env::var("HOME").map(|home| format!("{home}/.cargo"));
    if let Ok(home) = std::env::var("CARGO_HOME").or(home) {
        // Messages of panics name files; the same asset should come out on every machine.
        flags.push(format!("--remap-path-prefix={home}=cargo"));
    }
    flags.join("\x1f")
}

fn has_target() -> bool {
    sysroot("rustc").is_some_and(|root| Path::new(&root).join("lib/rustlib").join(TARGET).is_dir())
}

/// Tells whether Debian's compiler is new enough and its library's sources are installed.
fn has_debian() -> bool {
    let version = printed(DEBIAN_RUSTC, &["--version"]);
    version.and_then(|text| minor_version(&text)).is_some_and(|minor| minor >= DEBIAN_MINOR_MIN)
        && sysroot(DEBIAN_RUSTC)
            .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/std").is_dir())
}

/// Returns 95 of `rustc 1.95.0 (...)`.
fn minor_version(text: &str) -> Option<u32> {
    text.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

fn sysroot(rustc: &str) -> Option<String> {
    printed(rustc, &["--print", "sysroot"])
}

fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let printed = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    printed.status.success().then(|| String::from_utf8_lossy(&printed.stdout).trim().to_owned())
}

/// Returns the linker of the toolchain in use; Debian's compiler comes without one.
fn rust_lld() -> Option<PathBuf> {
    let hosts = Path::new(&sysroot("rustc")?).join("lib/rustlib").read_dir().ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|lld| lld.is_file())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended() {
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "it took longer than 0 seconds");
        assert!(run(&mut Command::new("false"), RUSTUP_MAX).is_err());
        assert!(run(&mut Command::new("true"), RUSTUP_MAX).is_ok());
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(minor_version("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some(96));
        assert_eq!(minor_version("gcc 1.96"), None);
    }

    #[test]
    fn debian_compiles_with_its_own_compiler() {
        let cargo = Toolchain::Debian.cargo();
        let set: Vec<_> = cargo.get_envs().filter(|(name, _)| *name == "RUSTC").collect();
        assert_eq!(set, [("RUSTC".as_ref(), Some(DEBIAN_RUSTC.as_ref()))]);
        assert!(Toolchain::Installed.cargo().get_args().next().is_none());
    }
}
