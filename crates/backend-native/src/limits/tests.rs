//! Limits in trees of files that look like those of the kernel, and in the kernel's own where that is possible.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use super::*;

const LIMITED: Allowance = Allowance { memory_bytes: Some(1 << 20), cpu_cores: Some(0.5) };

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn writes_the_limits_of_version_2() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("cgroup.controllers"), "cpu io memory").unwrap();
    let limiter = Limiter::detect(&CgroupRoot::Directory(root.path().to_owned()));
    assert_eq!(limiter.enforced(), Enforced { memory: Means::CgroupV2, cpu: Means::CgroupV2 });
    limiter.enclose(Pid::from_raw(7).unwrap(), "a/worker-0", LIMITED).unwrap();
    let group = root.path().join("teraslice-a-worker-0");
    assert_eq!(read(group.join("memory.max")), "1048576");
    assert_eq!(read(group.join("cpu.max")), "50000 100000");
    assert_eq!(read(group.join("cgroup.procs")), "7");
    assert!(!limiter.release("a/worker-0"));
    fs::write(group.join("memory.events"), "low 0\noom 1\noom_kill 1\noom_group_kill 0\n").unwrap();
    assert!(limiter.release("a/worker-0"), "killed for lack of memory");
}

#[test]
fn writes_the_limits_of_version_1() {
    let root = tempfile::tempdir().unwrap();
    for name in ["memory", "cpu"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    let limiter = Limiter::detect(&CgroupRoot::Directory(root.path().to_owned()));
    assert_eq!(limiter.enforced(), Enforced { memory: Means::CgroupV1, cpu: Means::CgroupV1 });
    limiter.enclose(Pid::from_raw(7).unwrap(), "x", LIMITED).unwrap();
    assert_eq!(read(root.path().join("memory/teraslice-x/memory.limit_in_bytes")), "1048576");
    assert_eq!(read(root.path().join("cpu/teraslice-x/cpu.cfs_quota_us")), "50000");
    assert_eq!(read(root.path().join("cpu/teraslice-x/cgroup.procs")), "7");
    let control = root.path().join("memory/teraslice-x/memory.oom_control");
    fs::write(control, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
    assert!(limiter.release("x"));
}

#[test]
fn says_what_it_cannot_do() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("cgroup.controllers"), "io pids").unwrap();
    let limiter = Limiter::detect(&CgroupRoot::Directory(root.path().to_owned()));
    assert_eq!(limiter.enforced(), Enforced { memory: Means::DataSize, cpu: Means::None });
    assert_eq!(Limiter::detect(&CgroupRoot::Nowhere).enforced(), limiter.enforced());
}

#[test]
fn limits_the_data_size_of_a_process_without_groups() {
    let mut child = sleeper();
    let limiter = Limiter::detect(&CgroupRoot::Nowhere);
    let pid = Pid::from_child(&child);
    limiter.enclose(pid, "x", Allowance { memory_bytes: Some(64 << 20), cpu_cores: None }).unwrap();
    let limits = read(format!("/proc/{}/limits", pid.as_raw_pid()));
    let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(line.contains("67108864"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// With the kernel's own group for processor time, where this user may make one.
#[test]
#[expect(clippy::print_stderr, reason = "nobody shall believe that this was tested")]
fn puts_a_real_process_into_a_real_group() {
    let Some((_, own)) = Cgroups::own().cpu else {
        return eprintln!("SKIPPED: no control group for processor time may be made here");
    };
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(own, root.path().join("cpu")).unwrap();
    let limiter = Limiter::detect(&CgroupRoot::Directory(root.path().to_owned()));
    let mut child = sleeper();
    let pid = Pid::from_child(&child);
    let name = format!("test-{}", pid.as_raw_pid());
    limiter.enclose(pid, &name, Allowance { memory_bytes: None, cpu_cores: Some(0.25) }).unwrap();
    let group = root.path().join("cpu").join(format!("teraslice-{name}"));
    assert_eq!(read(group.join("cgroup.procs")).trim(), pid.as_raw_pid().to_string());
    assert_eq!(read(group.join("cpu.cfs_quota_us")).trim(), "25000");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!limiter.release(&name));
    assert!(!group.exists(), "nothing is left of it");
}
