//! Every kind of breaking change is found, additions are none, and every rule of names is checked.

use super::*;

const BEFORE: &str = r#"
syntax = "proto3";
package highwater.v1;
// A service.
service LogService {
  // A call.
  rpc Read(ReadRequest) returns (stream ReadResponse);
  // Another.
  rpc Write(WriteRequest) returns (WriteResponse);
}
// A message.
message ReadRequest {
  reserved 9;
  // A name.
  string name = 1;
  // Perhaps.
  optional int32 at = 2;
  // One of two.
  oneof what {
    // One.
    int64 one = 3;
    // Two.
    int64 two = 4;
  }
  // Many.
  repeated Kind kinds = 5;
}
// An answer.
message ReadResponse {}
// A message.
message WriteRequest {}
// An answer.
message WriteResponse {}
// A kind.
enum Kind {
  // None.
  KIND_UNSPECIFIED = 0;
  // Some.
  KIND_SOME = 1;
}
"#;

/// Compiles `text` as the file `path`; protox is what the workspace compiles its protos with.
fn compile_at(path: &str, text: &str) -> FileDescriptorSet {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    protox::compile([path], [dir.path()]).unwrap()
}

fn compile(text: &str) -> FileDescriptorSet {
    compile_at("highwater/v1/log.proto", text)
}

/// How many promises the text with this replacement breaks.
fn breaks(from: &str, to: &str) -> Vec<String> {
    assert!(BEFORE.contains(from), "{from}");
    let now = compile(&BEFORE.replacen(from, to, 1));
    broken(&promises(&compile(BEFORE)), &promises(&now))
}

/// A text, what takes its place, and the first promise that this breaks.
const BREAKING: &[(&str, &str, &str)] = &[
    (
        "string name = 1;",
        "",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        "name = 1;",
        "name = 6;",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        "string name",
        "bytes name",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        "string name",
        "string title",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        "string name",
        "repeated string name",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        "optional int32",
        "int32",
        "field highwater.v1.ReadRequest 2 at optional int32",
    ),
    (
        "oneof what",
        "oneof which",
        "field highwater.v1.ReadRequest 3 one oneof what int64",
    ),
    (
        "repeated Kind",
        "repeated int32",
        "field highwater.v1.ReadRequest 5 kinds repeated .highwater.v1.Kind",
    ),
    (
        "reserved 9;",
        "",
        "reserved highwater.v1.ReadRequest number 9",
    ),
    ("KIND_SOME = 1;", "", "value highwater.v1.Kind 1 KIND_SOME"),
    (
        "KIND_SOME = 1;",
        "KIND_ANY = 1;",
        "value highwater.v1.Kind 1 KIND_SOME",
    ),
    (
        "rpc Write(WriteRequest) returns (WriteResponse);",
        "",
        "rpc highwater.v1.LogService.Write .highwater.v1.WriteRequest returns .highwater.v1.WriteResponse",
    ),
    (
        "returns (stream ReadResponse)",
        "returns (ReadResponse)",
        "rpc highwater.v1.LogService.Read .highwater.v1.ReadRequest returns stream .highwater.v1.ReadResponse",
    ),
    (
        "(ReadRequest)",
        "(stream ReadRequest)",
        "rpc highwater.v1.LogService.Read .highwater.v1.ReadRequest returns stream .highwater.v1.ReadResponse",
    ),
    (
        "(WriteRequest)",
        "(ReadRequest)",
        "rpc highwater.v1.LogService.Write .highwater.v1.WriteRequest returns .highwater.v1.WriteResponse",
    ),
];

#[test]
fn what_breaks_clients_is_found() {
    for (from, to, first) in BREAKING {
        let broken = breaks(from, to);
        assert_eq!(
            broken.first().map(String::as_str),
            Some(*first),
            "{from} -> {to}"
        );
    }
    let moved = compile_at("highwater/v1/other.proto", BEFORE);
    assert!(!broken(&promises(&compile(BEFORE)), &promises(&moved)).is_empty());
    let package = compile(&BEFORE.replace("highwater.v1;", "highwater.v2;"));
    assert!(!broken(&promises(&compile(BEFORE)), &promises(&package)).is_empty());
}

#[test]
fn additions_break_nothing() {
    for (from, to) in [
        ("string name = 1;", "string name = 1; int32 more = 7;"),
        ("KIND_SOME = 1;", "KIND_SOME = 1; KIND_MORE = 2;"),
        (
            "message ReadResponse {}",
            "message ReadResponse {} message More {}",
        ),
        (
            "rpc Write(",
            "rpc More(WriteRequest) returns (WriteResponse); rpc Write(",
        ),
        ("reserved 9;", "reserved 9, 10;"),
        ("int64 two = 4;", "int64 two = 4; int64 three = 8;"),
    ] {
        assert_eq!(breaks(from, to), Vec::<String>::new(), "{from} -> {to}");
    }
}

#[test]
fn names_and_comments_are_checked() {
    assert_eq!(lint(&compile(BEFORE)), Vec::<String>::new());
    for (from, to, fault) in [
        (
            "string name",
            "string Name",
            "ReadRequest.Name: not lower_snake_case",
        ),
        ("// Perhaps.", "", "ReadRequest.at: has no comment"),
        ("// A kind.", "", "Kind: has no comment"),
        ("// None.", "", "KIND_UNSPECIFIED: has no comment"),
        ("// A call.", "", "Read: has no comment"),
        ("// An answer.", "", "ReadResponse: has no comment"),
        (
            "KIND_UNSPECIFIED",
            "KIND_NONE",
            "KIND_NONE: the zero value is not UNSPECIFIED",
        ),
        ("KIND_SOME", "SOME", "SOME: lacks the name of the enum"),
        (
            "service LogService",
            "service Log",
            "Log: not PascalCase with Service at its end",
        ),
        (
            "rpc Write(",
            "rpc Put(",
            "Put: request and response are not named after it",
        ),
        (
            "message ReadResponse {}",
            "message ReadResponse {}\n// M.\nmessage other {}",
            "other: not PascalCase",
        ),
    ] {
        let faults = lint(&compile(&BEFORE.replacen(from, to, 1)));
        let expected = format!("highwater/v1/log.proto: {fault}");
        assert!(faults.contains(&expected), "{from} -> {to}: {faults:?}");
    }
    let elsewhere = lint(&compile_at("highwater/log.proto", BEFORE));
    assert!(
        elsewhere[0].contains("the folder is not that of the package"),
        "{elsewhere:?}"
    );
}
