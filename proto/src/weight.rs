//! PURE. What a message will take in memory, told from its bytes before it is decoded.
//!
//! A record of two bytes takes more than a hundred when it is decoded, and a message of 4 MiB can hold
//! two million of them. So what clients send is weighed first, and what would take too much is refused
//! before anything is allocated for it.

use crate::pb::v1;

/// The most memory that a request of a client may take beside its texts and bytes.
pub(crate) const MAX_WEIGHT: usize = 32 << 20;

/// How deep prost decodes messages within messages.
const MAX_DEPTH: usize = 100;
/// What a list takes that has one element: it begins with room for so many.
const LIST: usize = 4;
/// The same for a sorted map.
const SORTED: usize = 12;
/// What an element takes elsewhere, such as for its text.
const HEAP: usize = 16;

/// A field that holds messages or texts.
#[derive(Debug)]
pub(crate) struct Field {
    number: u64,
    /// The bytes of each in memory; 0 for one that lies within the message around it.
    size: usize,
    /// For how many there is room at least.
    least: usize,
    /// Those of the messages that it holds.
    fields: &'static [Self],
}

const fn list(number: u64, size: usize, fields: &'static [Field]) -> Field {
    Field {
        number,
        size,
        least: LIST,
        fields,
    }
}

const fn within(number: u64, fields: &'static [Field]) -> Field {
    Field {
        number,
        size: 0,
        least: 0,
        fields,
    }
}

static PRODUCE: [Field; 1] = [list(4, size_of::<v1::Record>(), &RECORD)];
static RECORD: [Field; 2] = [within(7, &VALUE), list(8, size_of::<v1::Header>(), &[])];
// google.protobuf.Value, Struct and ListValue.
static VALUE: [Field; 2] = [within(5, &STRUCT), within(6, &VALUES)];
static VALUES: [Field; 1] = [list(1, size_of::<prost_types::Value>(), &VALUE)];
static STRUCT: [Field; 1] = [Field {
    number: 1,
    size: size_of::<(String, prost_types::Value)>(),
    least: SORTED,
    fields: &MEMBER,
}];
static MEMBER: [Field; 1] = [within(2, &VALUE)];

static NAMES: [Field; 1] = [list(1, size_of::<String>(), &[])];
const SETTING: usize = size_of::<(String, String)>();
static CREATE_TOPIC: [Field; 1] = [list(4, SETTING, &[])];
static ALTER_TOPIC: [Field; 2] = [list(2, SETTING, &[]), list(3, size_of::<String>(), &[])];

/// The fields that make a message of this name heavy; `None` where nothing does, or where it comes
/// from a broker.
pub(crate) fn heavy_fields(package: &str, name: &str) -> Option<&'static [Field]> {
    match (package, name) {
        ("highwater.v1", "ProduceRequest") => Some(&PRODUCE),
        ("highwater.v1", "GetMetadataRequest" | "WatchMetadataRequest") => Some(&NAMES),
        ("highwater.v1", "CreateTopicRequest") => Some(&CREATE_TOPIC),
        ("highwater.v1", "AlterTopicRequest") => Some(&ALTER_TOPIC),
        _ => None,
    }
}

/// About what `message` will take in memory beside its texts and bytes. Of one that cannot be decoded,
/// what decoding it takes until that is seen.
pub(crate) fn weight(fields: &[Field], message: &[u8]) -> usize {
    inside(fields, message, MAX_DEPTH)
}

fn inside(fields: &[Field], message: &[u8], depth: usize) -> usize {
    let Some(deeper) = depth.checked_sub(1).filter(|_| !fields.is_empty()) else {
        return 0;
    };
    let mut counts = [0_usize; 2];
    let mut sum = 0_usize;
    let mut rest = Rest(message);
    while let Some((number, content)) = rest.next_content() {
        let found = fields.iter().zip(&mut counts);
        for (field, count) in found.filter(|(field, _)| field.number == number) {
            *count += 1;
            sum = sum.saturating_add(inside(field.fields, content, deeper));
        }
    }
    let lists = fields.iter().zip(counts);
    let lists = lists.filter(|(field, count)| field.size > 0 && *count > 0);
    lists.fold(sum, |sum, (field, count)| {
        // Lists grow to twice what they had.
        let room = count.next_power_of_two().max(field.least);
        let taken = room.saturating_mul(field.size).saturating_add(count * HEAP);
        sum.saturating_add(taken)
    })
}

/// What was not looked at. It takes all that prost takes, or more: what it ends at, prost ends at.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// The next field that has a length, and what it holds.
    fn next_content(&mut self) -> Option<(u64, &'a [u8])> {
        loop {
            let key = self.varint()?;
            match key & 7 {
                0 => {
                    self.varint()?;
                }
                1 => {
                    self.take(8)?;
                }
                2 => {
                    let len = self.varint()?;
                    let content = self.take(usize::try_from(len).ok()?)?;
                    return Some((key >> 3, content));
                }
                // The ends of a group: prost passes over what is between them.
                3 | 4 => {}
                5 => {
                    self.take(4)?;
                }
                _ => return None,
            }
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests;
