//! PURE. What a file imports, and what it names of that.

use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// The imports of a file that nothing in it uses. Public imports pass names on and are not counted.
pub(super) fn unused<'a>(set: &FileDescriptorSet, file: &'a FileDescriptorProto) -> Vec<&'a str> {
    let named = named(file);
    let used = |import: &str| {
        let imported = set.file.iter().find(|file| file.name() == import);
        imported.is_none_or(|imported| declared(imported).iter().any(|name| named.contains(name)))
    };
    let imports = file.dependency.iter().map(String::as_str);
    imports.filter(|import| !used(import)).collect()
}

/// The types that the file's fields and calls have.
fn named(file: &FileDescriptorProto) -> Vec<String> {
    let mut named = Vec::new();
    for message in &file.message_type {
        name_fields(message, &mut named);
    }
    let methods = file.service.iter().flat_map(|service| &service.method);
    for method in methods {
        named.extend([
            method.input_type().to_owned(),
            method.output_type().to_owned(),
        ]);
    }
    named
}

fn name_fields(message: &DescriptorProto, named: &mut Vec<String>) {
    named.extend(
        message
            .field
            .iter()
            .map(|field| field.type_name().to_owned()),
    );
    for nested in &message.nested_type {
        name_fields(nested, named);
    }
}

/// The types that the file declares, named as fields name them.
fn declared(file: &FileDescriptorProto) -> Vec<String> {
    let package = format!(".{}", file.package());
    let mut declared = Vec::new();
    for message in &file.message_type {
        declare(&package, message, &mut declared);
    }
    let enums = file.enum_type.iter();
    declared.extend(enums.map(|one| format!("{package}.{}", one.name())));
    declared
}

fn declare(within: &str, message: &DescriptorProto, declared: &mut Vec<String>) {
    let name = format!("{within}.{}", message.name());
    for nested in &message.nested_type {
        declare(&name, nested, declared);
    }
    let enums = message.enum_type.iter();
    declared.extend(enums.map(|one| format!("{name}.{}", one.name())));
    declared.push(name);
}
