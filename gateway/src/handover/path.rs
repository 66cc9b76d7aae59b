//! The socket's file, where a new process finds the running one.

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Processes that may wait to be told that another one is first.
const BACKLOG: i32 = 8;

/// The file, for as long as this process listens there; removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: whoever took over has put another one in its place.
    id: (u64, u64),
}

/// Listens at `path`, which only this user may use. A file that a dead process left is replaced, and
/// so is that of a live one if `replace` is set.
///
/// # Errors
/// When a live process listens there, something else is there, or nothing can be made there.
pub(super) fn listen(path: &Path, replace: bool) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("there is a file of that name that is no socket"));
        }
        Ok(_) if !replace && UnixStream::connect(path).is_ok() => {
            let why = "another process listens there; set `runtime.upgrade_socket`";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        _ => {}
    }
    // Too long a path would be made, and never be found.
    SockAddr::unix(path)?;
    // Beside it and renamed: whoever looks finds the old one or the new one.
    let fresh = path.with_file_name(format!(".tg-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file has the socket's mode from the start.
    let only_us = Mode::RUSR | Mode::WUSR;
    fchmod(&socket, only_us)?;
    socket.bind(&SockAddr::unix(&fresh)?)?;
    let made = rustix::fs::chmod(&fresh, only_us)
        .map_err(io::Error::from)
        .and_then(|()| socket.listen(BACKLOG))
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| id(path));
    match made {
        Ok(id) => Ok((socket.into(), SocketFile { path: path.to_owned(), id })),
        Err(error) => {
            let _ = fs::remove_file(&fresh);
            Err(error)
        }
    }
}

impl SocketFile {
    /// Whether it still leads to this process.
    pub(super) fn is_ours(&self) -> bool {
        id(&self.path).is_ok_and(|id| id == self.id)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_this_user_may_and_the_file_goes_with_it() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("tidegate.sock");
        let (listener, file) = listen(&path, false).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stream = UnixStream::connect(&path).unwrap();
        drop(listener.accept().unwrap());
        drop(stream);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_the_dead_left_is_replaced_and_the_living_are_left_alone() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("tidegate.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (first, file) = listen(&path, false).unwrap();
        let refused = listen(&path, false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let (second, other) = listen(&path, true).unwrap();
        assert!(!file.is_ours() && other.is_ours());
        drop((first, file));
        let stream = UnixStream::connect(&path).unwrap();
        drop(second.accept().unwrap());
        drop(stream);
    }

    #[test]
    fn other_files_stay() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("notes");
        fs::write(&path, "mine").unwrap();
        listen(&path, true).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        listen(&directory.path().join("no/such/place"), false).unwrap_err();
        let long = directory.path().join("x".repeat(200));
        listen(&long, false).unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
