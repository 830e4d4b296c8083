//! Zip archives, whose list of names stands at the end.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zip::result::ZipError;
use zip::{ExtraField, ZipArchive, read::ZipFile};

use super::Fault;
use super::builder::{About, Builder};

const KIND_BITS: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const TARGET_BYTES_MAX: u64 = 4_096;

pub(super) fn unpack(file: File, builder: &mut Builder) -> io::Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(fault)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(fault)?;
        let name = entry.name_raw().to_vec();
        let unix = entry.unix_mode();
        let is_folder = entry.is_dir();
        match unix.map(|mode| mode & KIND_BITS) {
            _ if is_folder => builder.folder(&name, about(&entry, 0o755))?,
            Some(FOLDER) => builder.folder(&name, about(&entry, 0o755))?,
            Some(SYMLINK) => {
                let mut target = Vec::new();
                (&mut entry).take(TARGET_BYTES_MAX).read_to_end(&mut target).map_err(broken)?;
                builder.symlink(&name, &target, &about(&entry, 0o777))?;
            }
            None | Some(0 | FILE) => {
                let about = about(&entry, 0o644);
                builder.stream(&name, &about, &mut Checked(&mut entry))?;
            }
            Some(_) => return Err(Fault::Unsafe.at(&name)),
        }
    }
    Ok(())
}

fn about<R: Read>(entry: &ZipFile<'_, R>, mode: u32) -> About {
    let exact = entry.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time().map(i64::from),
        _ => None,
    });
    let stamped = entry.last_modified().map(|time| {
        let days = days_since_1970(i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
        let hours = days * 24 + i64::from(time.hour());
        (hours * 60 + i64::from(time.minute())) * 60 + i64::from(time.second())
    });
    let permissions = entry.unix_mode().map(|mode| mode & 0o7777).filter(|mode| *mode != 0);
    About {
        mode: permissions.unwrap_or(mode),
        modified: (exact.or(stamped).unwrap_or_default(), 0),
        user: (None, Some(rustix::process::geteuid().as_raw())),
        group: (None, Some(rustix::process::getegid().as_raw())),
        attributes: vec![],
    }
}

/// The civil calendar counted in days; March begins the year, so that the
/// leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A content whose damage shows as such.
struct Checked<'a, R>(&'a mut R);

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(broken)
    }
}

fn broken(cause: io::Error) -> io::Error {
    match cause.kind() {
        io::ErrorKind::Interrupted => cause,
        _ => Fault::Broken.because(cause),
    }
}

fn fault(cause: ZipError) -> io::Error {
    match cause {
        ZipError::Io(cause) => broken(cause),
        ZipError::UnsupportedArchive(why) => Fault::Unknown.because(why),
        other => Fault::Broken.because(other),
    }
}

#[cfg(test)]
mod tests {
    use super::days_since_1970;

    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2024, 2, 29), 19_782);
        assert_eq!(days_since_1970(2026, 11, 21), 20_778);
    }
}
