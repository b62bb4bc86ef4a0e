//! PURE. The options of files, fields and calls that generated code depends on. Each is told only where
//! it is not the default, so that an option which comes changes a line just as one which goes.

use prost_types::field_options::{CType, JsType};
use prost_types::file_options::OptimizeMode;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto};

/// ` syntax=proto3 java_package=…`.
pub(super) fn of_file(file: &FileDescriptorProto) -> String {
    let syntax = format!(" syntax={}", file.syntax());
    let Some(options) = &file.options else {
        return syntax;
    };
    let flags = [
        ("java_multiple_files", options.java_multiple_files()),
        ("java_string_check_utf8", options.java_string_check_utf8()),
        ("cc_generic_services", options.cc_generic_services()),
        ("java_generic_services", options.java_generic_services()),
        ("py_generic_services", options.py_generic_services()),
        ("no_cc_enable_arenas", !options.cc_enable_arenas()),
    ];
    let texts = [
        ("java_package", options.java_package()),
        ("java_outer_classname", options.java_outer_classname()),
        ("go_package", options.go_package()),
        ("objc_class_prefix", options.objc_class_prefix()),
        ("csharp_namespace", options.csharp_namespace()),
        ("swift_prefix", options.swift_prefix()),
        ("php_class_prefix", options.php_class_prefix()),
        ("php_namespace", options.php_namespace()),
        ("php_metadata_namespace", options.php_metadata_namespace()),
        ("ruby_package", options.ruby_package()),
    ];
    let flags = flags.iter().filter(|(_, set)| *set);
    let flags = flags.map(|(name, _)| format!(" {name}"));
    let texts = texts.iter().filter(|(_, text)| !text.is_empty());
    let texts = texts.map(|(name, text)| format!(" {name}={text}"));
    let optimized = match options.optimize_for() {
        OptimizeMode::Speed => None,
        other => Some(format!(" optimize_for={}", other.as_str_name())),
    };
    let all = [syntax].into_iter().chain(flags).chain(texts);
    all.chain(optimized).collect()
}

/// ` json_name=…`, where it is not the one that every tool makes of the field's name.
pub(super) fn of_field(field: &FieldDescriptorProto) -> String {
    let mut told = String::new();
    if field.json_name() != json_name(field.name()) {
        told += &format!(" json_name={}", field.json_name());
    }
    let Some(options) = &field.options else {
        return told;
    };
    if options.jstype() != JsType::JsNormal {
        told += &format!(" jstype={}", options.jstype().as_str_name());
    }
    if options.ctype() != CType::String {
        told += &format!(" ctype={}", options.ctype().as_str_name());
    }
    told
}

/// ` IDEMPOTENT` or ` NO_SIDE_EFFECTS`.
pub(super) fn of_method(method: &MethodDescriptorProto) -> String {
    let options = method.options.as_ref();
    match options.map(|options| options.idempotency_level()) {
        None | Some(IdempotencyLevel::IdempotencyUnknown) => String::new(),
        Some(level) => format!(" {}", level.as_str_name()),
    }
}

/// lowerCamelCase, as the specification of protobuf's JSON makes it.
fn json_name(field: &str) -> String {
    let mut name = String::new();
    let mut capital = false;
    for c in field.chars() {
        if c == '_' {
            capital = true;
            continue;
        }
        name.push(if capital { c.to_ascii_uppercase() } else { c });
        capital = false;
    }
    name
}
