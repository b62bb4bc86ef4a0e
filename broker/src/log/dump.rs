//! A segment file in words: its header, a line per frame, and where and why that ends. Looks at the
//! bytes alone, changes nothing, and can be pointed at any file.

use std::io::{self, Write};

use bytes::Bytes;

use super::frame::{FrameFault, FrameKind, Position, RawFrame, Tail};
use super::scan;
use super::segment::verify_body;
use super::segment_header::{
    Footer, HeaderFault, Origin, SEGMENT_HEADER, SEGMENT_MAGIC, SegmentHeader,
};

/// Why there is nothing (more) to print.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file is not one of ours.
    #[error(
        "this is no segment file: it has {len} bytes and does not begin with \"HWSEGMNT\"; segment \
         files are the *.seg files in the directory of a partition"
    )]
    NotASegment {
        /// The size of the file.
        len: usize,
    },
    /// The output could not be written.
    #[error("cannot write the listing: {0}")]
    Output(#[from] io::Error),
}

/// What a listing found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dumped {
    /// How many frames were listed.
    pub frames: u64,
    /// Whether something in the file is not as it was written.
    pub damaged: bool,
}

/// Lists the segment file that has these bytes.
pub fn dump(bytes: &Bytes, out: &mut dyn Write) -> Result<Dumped, DumpError> {
    let header = bytes.get(..SEGMENT_HEADER as usize);
    let blank = header.is_some_and(|header| header.iter().all(|byte| *byte == 0));
    if !bytes.starts_with(&SEGMENT_MAGIC) && !blank {
        return Err(DumpError::NotASegment { len: bytes.len() });
    }
    match SegmentHeader::decode(bytes) {
        Ok(header) => {
            print_header(&header, bytes.len(), out)?;
            print_frames(bytes, &header, out)
        }
        Err(fault) => {
            writeln!(out, "stops at byte 0: {fault}")?;
            Ok(Dumped {
                frames: 0,
                damaged: fault != HeaderFault::Blank,
            })
        }
    }
}

fn print_header(header: &SegmentHeader, len: usize, out: &mut dyn Write) -> io::Result<()> {
    let owner = &header.owner;
    let group: String = owner
        .group
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    writeln!(
        out,
        "segment file {} of replica {}, partition {} of topic {group}, cluster {}",
        header.number, owner.replica, owner.partition, owner.cluster
    )?;
    writeln!(
        out,
        "format 1, generation {:08x}, {} bytes, at most {} of them not synced",
        header.generation(),
        header.file_len,
        header.max_unsynced
    )?;
    if header.file_len != len as u64 {
        writeln!(out, "but the file has {len} bytes")?;
    }
    if header.reused {
        writeln!(
            out,
            "an earlier file was taken for it, whose bytes are behind its frames"
        )?;
    }
    match (header.origin, header.continues) {
        (Origin::First, _) => writeln!(out, "the log begins here")?,
        (Origin::Reset, _) => writeln!(out, "the log begins here, behind a snapshot")?,
        (Origin::Roll, Some(at)) => writeln!(out, "goes on from {}", place(at))?,
        (_, at) => writeln!(
            out,
            "cuts off everything behind {}",
            place(at.unwrap_or_default())
        )?,
    }
    if let Some(last) = header.previous {
        writeln!(
            out,
            "before it: entry {} of term {}, appended at {}, chain {:08x}",
            last.index, last.term, last.append_time, last.chain
        )?;
    }
    writeln!(
        out,
        "first entry {}, first offset {}; durable when it was begun: {}",
        header.first_index,
        header.first_offset,
        place(header.durable)
    )
}

fn place(at: Position) -> String {
    match at {
        Position { file: 0, .. } => "nothing".to_owned(),
        Position { file, byte } => format!("file {file} byte {byte}"),
    }
}

