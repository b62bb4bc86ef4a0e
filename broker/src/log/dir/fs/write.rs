//! Writing parts at a place of a file, in pieces that the kernel takes well.

use std::fs;
use std::io::{self, IoSlice};

use rustix::io::{Errno, pwritev};

/// The kernel takes at most this many parts in one `pwritev`.
const MAX_PARTS: usize = 1024;
/// The most bytes given to the kernel at once. What is written in larger pieces gets page cache
/// folios of megabytes, which virtual machines have often returned to their host: touching
/// them again costs several times the copy. Small syncs of large folios are slow, too.
const WRITE_AT_ONCE: u64 = 64 << 10;

/// Writes all parts, in pieces that end where the file's blocks of [`WRITE_AT_ONCE`] end.
pub(super) fn write_all(
    handle: &fs::File,
    parts: &[IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    let mut rest = parts;
    // How much of the first part is written.
    let mut within = 0;
    let mut piece: Vec<IoSlice<'_>> = Vec::new();
    while !rest.is_empty() {
        let room = WRITE_AT_ONCE - position % WRITE_AT_ONCE;
        gather(rest, within, room, &mut piece);
        if piece.is_empty() {
            return Ok(());
        }
        let written = retry(|| pwritev(handle, &piece, position))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        within += written;
        while let Some(first) = rest.first().filter(|first| first.len() <= within) {
            within -= first.len();
            rest = &rest[1..];
        }
    }
    Ok(())
}

/// Fills `piece` with up to `room` bytes of the parts, without the first `within` bytes.
fn gather<'a>(parts: &'a [IoSlice<'_>], within: usize, room: u64, piece: &mut Vec<IoSlice<'a>>) {
    piece.clear();
    let (mut skip, mut room) = (within, usize::try_from(room).unwrap_or(usize::MAX));
    for part in parts {
        if room == 0 || piece.len() == MAX_PARTS {
            return;
        }
        let bytes = &part[skip..];
        let bytes = &bytes[..bytes.len().min(room)];
        skip = 0;
        room -= bytes.len();
        if !bytes.is_empty() {
            piece.push(IoSlice::new(bytes));
        }
    }
}

fn retry(mut write: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    #[test]
    fn parts_are_written_whole_and_in_order_wherever_pieces_end() {
        let block = WRITE_AT_ONCE as usize;
        let bytes: Vec<u8> = (0..5 * block).map(|at| (at / 7) as u8).collect();
        for lens in [
            &[0, 10, 0, 3 * block, 1, block - 5, 0][..],
            &[block],
            &[0, 0],
            &[],
        ] {
            for position in [0, 1, block - 1, block] {
                let handle = tempfile::tempfile().unwrap();
                let mut rest = &bytes[..];
                let mut parts = Vec::new();
                for len in lens {
                    let (now, later) = rest.split_at(*len);
                    parts.push(IoSlice::new(now));
                    rest = later;
                }
                write_all(&handle, &parts, position as u64).unwrap();
                let mut found = Vec::new();
                (&handle).rewind().unwrap();
                (&handle).read_to_end(&mut found).unwrap();
                let total: usize = lens.iter().sum();
                let start = position.min(found.len());
                assert_eq!(found[start..], bytes[..total], "{lens:?} at {position}");
            }
        }
    }

    #[test]
    fn more_parts_than_the_kernel_takes_are_written_in_pieces() {
        let handle = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3 * MAX_PARTS).map(|at| at as u8).collect();
        let parts: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        write_all(&handle, &parts, 0).unwrap();
        let mut found = Vec::new();
        (&handle).rewind().unwrap();
        (&handle).read_to_end(&mut found).unwrap();
        assert_eq!(found, bytes);
    }
}
