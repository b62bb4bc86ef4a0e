use prost::{Message, Name};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::*;
use crate::pb::v1::record::ValueContent;

fn weight_of<M: Message + Name>(message: &M) -> usize {
    let fields = heavy_fields(M::PACKAGE, M::NAME).unwrap();
    weight(fields, &message.encode_to_vec())
}

fn produce(records: Vec<v1::Record>) -> v1::ProduceRequest {
    v1::ProduceRequest {
        topic: "t".to_owned(),
        records,
        ..v1::ProduceRequest::default()
    }
}

fn json(kind: Kind) -> v1::Record {
    v1::Record {
        value_content: Some(ValueContent::ValueJson(Value { kind: Some(kind) })),
        ..v1::Record::default()
    }
}

#[test]
fn every_kind_of_little_things_is_weighed() {
    const MANY: usize = 1000;
    let record = || v1::Record::default();
    let names = || vec!["a".to_owned(); MANY];
    let header = v1::Record {
        headers: vec![v1::Header::default(); MANY],
        ..record()
    };
    let values = ListValue {
        values: vec![Value::default(); MANY],
    };
    let member = |n: usize| (n.to_string(), Value::default());
    let object = Struct {
        fields: (0..MANY).map(member).collect(),
    };
    let settings = || (0..MANY).map(|n| (n.to_string(), String::new())).collect();
    let create = v1::CreateTopicRequest {
        config: settings(),
        ..v1::CreateTopicRequest::default()
    };
    let set = v1::AlterTopicRequest {
        set: settings(),
        ..v1::AlterTopicRequest::default()
    };
    let unset = v1::AlterTopicRequest {
        unset: names(),
        ..v1::AlterTopicRequest::default()
    };
    let get = v1::GetMetadataRequest { topics: names() };
    let watch = v1::WatchMetadataRequest { topics: names() };
    let text = size_of::<String>();
    let value = size_of::<Value>();
    for (found, each) in [
        (
            weight_of(&produce(vec![record(); MANY])),
            size_of::<v1::Record>(),
        ),
        (weight_of(&produce(vec![header])), size_of::<v1::Header>()),
        (
            weight_of(&produce(vec![json(Kind::ListValue(values))])),
            value,
        ),
        (
            weight_of(&produce(vec![json(Kind::StructValue(object))])),
            text + value,
        ),
        (weight_of(&create), 2 * text),
        (weight_of(&set), 2 * text),
        (weight_of(&unset), text),
        (weight_of(&get), text),
        (weight_of(&watch), text),
    ] {
        let expected = MANY * each..3 * MANY * each;
        assert!(expected.contains(&found), "{found} is not in {expected:?}");
    }
}

/// One element makes a list with room for more, and there may be one in each record.
#[test]
fn a_list_of_one_weighs_what_it_has_room_for() {
    let one = Value {
        kind: Some(Kind::StructValue(Struct {
            fields: [("a".to_owned(), Value::default())].into(),
        })),
    };
    let record = json(Kind::ListValue(ListValue { values: vec![one] }));
    let plain = weight_of(&produce(vec![v1::Record::default()]));
    let weight = weight_of(&produce(vec![record])) - plain;
    let (list, sorted) = (4 * size_of::<Value>(), 11 * size_of::<(String, Value)>());
    assert!(weight >= list + sorted, "{weight}");
}

#[test]
fn texts_and_bytes_weigh_nothing() {
    let large = v1::Record {
        value_content: Some(ValueContent::ValueText("v".repeat(1 << 20))),
        ..v1::Record::default()
    };
    let batch = v1::ProduceRequest {
        batch: vec![0x22; 1 << 20].into(),
        ..v1::ProduceRequest::default()
    };
    assert!(weight_of(&produce(vec![large])) < 1000);
    assert_eq!(weight_of(&batch), 0);
}

/// What comes before the fault was decoded when it is seen.
#[test]
fn what_cannot_be_decoded_is_weighed_up_to_its_fault() {
    let record = [0x22, 0];
    // Behind a group that nobody knows, a number, and eight and four bytes.
    let unknown = [
        &[0x9b, 0x06, 0x9c, 0x06, 0x78, 0xff, 0x01, 0x79][..],
        &[0; 8],
        &[0x7d],
        &[0; 4],
    ]
    .concat();
    let head = [&unknown[..], &record.repeat(100)].concat();
    let whole = weight(&PRODUCE, &head);
    assert!(whole >= 100 * size_of::<v1::Record>(), "{whole}");
    for fault in [&[0xff; 11][..], &[0x22, 0x7f], &[0x26], &[0x22]] {
        let bytes = [&head, fault, &record].concat();
        assert!(v1::ProduceRequest::decode(&bytes[..]).is_err());
        assert_eq!(weight(&PRODUCE, &bytes), whole, "{fault:?}");
    }
}

#[test]
fn lists_in_lists_without_end_are_weighed_as_deep_as_they_are_decoded() {
    let mut value = Vec::new();
    for _ in 0..1_000 {
        for tag in [0x0a, 0x32] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(value.len() as u64, &mut outer);
            outer.append(&mut value);
            value = outer;
        }
    }
    assert!(weight(&VALUE, &value) <= MAX_DEPTH * LIST * (size_of::<Value>() + HEAP));
}
