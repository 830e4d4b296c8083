//! Stands before the C library in an agent under test and fails one sync of
//! one file, once, as a disk does that has just lost a page. With `LOSE` set
//! what was written last is gone too, which is what the kernel may do then.
//!
//! A library that takes the place of another's functions cannot be written
//! without `unsafe`; it is never part of a program that is shipped.
#![allow(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_long, c_void, off64_t, size_t, ssize_t};

/// End of the path of the file whose sync fails.
const FILE: &str = "STERNWAY_FAIL_SYNC_OF";
/// Which sync of it, counted from 1.
const NUMBER: &str = "STERNWAY_FAIL_SYNC_NUMBER";
const LOSE: &str = "STERNWAY_FAIL_SYNC_LOSE";

static SYNCS: AtomicU32 = AtomicU32::new(0);
/// Where the file was written last, and how many bytes.
static LAST: Mutex<Option<(off64_t, size_t)>> = Mutex::new(None);

fn is_it(descriptor: c_int) -> bool {
    let Ok(wanted) = std::env::var(FILE) else { return false };
    std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
        .is_ok_and(|path| path.to_string_lossy().ends_with(&wanted))
}

fn number() -> Option<u32> {
    std::env::var(NUMBER).ok()?.parse().ok()
}

fn sync(descriptor: c_int, call: c_long) -> c_int {
    if is_it(descriptor) && Some(SYNCS.fetch_add(1, Ordering::SeqCst) + 1) == number() {
        if std::env::var_os(LOSE).is_some() {
            lose(descriptor);
        }
        // SAFETY: the address of errno is always valid for this thread.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    // SAFETY: both calls take one descriptor and nothing else.
    unsafe { libc::syscall(call, descriptor) as c_int }
}

fn lose(descriptor: c_int) {
    let last = LAST.lock().ok().and_then(|mut last| last.take());
    if let Some((offset, length)) = last {
        let zeros = vec![0_u8; length];
        // SAFETY: the buffer lives beyond the call and is as long as is said.
        unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, zeros.as_ptr(), length, offset) };
    }
}

/// Takes the place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fsync)
}

/// Takes the place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fdatasync)
}

/// Takes the place of the C library's, to know what a failing sync would lose.
///
/// # Safety
/// As of the C library's: `buffer` holds at least `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    descriptor: c_int,
    buffer: *const c_void,
    length: size_t,
    offset: off64_t,
) -> ssize_t {
    if is_it(descriptor)
        && let Ok(mut last) = LAST.lock()
    {
        *last = Some((offset, length));
    }
    // SAFETY: the caller's buffer, as the caller says.
    unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, buffer, length, offset) as ssize_t }
}
