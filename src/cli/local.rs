//! The socket by which those of this machine call the API without a token: root, and who we run as.
//!
//! A process that takes over from another puts its socket in the place of the other's, so that there is always one
//! to be called; whoever stops takes away what is its own only.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use axum::{Extension, Router};
use log::{info, warn};
use pingora::server::ShutdownWatch;
use pingora::services::background::GenBackgroundService;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::background::{Work, background, serve_http};
use crate::admin::Local;

/// Operators of one machine; each may follow the events.
const MAX_CONNECTIONS: usize = 64;
/// After an accept that failed, as for want of file descriptors.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Serves `router` there. What is under way at a stop has `grace`.
pub(super) fn local_socket(
    path: PathBuf,
    router: Router,
    grace: Duration,
) -> GenBackgroundService<Work> {
    background("local socket", move |stop| serve(path.clone(), router.clone(), grace, stop))
}

async fn serve(path: PathBuf, router: Router, grace: Duration, mut stop: ShutdownWatch) {
    let socket = match Socket::bind(&path) {
        Ok(socket) => socket,
        Err(trouble) => {
            warn!("there is no socket for commands of this machine: {}: {trouble}", path.display());
            return;
        }
    };
    info!("commands of this machine need no token: {}", path.display());
    let mut connections = JoinSet::new();
    loop {
        let is_full = connections.len() >= MAX_CONNECTIONS;
        tokio::select! {
            // An error is a server that is gone, which also means to stop.
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            Some(_ended) = connections.join_next() => {}
            accepted = socket.listener.accept(), if !is_full => match accepted {
                Ok((stream, _)) => {
                    if let Some(uid) = socket.admits(&stream) {
                        let app = router.clone().layer(Extension(Local(uid)));
                        connections.spawn(serve_http(stream, app, stop.clone()));
                    }
                }
                Err(trouble) => {
                    warn!("{}: {trouble}", path.display());
                    sleep(AGAIN_AFTER).await;
                }
            },
        }
    }
    socket.remove();
    let rest = async { while connections.join_next().await.is_some() {} };
    // What was begun to be changed is brought to its end all the same.
    drop(timeout(grace, rest).await);
}

struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: another process may put its own in our place.
    identity: (u64, u64),
    /// Who we run as.
    uid: u32,
}

impl Socket {
    /// Puts a socket there, in place of one that nobody has taken away.
    fn bind(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|known| !known.file_type().is_socket()) {
            return Err(io::Error::other("something is there that is no socket"));
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mode = fs::metadata(directory)?.permissions().mode();
        if mode & 0o022 != 0 {
            let who = directory.display();
            return Err(io::Error::other(format!("others may write to {who}, and take its place")));
        }
        // Under another name first, so that nobody calls before it is clear who may.
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        drop(fs::remove_file(&new));
        let listener = UnixListener::bind(&new)?;
        let placed = fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::symlink_metadata(&new))
            .and_then(|known| fs::rename(&new, path).map(|()| known));
        let known = placed.inspect_err(|_| drop(fs::remove_file(&new)))?;
        let identity = (known.dev(), known.ino());
        Ok(Self { listener, path: path.to_owned(), identity, uid: known.uid() })
    }

    /// Who calls, if it may.
    fn admits(&self, stream: &UnixStream) -> Option<u32> {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(trouble) => {
                warn!("who calls by {} cannot be told: {trouble}", self.path.display());
                return None;
            }
        };
        if may(uid, self.uid) {
            return Some(uid);
        }
        warn!("refused uid {uid} at {}", self.path.display());
        None
    }

    fn remove(&self) {
        let known = fs::symlink_metadata(&self.path);
        if known.is_ok_and(|known| (known.dev(), known.ino()) == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Root, and who we run as.
fn may(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_who_we_run_as_may_call() {
        assert!(may(0, 997) && may(997, 997) && may(0, 0));
        assert!(!may(1000, 997) && !may(1000, 0));
    }

    #[tokio::test]
    async fn a_socket_takes_the_place_of_a_stale_one_and_goes_if_it_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let first = Socket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Socket::bind(&path).unwrap();
        first.remove();
        assert!(UnixStream::connect(&path).await.is_ok(), "it is the second one's");
        assert!(second.admits(&second.listener.accept().await.unwrap().0).is_some());
        second.remove();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        fs::write(&path, "a file").unwrap();
        assert!(Socket::bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
        let long = dir.path().join("x".repeat(200));
        assert!(Socket::bind(&long).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
