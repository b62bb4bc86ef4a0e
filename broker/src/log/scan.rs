//! PURE. Walking the bytes of one segment file: the frames that are whole and follow each other,
//! and, behind the place where that ends, whatever else was once written there.

use bytes::Bytes;
use highwater_proto::Timestamp;

use super::frame::{ALIGN, FrameFault, HEADER_LEN, MAGIC, Position, RawFrame, Tail, check_unknown};
use super::index::IndexEntry;
use super::segment::{times, verify_body};
use super::segment_header::{FOOTER_MAGIC, Footer, SEGMENT_HEADER, SegmentHeader, u32_at};

/// Where in a frame the generation is.
const GENERATION_AT: usize = 72;
/// How much is skipped at once where nothing was written.
const PAGE: usize = 4096;

/// Why a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the byte where the next file takes over, or at the end of the file.
    Limit,
    /// At the footer of a sealed file.
    Footer,
    /// At bytes that are not the next frame.
    Fault(FrameFault),
}

/// The frames of a file that are whole and in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    /// The byte after the last of them.
    pub(super) end: u32,
    /// The log's state there.
    pub(super) tail: Tail,
    /// The largest record time; `i64::MIN` without records.
    pub(super) max_timestamp: i64,
    /// The append time of the first frame that has one.
    pub(super) began: Option<Timestamp>,
    /// Why no further frame counts.
    pub(super) stop: Stop,
}

/// Walks the frames of a file up to `limit`, checking everything; `see` gets each frame's entry.
pub(super) fn scan(
    bytes: &Bytes,
    header: &SegmentHeader,
    limit: u32,
    see: &mut dyn FnMut(IndexEntry),
) -> Scan {
    let generation = header.generation();
    let mut scan = Scan {
        end: SEGMENT_HEADER,
        tail: header.start(),
        max_timestamp: i64::MIN,
        began: None,
        stop: Stop::Limit,
    };
    let bytes = bytes.slice(..bytes.len().min(limit as usize));
    while (scan.end as usize) < bytes.len() {
        let rest = bytes.slice(scan.end as usize..);
        let frame = match next_frame(&rest, generation, &scan.tail) {
            Ok(frame) => frame,
            Err(fault) => {
                let footer = Footer::decode(&rest, generation);
                let sealed = footer.is_some_and(|footer| Tail::from(footer.last) == scan.tail);
                scan.stop = if sealed {
                    Stop::Footer
                } else {
                    Stop::Fault(fault)
                };
                return scan;
            }
        };
        see(IndexEntry {
            offset: frame.head.base_offset.0,
            index: frame.head.index.0,
            max_before: scan.max_timestamp,
            position: scan.end,
        });
        scan.end += frame.head.frame_len() as u32;
        scan.tail = Tail::from(&frame.head);
        scan.max_timestamp = scan.max_timestamp.max(times(&frame.head));
        scan.began = scan.began.or(frame.head.began());
    }
    scan
}

/// The frame at the first byte, if it is whole and follows `tail`.
pub(super) fn next_frame(
    rest: &Bytes,
    generation: u32,
    tail: &Tail,
) -> Result<RawFrame, FrameFault> {
    let frame = RawFrame::parse(rest, generation)?;
    let body = rest.slice(frame.body_start..frame.body_start + frame.head.body_len as usize);
    if frame.head.frame_len() > rest.len() as u64 {
        return Err(FrameFault::Cut);
    }
    frame.follows(tail, &body)?;
    verify_body(&frame.head, &body)?;
    Ok(frame)
}

/// What the headers of frames in a file prove, whether the frames follow each other or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The highest position that some frame says was durable when it was written.
    pub(super) durable: Position,
    /// The byte after the last frame whose header is whole.
    pub(super) written_end: u32,
}

