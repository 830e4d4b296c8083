//! Tar archives as GNU, PAX and ustar write them, read block by block: no
//! crate bounds what a hostile one makes it remember, and none knows files with
//! holes in all their forms.

use std::io::{self, Read};

use super::Fault;
use super::builder::{About, Builder};

const BLOCK: usize = 512;
/// Of names and attributes that come as contents of entries of their own.
const WORDS_BYTES_MAX: u64 = 1024 * 1024;
const PIECES_MAX: usize = 100_000;
/// After the end there may be padding, to the length of a tape's record.
const PADDING_BYTES_MAX: u64 = 64 * 1024 * 1024;
const XATTR: &[u8] = b"SCHILY.xattr.";

type Header = [u8; BLOCK];
type Words = Vec<(Vec<u8>, Vec<u8>)>;

/// What entries before an entry say about it.
#[derive(Debug, Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    words: Words,
}

struct Reader<R> {
    source: R,
    /// Words for all entries that follow.
    global: Words,
}

pub(super) fn unpack(source: impl Read, builder: &mut Builder) -> io::Result<()> {
    let mut reader = Reader { source, global: vec![] };
    let mut ahead = Ahead::default();
    while let Some(header) = reader.header()? {
        let size = number(&header[124..136])?;
        match header[156] {
            b'L' => ahead.name = Some(until_nul(&reader.words_of(size)?).to_vec()),
            b'K' => ahead.target = Some(until_nul(&reader.words_of(size)?).to_vec()),
            b'x' => ahead.words = words(&reader.words_of(size)?)?,
            b'g' => reader.global = words(&reader.words_of(size)?)?,
            _ => reader.entry(&header, size, std::mem::take(&mut ahead), builder)?,
        }
    }
    reader.finish()
}

impl<R: Read> Reader<R> {
    /// None at the archive's end. An archive that just stops was cut short.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = [0; BLOCK];
        self.fill(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
            .sum();
        if number(&header[148..156])? != sum {
            return Err(Fault::Broken.because("a header does not have its checksum"));
        }
        Ok(Some(header))
    }

    fn entry(&mut self, header: &Header, size: u64, ahead: Ahead, builder: &mut Builder) -> io::Result<()> {
        let word = |key: &str| word(&ahead.words, key).or_else(|| word(&self.global, key));
        let mut size = word("size").map(decimal).transpose()?.unwrap_or(size);
        let name = word("path").map(<[u8]>::to_vec).or(ahead.name.clone()).unwrap_or_else(|| name_of(header));
        let target = word("linkpath")
            .map(<[u8]>::to_vec)
            .or(ahead.target.clone())
            .unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
        let about = self.about(header, &ahead)?;
        match header[156] {
            b'0' | 0 | b'7' if name.ends_with(b"/") => builder.folder(&name, about),
            b'0' | 0 | b'7' => {
                let sparse = self.sparse_of_words(&ahead, &mut size)?;
                let (name, bytes, pieces) = match sparse {
                    Some((real, bytes, pieces)) => (real.unwrap_or(name), bytes, pieces),
                    None => (name, size, vec![(0, size)]),
                };
                self.file(&name, &about, size, bytes, &pieces, builder)
            }
            b'S' => {
                let pieces = self.sparse_of_header(header)?;
                self.file(&name, &about, size, number(&header[483..495])?, &pieces, builder)
            }
            b'1' => builder.hard_link(&name, &target),
            b'2' => builder.symlink(&name, &target, &about),
            b'5' => {
                builder.folder(&name, about)?;
                self.skip(padded(size)?)
            }
            // Devices, pipes, pieces of volumes, and what nobody knows.
            _ => Err(Fault::Unsafe.at(&name)),
        }
    }

