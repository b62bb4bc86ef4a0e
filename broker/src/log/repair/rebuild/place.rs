//! A file that is written anew takes the place of the damaged one, which is kept aside.

use std::io::IoSlice;

use super::{COPY, Kept, Rebuild, SUFFIX};
use crate::log::error::OpenError;
use crate::log::frame::Position;
use crate::log::repair::{QUARANTINE, RepairError, RepairedFile};
use crate::log::segment_header::{FOOTER, Footer, HINT, HINT_AT, encode_hint};

impl Rebuild {
    /// Has the new file take the place of the damaged one, durably, and keeps that.
    pub(in crate::log::repair) fn put_in_place(&mut self) -> Result<RepairedFile, RepairError> {
        self.finish()?;
        for damaged in &self.damaged {
            let kept = self.quarantine(damaged);
            let kept = kept.map_err(OpenError::io("keep", &damaged.name))?;
            self.report.quarantined.get_or_insert(kept);
            if damaged.goes {
                let gone = self.dir.remove(&damaged.name);
                gone.map_err(OpenError::io("remove", &damaged.name))?;
            }
        }
        if self.damaged.iter().any(|damaged| damaged.goes) {
            // Before the new name: beside that they would be strangers.
            let gone = self.dir.sync_dir();
            gone.map_err(OpenError::io("sync", "the log's directory"))?;
        }
        let beside = format!("{}.{SUFFIX}", self.name);
        let renamed = self.dir.rename(&beside, &self.name);
        renamed
            .and_then(|()| self.dir.sync_dir())
            .map_err(OpenError::io("put in place", beside))?;
        Ok(self.report.clone())
    }

    /// Writes what is around the frames, and syncs all of it.
    fn finish(&self) -> Result<(), OpenError> {
        let mut page = self.header.encode();
        let durable = Position {
            file: self.header.number,
            byte: self.position,
        };
        page[HINT_AT..HINT_AT + HINT].copy_from_slice(&encode_hint(durable, self.generation));
        let footer = self
            .tail
            .last()
            .filter(|_| !self.is_newest() && self.has_room_for_a_footer())
            .map(|last| Footer {
                last,
                max_timestamp: self.max_timestamp,
            });
        let write = || {
            if let Some(footer) = footer {
                let footer = footer.encode(self.generation);
                self.new
                    .write_at(&[IoSlice::new(&footer)], u64::from(self.position))?;
            }
            self.new.write_at(&[IoSlice::new(&page)], 0)?;
            self.new.sync_now()
        };
        write().map_err(OpenError::io("write", &self.name))
    }

    fn has_room_for_a_footer(&self) -> bool {
        u64::from(self.position) + u64::from(FOOTER) <= self.header.file_len
    }

    /// Copies the damaged file aside; a copy, so that the file itself is there until the moment it
    /// is replaced.
    fn quarantine(&self, damaged: &Kept) -> std::io::Result<String> {
        let place = self.dir.subdir(QUARANTINE)?;
        let taken = place.list()?;
        let names = (1..).map(|nth: u32| match nth {
            1 => damaged.name.clone(),
            _ => format!("{}.{nth}", damaged.name),
        });
        let name = names.into_iter().find(|name| !taken.contains(name));
        let name = name.unwrap_or_default();
        let copy = place.create(&name, damaged.bytes.len() as u64)?;
        let mut position = 0;
        for chunk in damaged.bytes.chunks(COPY) {
            let chunk = Vec::from(chunk);
            copy.write_at(&[IoSlice::new(&chunk)], position)?;
            position += chunk.len() as u64;
        }
        copy.sync_now()?;
        place.sync_dir()?;
        Ok(format!("{QUARANTINE}/{name}"))
    }
}
