//! Extended attributes: of what is open by its descriptor, and of links, pipes
//! and devices, which cannot be opened, by a path through the open directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The kernel's own limits, for the list of names and for one value.
const BYTES_MAX: usize = 64 * 1024;

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;
/// What the kernel answers.
type Done<T> = Result<T, Errno>;
/// Reads the value of a name into a buffer; sets the value of a name.
type Get<'a> = dyn FnMut(&[u8], &mut [u8]) -> Done<usize> + 'a;
type Set<'a> = dyn Fn(&[u8], &[u8]) -> Done<()> + 'a;

/// File systems without extended attributes have none to keep.
pub(crate) fn read_xattrs(file: BorrowedFd<'_>) -> io::Result<Attributes> {
    read(&mut |list| rustix::fs::flistxattr(file, list), &mut |name, value| {
        rustix::fs::fgetxattr(file, name, value)
    })
}

/// As [`read_xattrs`], of a name, following no link.
pub(crate) fn read_xattrs_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Attributes> {
    let path = path_at(directory, name);
    read(&mut |list| rustix::fs::llistxattr(&path, list), &mut |name, value| {
        rustix::fs::lgetxattr(&path, name, value)
    })
}

fn read(list: &mut dyn FnMut(&mut [u8]) -> Done<usize>, get: &mut Get<'_>) -> io::Result<Attributes> {
    let mut names = [0; 1024];
    let mut long;
    let listed: &[u8] = match list(&mut names) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Ok(length) => &names[..length],
        Err(Errno::RANGE) => {
            long = vec![0; BYTES_MAX];
            let length = list(&mut long)?;
            &long[..length]
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    let mut value = vec![0; BYTES_MAX];
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match get(name, &mut value) {
            Ok(size) => found.push((name.to_vec(), value[..size].to_vec())),
            // Removed since the names were listed.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the attributes exactly these; what a file has from the folder it was
/// made in goes, but for the labels of a security module.
pub(crate) fn write_xattrs(file: BorrowedFd<'_>, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let set = |name: &[u8], value: &[u8]| rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
    let remove = |name: &[u8]| rustix::fs::fremovexattr(file, name);
    write(read_xattrs(file)?, attributes, &set, &remove)
}

/// As [`write_xattrs`], of a name, following no link.
pub(crate) fn write_xattrs_at(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    attributes: &[(Vec<u8>, Vec<u8>)],
) -> io::Result<()> {
    let path = path_at(directory, name);
    let set = |name: &[u8], value: &[u8]| rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty());
    let remove = |name: &[u8]| rustix::fs::lremovexattr(&path, name);
    write(read_xattrs_at(directory, name)?, attributes, &set, &remove)
}

fn write(
    present: Attributes,
    wanted: &[(Vec<u8>, Vec<u8>)],
    set: &Set<'_>,
    remove: &dyn Fn(&[u8]) -> Done<()>,
) -> io::Result<()> {
    for (name, _) in &present {
        if !name.starts_with(b"security.") && !wanted.iter().any(|(kept, _)| kept == name) {
            remove(name).map_err(|errno| not_kept(name, errno))?;
        }
    }
    // Setting what is there already may be refused to whoever is not root.
    for attribute in wanted.iter().filter(|attribute| !present.contains(attribute)) {
        set(&attribute.0, &attribute.1).map_err(|errno| not_kept(&attribute.0, errno))?;
    }
    Ok(())
}

fn not_kept(name: &[u8], errno: Errno) -> io::Error {
    let name = String::from_utf8_lossy(name);
    io::Error::new(
        io::Error::from(errno).kind(),
        format!("the extended attribute `{name}` could not be kept: {errno}"),
    )
}

fn path_at(directory: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    PathBuf::from(OsStr::from_bytes(&path))
}
