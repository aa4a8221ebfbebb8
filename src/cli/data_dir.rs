//! One process for one `data_dir`: two would each keep a directory of meetings of their own.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, bail};

use super::Upgrade;

/// Holds the directory for as long as it lives; the system lets go of it with the process.
pub(super) struct DataDir {
    lock: File,
}

impl DataDir {
    /// Takes the directory, which comes into being where it is missing. In an upgrade the process that hands over still has it; then
    /// [`DataDir::inherit`] takes it later.
    pub(super) fn take(dir: &Path, upgrade: Upgrade) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("creating data_dir {}", dir.display()))?;
        let path = dir.join("portico.lock");
        let lock = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { lock }),
            Err(TryLockError::WouldBlock) if upgrade == Upgrade::Yes => Ok(Self { lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another portico uses data_dir {}: stop it, or give this one a data_dir of its own",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Takes the directory over from a process that has left. True if it is ours now.
    pub(super) fn inherit(&self) -> bool {
        self.lock.try_lock().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_unless_it_takes_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = DataDir::take(dir.path(), Upgrade::No).expect("nobody has it");
        let refused = DataDir::take(dir.path(), Upgrade::No).err().expect("the first has it");
        assert!(refused.to_string().contains("another portico uses data_dir"), "{refused}");
        let successor = DataDir::take(dir.path(), Upgrade::Yes).expect("it takes over");
        assert!(!successor.inherit());
        drop(first);
        assert!(successor.inherit());
    }
}
