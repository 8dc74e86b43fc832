//! Control groups of both versions.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{Access, access},
    process::Pid,
};

use super::Means;

/// The length of a period of processor time, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The least quota that the kernel takes.
const QUOTA_MIN_US: u64 = 1_000;
/// What is told of the group that this process moves to, so that its own may have children with limits.
const OWN_LEAF: &str = "teraslice-node";
/// A group that was not empty yet is tried again so often.
const REMOVE_TRIES: u32 = 3;

/// Where groups can be made, and of which version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cgroups {
    pub(super) memory: Option<(Means, PathBuf)>,
    pub(super) cpu: Option<(Means, PathBuf)>,
}

impl Cgroups {
    /// Looks at the groups that this process is in.
    pub(super) fn own() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let Places { v2, memory, cpu } = Places::find(&mounts, &groups);
        let mut found = Self::default();
        if let Some(directory) = v2.filter(|directory| is_writable(directory)) {
            make_room(&directory);
            found = Self::v2(&directory);
        }
        let v1 = |place: Option<PathBuf>| {
            place.filter(|place| is_writable(place)).map(|place| (Means::CgroupV1, place))
        };
        Self { memory: found.memory.or_else(|| v1(memory)), cpu: found.cpu.or_else(|| v1(cpu)) }
    }

    /// Looks at a directory that was given.
    pub(super) fn below(directory: &Path) -> Self {
        if directory.join("cgroup.controllers").exists() {
            return Self::v2(directory);
        }
        let v1 = |name: &str| {
            let place = directory.join(name);
            is_writable(&place).then_some((Means::CgroupV1, place))
        };
        Self { memory: v1("memory"), cpu: v1("cpu") }
    }

    /// Has the children of a group take limits, as far as that is possible.
    fn v2(directory: &Path) -> Self {
        let subtree = directory.join("cgroup.subtree_control");
        let place = |controller: &str| {
            let is_on = || lists(&subtree, controller);
            let is_here = lists(&directory.join("cgroup.controllers"), controller);
            let is_usable = is_here && (is_on() || (fs::write(&subtree, format!("+{controller}")).is_ok()));
            is_usable.then(|| (Means::CgroupV2, directory.to_owned()))
        };
        Self { memory: place("memory"), cpu: place("cpu") }
    }
}

/// Moves this process into a leaf if it is alone in its group: a group with processes cannot have children with limits.
fn make_room(directory: &Path) {
    let alone = process::id().to_string();
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    if members.trim() == alone && directory.join("cgroup.type").exists() {
        let leaf = directory.join(OWN_LEAF);
        let moved = fs::create_dir(&leaf).and_then(|()| fs::write(leaf.join("cgroup.procs"), alone));
        if let Err(error) = moved {
            tracing::debug!(%error, "this process stays in its control group");
        }
    }
}

/// The groups that a process is in.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    v2: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

impl Places {
    /// Finds them by `/proc/self/mounts` and `/proc/self/cgroup`.
    fn find(mounts: &str, groups: &str) -> Self {
        let mut found = Self::default();
        for mount in mounts.lines() {
            let mut fields = mount.split(' ').skip(1);
            let (Some(at), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let is_of = |controller: &str| options.split(',').any(|option| option == controller);
            match kind {
                "cgroup2" => found.v2 = group(groups, "").map(|path| below(at, path)).or(found.v2),
                "cgroup" if is_of("memory") => found.memory = group(groups, "memory").map(|it| below(at, it)),
                "cgroup" if is_of("cpu") => found.cpu = group(groups, "cpu").map(|it| below(at, it)),
                _ => {}
            }
        }
        found
    }
}

/// Returns the path of the group of a controller; of version 2 for the empty name.
fn group<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|it| it == controller).then_some(path)
    })
}

/// Returns the directory of a group. In a container the path may be one of the machine, and the mount shows the group itself.
fn below(mount: &str, path: &str) -> PathBuf {
    let whole = Path::new(mount).join(path.trim_start_matches('/'));
    if whole.exists() { whole } else { mount.into() }
}