/// Looks for whole frame headers from the first frame's place on, skipping what is not one, until
/// `reach` bytes held none: no write can have gone further beyond the last one that is durable.
/// Without a generation a frame of any will do. Whatever a scan of the file looks at later is no
/// further than the last place that `look` was called with.
pub(super) fn evidence<E>(
    bytes: &[u8],
    number: u32,
    generation: Option<u32>,
    reach: u64,
    look: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<Evidence, E> {
    let mut found = Evidence {
        durable: Position::default(),
        written_end: SEGMENT_HEADER,
    };
    let mut at = SEGMENT_HEADER as usize;
    let reach = usize::try_from(reach)
        .unwrap_or(usize::MAX)
        .saturating_add(HEADER_LEN);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_LEN) {
        if at - found.written_end as usize > reach {
            break;
        }
        look(at)?;
        let frame = if begins_frame(rest, generation) {
            RawFrame::parse_any(rest).ok().map(|(frame, _)| frame)
        } else {
            None
        };
        // A frame cannot know of anything durable behind itself: that is a payload posing as one.
        let here = Position {
            file: number,
            byte: at as u32,
        };
        match frame.filter(|frame| frame.durable <= here) {
            Some(frame) => {
                found.durable = found.durable.max(frame.durable);
                at += frame.head.frame_len() as usize;
                found.written_end = at.min(bytes.len()) as u32;
            }
            None if at.is_multiple_of(PAGE) && is_zero(&rest[..rest.len().min(PAGE)]) => at += PAGE,
            None => at += ALIGN,
        }
    }
    look(at.min(bytes.len()))?;
    Ok(found)
}

/// All of it is looked at: that is faster than to stop at the first byte that is not zero.
fn is_zero(chunk: &[u8]) -> bool {
    chunk.iter().fold(0, |any, byte| any | byte) == 0
}

/// Whether the bytes begin as a frame of this generation does, or of any without one.
fn begins_frame(rest: &[u8], generation: Option<u32>) -> bool {
    rest.starts_with(&MAGIC)
        && generation.is_none_or(|generation| holds(rest, GENERATION_AT, generation))
}

fn holds(bytes: &[u8], at: usize, number: u32) -> bool {
    bytes.len() >= at + 4 && u32_at(bytes, at) == number
}

/// The first frame behind `at` whose header is whole, and its place.
pub(super) fn first_behind(
    bytes: &[u8],
    number: u32,
    generation: u32,
    at: u32,
) -> Option<(u32, RawFrame)> {
    let places = (at as usize..bytes.len()).step_by(ALIGN).skip(1);
    let mut found = places.filter_map(|at| {
        let rest = bytes.get(at..)?;
        if !begins_frame(rest, Some(generation)) {
            return None;
        }
        let here = Position {
            file: number,
            byte: at as u32,
        };
        let frame = RawFrame::parse(rest, generation).ok();
        let frame = frame.filter(|frame| frame.durable <= here)?;
        Some((here.byte, frame))
    });
    found.next()
}

/// Whether nothing was written in the `reach` bytes after `end`. In a file that was used before
/// there may be anything of earlier uses: nothing was written where the generation of this use stands
/// at no place where a frame or a footer has it, whole or torn. What is left of a frame without its
/// generation can never be read.
pub(super) fn nothing_after(bytes: &[u8], header: &SegmentHeader, end: u32, reach: u64) -> bool {
    let start = end as usize;
    let until = start.saturating_add(usize::try_from(reach).unwrap_or(usize::MAX));
    let until = until.min(bytes.len());
    if !header.reused {
        let rest = bytes.get(start..until).unwrap_or_default();
        return rest.chunks(PAGE).all(is_zero);
    }
    let generation = header.generation();
    let mut places = (start..until).step_by(ALIGN);
    !places.any(|at| {
        let rest = &bytes[at..];
        let footer = rest.starts_with(&FOOTER_MAGIC) && holds(rest, 52, generation);
        footer || holds(rest, GENERATION_AT, generation)
    })
}

/// Whether the frame at the first byte is whole and of a version or kind this broker cannot read.
/// One of an earlier use of the file is nothing to it.
pub(super) fn unknown_frame(rest: &[u8], header: &SegmentHeader, fault: FrameFault) -> bool {
    let is_ours = !header.reused || holds(rest, GENERATION_AT, header.generation());
    matches!(fault, FrameFault::Head(_)) && is_ours && check_unknown(rest)
}