    fn about(&self, header: &Header, ahead: &Ahead) -> io::Result<About> {
        let word = |key: &str| word(&ahead.words, key).or_else(|| word(&self.global, key));
        let text = |bytes: &[u8]| String::from_utf8(until_nul(bytes).to_vec()).ok();
        let id = |key: &str, at: std::ops::Range<usize>| -> io::Result<Option<u32>> {
            let found = word(key).map(decimal).transpose()?;
            Ok(u32::try_from(found.map_or_else(|| number(&header[at]), Ok)?).ok())
        };
        let modified = match word("mtime") {
            Some(text) => time(text).ok_or_else(|| Fault::Broken.because("a time is no number"))?,
            None => (i64::try_from(number(&header[136..148])?).unwrap_or_default(), 0),
        };
        let attributes = ahead
            .words
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?.to_vec(), value.clone())));
        Ok(About {
            mode: u32::try_from(number(&header[100..108])?).unwrap_or_default() & 0o7777,
            modified,
            user: (word("uname").and_then(text).or_else(|| text(&header[265..297])), id("uid", 108..116)?),
            group: (word("gname").and_then(text).or_else(|| text(&header[297..329])), id("gid", 116..124)?),
            attributes: attributes.collect(),
        })
    }

    /// `size` bytes come, padded to blocks; `pieces` say where they go.
    fn file(
        &mut self,
        name: &[u8],
        about: &About,
        size: u64,
        bytes: u64,
        pieces: &[(u64, u64)],
        builder: &mut Builder,
    ) -> io::Result<()> {
        let mut end = 0;
        let mut sum: u64 = 0;
        for (offset, length) in pieces {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= bytes);
            end = next.ok_or_else(|| Fault::Broken.at(name))?;
            sum += length;
        }
        if sum != size || i64::try_from(bytes).is_err() {
            return Err(Fault::Broken.at(name));
        }
        builder.file(name, about, &mut Checked(&mut self.source), bytes, pieces)?;
        self.skip(padded(size)? - size)
    }

    /// GNU's own form: four pieces in the header, more in blocks behind it.
    fn sparse_of_header(&mut self, header: &Header) -> io::Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        add_pieces(&header[386..482], &mut pieces)?;
        let mut more = header[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            add_pieces(&block[..504], &mut pieces)?;
            more = block[504] != 0;
        }
        Ok(pieces)
    }

    /// PAX form 1.0: the map of pieces is the beginning of the content. Forms
    /// before it are not written any more.
    fn sparse_of_words(&mut self, ahead: &Ahead, size: &mut u64) -> io::Result<Option<Sparse>> {
        let word = |key: &str| word(&ahead.words, key);
        let Some(major) = word("GNU.sparse.major") else {
            return match word("GNU.sparse.size") {
                None => Ok(None),
                Some(_) => Err(Fault::Unknown.because("a file with holes in an old form of PAX")),
            };
        };
        let (Some(bytes), b"1") = (word("GNU.sparse.realsize").map(decimal).transpose()?, major) else {
            return Err(Fault::Unknown.because("a file with holes in an unknown form"));
        };
        let mut numbers = Vec::new();
        let mut wanted = 1;
        let mut open = None;
        while numbers.len() < wanted {
            let mut block = [0; BLOCK];
            *size = size
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| Fault::Broken.because("a map of holes is cut"))?;
            self.fill(&mut block)?;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let number = open.unwrap_or(0_u64).checked_mul(10).and_then(|n| n.checked_add(digit));
                        open = Some(number.ok_or_else(|| Fault::Broken.because("a map of holes is wrong"))?);
                    }
                    b'\n' => numbers.extend(open.take()),
                    _ => {}
                }
            }
            if let Some(count) = numbers.first() {
                wanted = usize::try_from(*count).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1);
            }
            if wanted > 2 * PIECES_MAX {
                return Err(Fault::Unknown.because("a file with too many holes"));
            }
        }
        let pieces = numbers[1..wanted].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(Some((word("GNU.sparse.name").map(<[u8]>::to_vec), bytes, pieces)))
    }

    /// The content of an entry that speaks about others.
    fn words_of(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > WORDS_BYTES_MAX {
            return Err(Fault::Unsafe.because("a name or an attribute is longer than any can be"));
        }
        let mut bytes = vec![0; usize::try_from(padded(size)?).unwrap_or_default()];
        self.fill(&mut bytes)?;
        bytes.truncate(usize::try_from(size).unwrap_or_default());
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        Checked(&mut self.source).read_exact(buffer).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Broken.because("it ends in the middle"),
            _ => cause,
        })
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut Checked(&mut self.source).take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(Fault::Broken.because("it ends in the middle")) }
    }

    /// Reads on, since the checksum of what was compressed stands at its end.
    fn finish(mut self) -> io::Result<()> {
        let rest = io::copy(&mut Checked(&mut self.source).take(PADDING_BYTES_MAX), &mut io::sink())?;
        if rest < PADDING_BYTES_MAX {
            Ok(())
        } else {
            Err(Fault::TooLarge.because("more follows behind its end"))
        }
    }
}

/// The file's own name, its length, and its pieces.
type Sparse = (Option<Vec<u8>>, u64, Vec<(u64, u64)>);

/// A source whose damage shows as such: what decompresses says it in its own ways.
struct Checked<'a, R>(&'a mut R);

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|cause| match cause.kind() {
            io::ErrorKind::Interrupted => cause,
            _ => Fault::Broken.because(cause),
        })
    }
}

fn add_pieces(bytes: &[u8], pieces: &mut Vec<(u64, u64)>) -> io::Result<()> {
    for piece in bytes.chunks_exact(24) {
        if piece[0] == 0 {
            break;
        }
        pieces.push((number(&piece[..12])?, number(&piece[12..])?));
    }
    if pieces.len() > PIECES_MAX {
        return Err(Fault::Unknown.because("a file with too many holes"));
    }
    Ok(())
}

fn name_of(header: &Header) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    // GNU keeps times where ustar has the beginning of the name.
    if prefix.is_empty() || header[257..263] != *b"ustar\0" {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits, or with the highest bit set a number in base 256.
fn number(field: &[u8]) -> io::Result<u64> {
    let wrong = || Fault::Broken.because("a header holds no number where one must stand");
    if field[0] & 0x80 != 0 {
        let first = u64::from(field[0] & 0x7f);
        return field[1..]
            .iter()
            .try_fold(first, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)))
            .ok_or_else(wrong);
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(byte, 0 | b' '));
    let mut sum: u64 = 0;
    for digit in digits {
        let value = matches!(digit, b'0'..=b'7').then(|| u64::from(digit - b'0')).ok_or_else(wrong)?;
        sum = sum.checked_mul(8).ok_or_else(wrong)? + value;
    }
    Ok(sum)
}

fn decimal(text: &[u8]) -> io::Result<u64> {
    str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::Broken.because("a word that must be a number is none"))
}

/// Seconds with a fraction, as PAX writes them.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanoseconds): (i64, u32) = (seconds.parse().ok()?, digits.parse().ok()?);
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| Fault::Broken.because("a length is impossible"))
}

fn word<'w>(words: &'w Words, key: &str) -> Option<&'w [u8]> {
    words.iter().rev().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value.as_slice())
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it and the value may hold anything.
fn words(mut bytes: &[u8]) -> io::Result<Words> {
    let wrong = || Fault::Broken.because("its extended words cannot be read");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = usize::try_from(decimal(&bytes[..space])?).map_err(|_| wrong())?;
        let record = bytes.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        found.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(found)
}
