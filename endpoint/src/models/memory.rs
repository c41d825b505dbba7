//! The memory that this process may use.

use std::fs;

/// Share of the memory for models. The rest is for requests and everything else.
const SHARE: (u64, u64) = (3, 4);

/// Bytes that models may use: a share of the cgroup's limit, or of the machine's memory.
pub(crate) fn available() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let cgroup = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = cgroup.iter().find_map(|path| read(path)?.trim().parse::<u64>().ok());
    let machine = read("/proc/meminfo").as_deref().and_then(total);
    let bytes = match (limit, machine) {
        (Some(limit), Some(machine)) => limit.min(machine),
        (limit, machine) => limit.or(machine).unwrap_or(u64::MAX / SHARE.0),
    };
    bytes / SHARE.1 * SHARE.0
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        let meminfo = "MemTotal:       24576 kB\nMemFree:  1 kB\n";
        assert_eq!(total(meminfo), Some(24576 * 1024));
        assert_eq!(total("nothing"), None);
        assert!(available() > 0);
    }
}
