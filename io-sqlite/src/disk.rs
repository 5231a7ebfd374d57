//! The disk below a store: its free space, and the boot of the machine.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};

/// The free space below which new work is refused, so that work in the store can finish: 256 MiB.
pub(crate) const RESERVE_BYTES: u64 = 256 << 20;
/// The time between two looks at the free space.
const LOOK: Duration = Duration::from_secs(1);

/// The room for new work.
#[derive(Debug, Default)]
pub(crate) struct Room {
    looked: Option<Instant>,
    free: Option<u64>,
}

impl Room {
    /// Returns why new work is refused, if there is too little room for it.
    pub(crate) fn refusal(
        &mut self,
        db: &Connection,
        path: &Path,
        max_bytes: Option<u64>,
    ) -> Result<Option<String>> {
        if let Some(most) = max_bytes {
            let used = used_bytes(db)?;
            if used > most {
                return Ok(Some(format!(
                    "the store has {used} bytes, and max_bytes is {most}: new work is refused"
                )));
            }
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            (self.looked, self.free) = (Some(Instant::now()), free_bytes(path));
        }
        let free = self.free.filter(|free| *free < RESERVE_BYTES);
        Ok(free.map(|free| format!("the disk has {free} bytes free: new work is refused")))
    }
}

/// Returns the bytes of all pages in use.
pub(crate) fn used_bytes(db: &Connection) -> Result<u64> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(pages * number("page_size")?)
}

/// Returns the bytes that are free on the disk of a file; `None` if the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = nix::sys::statvfs::statvfs(folder(path)).ok()?;
        Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Returns the folder of a file.
#[cfg(unix)]
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the ID of the boot of this machine; `None` if the system has none.
pub(crate) fn boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned())
}

/// Returns whether a file is on a network file system, where processes of several machines cannot
/// share it: they do not share the memory that SQLite needs for its log.
pub(crate) fn is_remote(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::statfs::{CODA_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
        // Those of CIFS and SMB 2.
        const OTHERS: [u32; 2] = [0xff53_4d42, 0xfe53_4d42];
        statfs(folder(path)).is_ok_and(|stat| {
            let kind = stat.filesystem_type();
            [CODA_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC].contains(&kind)
                || OTHERS.contains(&(kind.0 as u32))
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}