fn is_writable(directory: &Path) -> bool {
    access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

fn lists(file: &Path, word: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_ascii_whitespace().any(|it| it == word)
}

/// A group for one process.
#[derive(Debug)]
pub(super) struct Group {
    version: Means,
    directory: PathBuf,
}

impl Group {
    pub(super) fn new(version: Means, parent: &Path, name: &str) -> Self {
        let name: String = name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect();
        Self { version, directory: parent.join(format!("teraslice-{name}")) }
    }

    /// Makes the group, unless it is there.
    fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    pub(super) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        self.make()?;
        // Swap is not always counted; where it is, there shall be none of it.
        if self.version == Means::CgroupV2 {
            let _not_counted = self.set("memory.swap.max", "0");
            let _older_kernel = self.set("memory.oom.group", "1");
            return self.set("memory.max", &bytes.to_string());
        }
        self.set("memory.limit_in_bytes", &bytes.to_string())?;
        let _not_counted = self.set("memory.memsw.limit_in_bytes", &bytes.to_string());
        Ok(())
    }

    pub(super) fn limit_cpu(&self, cores: f64) -> io::Result<()> {
        self.make()?;
        let quota = quota_us(cores);
        if self.version == Means::CgroupV2 {
            return self.set("cpu.max", &format!("{quota} {PERIOD_US}"));
        }
        self.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
        self.set("cpu.cfs_quota_us", &quota.to_string())
    }

    pub(super) fn take_in(&self, pid: Pid) -> io::Result<()> {
        self.set("cgroup.procs", &pid.as_raw_pid().to_string())
    }

    /// Tells whether the kernel has killed something in it for lack of memory.
    pub(super) fn has_killed(&self) -> bool {
        let file = if self.version == Means::CgroupV2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|count| count.trim().parse::<u64>().ok()).is_some_and(|count| count > 0)
    }

    /// Removes the group with what is left in it.
    pub(super) fn remove(&self) {
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(&self.directory) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                // Somebody of the process's own is left.
                Err(_) => {
                    let _of_version_1 = self.set("cgroup.kill", "1");
                }
            }
        }
        tracing::debug!(group = %self.directory.display(), "control group is not empty");
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, value)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a cast of a float saturates, and cores are few"
)]
fn quota_us(cores: f64) -> u64 {
    ((cores * PERIOD_US as f64) as u64).max(QUOTA_MIN_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
        cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\nproc /proc proc rw 0 0\n";

    #[test]
    fn finds_the_groups_of_both_versions() {
        let found = Places::find(V1, "5:memory:/a\n4:cpu,cpuacct:/\n");
        assert_eq!(found.v2, None);
        assert!(found.memory.unwrap().starts_with("/sys/fs/cgroup/memory"));
        assert!(found.cpu.unwrap().starts_with("/sys/fs/cgroup/cpu,cpuacct"));
        let found = Places::find("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "0::/nowhere/at/all\n");
        assert_eq!(found.v2, Some("/sys/fs/cgroup".into()), "the mount is the group");
    }

    #[test]
    fn finds_nothing_in_text_that_says_nothing() {
        for (mounts, groups) in [("", ""), ("a b\n", "x"), (V1, "5:pids:/\n"), ("c /x cgroup2", "0::/")] {
            assert_eq!(Places::find(mounts, groups), Places::default(), "{mounts} {groups}");
        }
    }

    #[test]
    fn turns_cores_into_a_quota() {
        for (cores, quota) in
            [(0.5, 50_000), (2.0, 200_000), (0.000_1, 1_000), (-1.0, 1_000), (f64::NAN, 1_000)]
        {
            assert_eq!(quota_us(cores), quota);
        }
    }

    #[test]
    fn keeps_names_within_their_directory() {
        let group = Group::new(Means::CgroupV2, Path::new("/g"), "../a/b");
        assert_eq!(group.directory, Path::new("/g/teraslice----a-b"));
    }
}