fn print_frames(
    bytes: &Bytes,
    header: &SegmentHeader,
    out: &mut dyn Write,
) -> Result<Dumped, DumpError> {
    writeln!(
        out,
        "\n{:>9} {:<10} {:>6} {:>9} {:>11} {:>7} {:>9} {:>14} {:>8}  {:<20} checks",
        "position",
        "kind",
        "term",
        "index",
        "offset",
        "records",
        "body",
        "appended",
        "chain",
        "durable"
    )?;
    let mut dumped = Dumped::default();
    let mut tail = header.start();
    let mut at = SEGMENT_HEADER;
    while (at as usize) < bytes.len() {
        let rest = bytes.slice(at as usize..);
        let frame = match RawFrame::parse(&rest, header.generation()) {
            Ok(frame) => frame,
            Err(fault) => {
                dumped.damaged |= print_stop(bytes, header, at, &tail, fault, out)?;
                return Ok(dumped);
            }
        };
        dumped.damaged |= !print_frame(&rest, &frame, at, &tail, out)?;
        dumped.frames += 1;
        tail = Tail::from(&frame.head);
        at += frame.head.frame_len() as u32;
    }
    writeln!(out, "stops at byte {at}: the file ends")?;
    Ok(dumped)
}

/// Prints a frame's line; false if its body or its place is wrong.
fn print_frame(
    rest: &Bytes,
    frame: &RawFrame,
    at: u32,
    tail: &Tail,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let head = &frame.head;
    let body = rest.slice(frame.body_start..frame.body_start + head.body_len as usize);
    let checks = verify_body(head, &body).and_then(|()| frame.follows(tail, &body));
    let kind = match head.kind {
        FrameKind::Batch => "batch",
        FrameKind::Command => "command",
        FrameKind::Blank => "blank",
        FrameKind::Membership => "membership",
    };
    let verdict = checks.map_or_else(|fault| fault.to_string(), |()| "ok".to_owned());
    writeln!(
        out,
        "{at:>9} {kind:<10} {:>6} {:>9} {:>11} {:>7} {:>9} {:>14} {:08x}  {:<20} {verdict}",
        head.term.0,
        head.index.0,
        head.base_offset.0,
        head.record_count,
        head.body_len,
        head.append_time.0,
        head.chain,
        place(frame.durable),
    )?;
    Ok(checks.is_ok())
}

/// Says why the frames end; true if that is damage.
fn print_stop(
    bytes: &Bytes,
    header: &SegmentHeader,
    at: u32,
    tail: &Tail,
    fault: FrameFault,
    out: &mut dyn Write,
) -> io::Result<bool> {
    if let Some(footer) = Footer::decode(&bytes[at as usize..], header.generation()) {
        writeln!(
            out,
            "stops at byte {at}: sealed by its footer, which names entry {} and chain {:08x}",
            footer.last.index, footer.last.chain
        )?;
        let fits = Tail::from(footer.last) == *tail;
        if !fits {
            writeln!(out, "but that is not the last frame above")?;
        }
        return Ok(!fits);
    }
    writeln!(out, "stops at byte {at}: {fault}")?;
    let behind = scan::first_behind(bytes, header.number, header.generation(), at);
    if let Some((position, frame)) = behind {
        writeln!(
            out,
            "a whole header follows at byte {position}: entry {} of term {}; it was written when {} \
             was durable",
            frame.head.index,
            frame.head.term,
            place(frame.durable)
        )?;
        let here = Position {
            file: header.number,
            byte: at,
        };
        let verdict = if frame.durable > here {
            "what is between was durable: the file is damaged"
        } else {
            "nothing says that what is between was ever durable: a torn tail"
        };
        writeln!(out, "{verdict}")?;
        return Ok(frame.durable > here);
    }
    if header.reused && scan::nothing_after(bytes, header, at, header.max_unsynced) {
        writeln!(out, "what follows is of an earlier use of the file")?;
        return Ok(false);
    }
    Ok(fault != FrameFault::Blank)
}
