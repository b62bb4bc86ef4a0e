//! PURE. What the `.proto` files promise, as lines of text: whoever has generated code from them goes
//! on as long as no line goes away. The rules are those of buf's categories FILE and WIRE, as far as files
//! of proto3 can break them: each line on the options of a file says that it is one.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

mod imports;
mod lint;
mod options;
#[cfg(test)]
mod tests;

pub use lint::lint;

/// The packages that are not ours.
const FOREIGN: &str = "google.";

/// The largest number that a field may have.
const MOST_OF_FIELDS: i32 = (1 << 29) - 1;

/// Everything that generated code relies on, one fact a line, in order.
pub fn promises(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for file in ours(set) {
        let mut facts = Facts {
            file: file.name(),
            lines: &mut lines,
        };
        facts.file(file);
    }
    lines
}

/// The promises of `before` that `now` breaks.
pub fn broken(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    before.difference(now).cloned().collect()
}

fn ours(set: &FileDescriptorSet) -> impl Iterator<Item = &FileDescriptorProto> {
    set.file
        .iter()
        .filter(|file| !file.package().starts_with(FOREIGN))
}

struct Facts<'a> {
    file: &'a str,
    lines: &'a mut BTreeSet<String>,
}

impl Facts<'_> {
    fn say(&mut self, fact: String) {
        self.lines.insert(fact);
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let package = file.package();
        self.say(format!("file {} package {package}", self.file));
        self.say(format!("options {}{}", self.file, options::of_file(file)));
        for message in &file.message_type {
            self.message(package, message);
        }
        for enumeration in &file.enum_type {
            self.enumeration(package, enumeration);
        }
        for service in &file.service {
            self.service(package, service);
        }
    }

    fn message(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        self.say(format!("message {name} in {}", self.file));
        for field in &message.field {
            self.field(&name, message, field);
        }
        for range in &message.reserved_range {
            self.reserved(&name, range.start()..=range.end() - 1, MOST_OF_FIELDS);
        }
        for reserved in &message.reserved_name {
            self.say(format!("reserved {name} name {reserved}"));
        }
        for nested in &message.nested_type {
            self.message(&name, nested);
        }
        for nested in &message.enum_type {
            self.enumeration(&name, nested);
        }
    }

    fn field(&mut self, name: &str, message: &DescriptorProto, field: &FieldDescriptorProto) {
        let kind = match field.r#type() {
            Type::Message | Type::Enum | Type::Group => field.type_name().to_owned(),
            scalar => scalar.as_str_name()["TYPE_".len()..].to_lowercase(),
        };
        let how = match (field.label(), field.proto3_optional()) {
            (Label::Repeated, _) => "repeated ".to_owned(),
            (_, true) => "optional ".to_owned(),
            _ => match field.oneof_index {
                Some(index) => format!("oneof {} ", message.oneof_decl[index as usize].name()),
                None => String::new(),
            },
        };
        let options = options::of_field(field);
        let (number, field) = (field.number(), field.name());
        self.say(format!(
            "field {name} {number} {field} {how}{kind}{options}"
        ));
    }

    fn enumeration(&mut self, within: &str, enumeration: &EnumDescriptorProto) {
        let name = format!("{within}.{}", enumeration.name());
        self.say(format!("enum {name} in {}", self.file));
        for value in &enumeration.value {
            self.say(format!("value {name} {} {}", value.number(), value.name()));
        }
        for range in &enumeration.reserved_range {
            self.reserved(&name, range.start()..=range.end(), i32::MAX);
        }
        for reserved in &enumeration.reserved_name {
            self.say(format!("reserved {name} name {reserved}"));
        }
    }

    /// One line a number, so that a range may grow and be divided; one without an end is a line of its own.
    fn reserved(&mut self, name: &str, numbers: RangeInclusive<i32>, most: i32) {
        if *numbers.end() == most {
            let from = numbers.start();
            self.say(format!("reserved {name} number {from} to max"));
            return;
        }
        for number in numbers {
            self.say(format!("reserved {name} number {number}"));
        }
    }

    fn service(&mut self, within: &str, service: &ServiceDescriptorProto) {
        let name = format!("{within}.{}", service.name());
        self.say(format!("service {name} in {}", self.file));
        for method in &service.method {
            self.method(&name, method);
        }
    }

    fn method(&mut self, service: &str, method: &MethodDescriptorProto) {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        self.say(format!(
            "rpc {service}.{} {}{} returns {}{}{}",
            method.name(),
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type(),
            options::of_method(method),
        ));
    }
}
