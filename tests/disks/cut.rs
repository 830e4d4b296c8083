//! The two calls that no safe library has: cutting a file system's power, and
//! asking for a file's flags. This file alone may be unsafe.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `_IOR('X', 125, __u32)`, shared by XFS, ext4 and f2fs.
const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// At once, and without the file system's own log: as when the power goes.
static WITHOUT_LOG: u32 = 2;

/// From here on nothing that is not on the disk ever comes there.
pub(crate) fn cut_power(mounted: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call reads one u32 that lives beyond it.
    let done = unsafe { libc::ioctl(mounted.as_raw_fd(), FS_IOC_SHUTDOWN, &raw const WITHOUT_LOG) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
