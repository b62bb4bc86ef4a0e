//! JSON to protobuf and back, as far as the API needs it: texts, numbers, booleans, bytes as text,
//! messages, and lists of these. Field names are those of the descriptor.

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use serde_json::{Map, Value};

use super::Reflected;

pub(super) fn encode(api: &Reflected, of: &DescriptorProto, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().expect("a message is an object") {
        let field = of.field.iter().find(|field| field.name() == name);
        let field = field.unwrap_or_else(|| panic!("{} has no field {name}", of.name()));
        match value {
            Value::Array(items) => items
                .iter()
                .for_each(|item| one(api, field, item, &mut out)),
            single => one(api, field, single, &mut out),
        }
    }
    out
}

fn one(api: &Reflected, field: &FieldDescriptorProto, value: &Value, out: &mut Vec<u8>) {
    let tag = u32::try_from(field.number()).expect("field numbers are positive");
    match field.r#type() {
        Type::Bool => number(tag, u64::from(value.as_bool().expect("a boolean")), out),
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Enum => {
            // A negative number is sent as its two's complement.
            number(tag, value.as_i64().expect("a number").cast_unsigned(), out);
        }
        Type::String | Type::Bytes => {
            delimited(tag, value.as_str().expect("a text").as_bytes(), out)
        }
        Type::Message => {
            delimited(
                tag,
                &encode(api, api.message(field.type_name()), value),
                out,
            );
        }
        other => panic!("fields of type {other:?} are not needed yet"),
    }
}

fn number(tag: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(value, out);
}

fn delimited(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn decode(api: &Reflected, of: &DescriptorProto, bytes: &Bytes) -> Value {
    let mut bytes = bytes.clone();
    let mut object = Map::new();
    while bytes.has_remaining() {
        let (tag, wire) = decode_key(&mut bytes).expect("an answer has fields");
        let number = i32::try_from(tag).expect("field numbers are small");
        let field = of.field.iter().find(|field| field.number() == number);
        let field = field.unwrap_or_else(|| panic!("{} has no field {tag}", of.name()));
        let value = match wire {
            WireType::Varint => {
                let value = decode_varint(&mut bytes).expect("a number is whole");
                match field.r#type() {
                    Type::Bool => Value::from(value != 0),
                    _ => Value::from(value.cast_signed()),
                }
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).expect("a length is whole");
                let part = bytes.split_to(usize::try_from(length).expect("a length is small"));
                match field.r#type() {
                    Type::Message => decode(api, api.message(field.type_name()), &part),
                    _ => Value::from(String::from_utf8_lossy(&part).into_owned()),
                }
            }
            other => panic!("fields of wire type {other:?} are not needed yet"),
        };
        put(&mut object, field, value);
    }
    Value::Object(object)
}

/// Numbers of lists come packed in one field; the API has no such answer that is looked at.
fn put(object: &mut Map<String, Value>, field: &FieldDescriptorProto, value: Value) {
    let name = field.name().to_owned();
    if field.label() != Label::Repeated {
        object.insert(name, value);
        return;
    }
    let list = object
        .entry(name)
        .or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut()
        .expect("a repeated field is a list")
        .push(value);
}
