//! Every kind of breaking change is found, additions are none, and every rule of names is checked.

use super::*;

const BEFORE: &str = r#"
syntax = "proto3";
package highwater.v1;
option go_package = "highwater/v1";
// A service.
service LogService {
  // A call.
  rpc Read(ReadRequest) returns (stream ReadResponse);
  // Another.
  rpc Write(WriteRequest) returns (WriteResponse);
  // A third.
  rpc Look(LookRequest) returns (LookResponse) { option idempotency_level = NO_SIDE_EFFECTS; }
}
// A message.
message ReadRequest {
  reserved 9, 20 to 22, 100 to max;
  reserved "former";
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
  // Not called so in JSON.
  int64 other_one = 6 [json_name = "second"];
}
// An answer.
message ReadResponse {}
// A message.
message WriteRequest {}
// An answer.
message WriteResponse {}
// A message.
message LookRequest {}
// An answer.
message LookResponse {}
// A kind.
enum Kind {
  reserved 9, 20 to 22, 100 to max;
  reserved "KIND_FORMER";
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
        "name = 7;",
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
        "name = 1;",
        "name = 1 [json_name = \"title\"];",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        " [json_name = \"second\"]",
        "",
        "field highwater.v1.ReadRequest 6 other_one int64 json_name=second",
    ),
    (
        "one = 3;",
        "one = 3 [jstype = JS_STRING];",
        "field highwater.v1.ReadRequest 3 one oneof what int64",
    ),
    (
        "name = 1;",
        "name = 1 [ctype = CORD];",
        "field highwater.v1.ReadRequest 1 name string",
    ),
    (
        "reserved 9, 20 to 22, 100 to max;\n  reserved \"former\";",
        "reserved 20 to 22, 100 to max;\n  reserved \"former\";",
        "reserved highwater.v1.ReadRequest number 9",
    ),
    (
        "20 to 22, 100 to max;\n  reserved \"former\";",
        "20 to 21, 100 to max;\n  reserved \"former\";",
        "reserved highwater.v1.ReadRequest number 22",
    ),
    (
        "100 to max;\n  reserved \"former\";",
        "100;\n  reserved \"former\";",
        "reserved highwater.v1.ReadRequest number 100 to max",
    ),
    (
        "reserved \"former\";",
        "",
        "reserved highwater.v1.ReadRequest name former",
    ),
    (
        "20 to 22, 100 to max;\n  reserved \"KIND_FORMER\";",
        "20 to 21, 100 to max;\n  reserved \"KIND_FORMER\";",
        "reserved highwater.v1.Kind number 22",
    ),
    (
        "100 to max;\n  reserved \"KIND_FORMER\";",
        "100;\n  reserved \"KIND_FORMER\";",
        "reserved highwater.v1.Kind number 100 to max",
    ),
    (
        "reserved \"KIND_FORMER\";",
        "",
        "reserved highwater.v1.Kind name KIND_FORMER",
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
    (
        " option idempotency_level = NO_SIDE_EFFECTS; ",
        "",
        "rpc highwater.v1.LogService.Look .highwater.v1.LookRequest returns .highwater.v1.LookResponse NO_SIDE_EFFECTS",
    ),
    (
        "(WriteResponse);",
        "(WriteResponse) { option idempotency_level = IDEMPOTENT; }",
        "rpc highwater.v1.LogService.Write .highwater.v1.WriteRequest returns .highwater.v1.WriteResponse",
    ),
];

/// Options of a file: that one comes breaks what was generated without it.
const OPTIONS: &[&str] = &[
    "java_package = \"org.highwater\"",
    "java_outer_classname = \"Log\"",
    "java_multiple_files = true",
    "java_string_check_utf8 = true",
    "java_generic_services = true",
    "cc_generic_services = true",
    "py_generic_services = true",
    "cc_enable_arenas = false",
    "optimize_for = CODE_SIZE",
    "objc_class_prefix = \"HW\"",
    "csharp_namespace = \"Highwater\"",
    "swift_prefix = \"HW\"",
    "php_class_prefix = \"HW\"",
    "php_namespace = \"Highwater\"",
    "php_metadata_namespace = \"Highwater\"",
    "ruby_package = \"Highwater\"",
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
fn an_option_that_changes_generated_code_is_found() {
    let before = "option go_package = \"highwater/v1\";";
    let promised = "options highwater/v1/log.proto syntax=proto3 go_package=highwater/v1";
    assert_eq!(breaks(before, ""), [promised]);
    assert_eq!(breaks("highwater/v1\"", "highwater/v2\""), [promised]);
    for option in OPTIONS {
        let both = format!("{before} option {option};");
        assert_eq!(breaks(before, &both), [promised], "{option}");
    }
    let syntax = compile("syntax = \"proto2\"; package highwater.v1;");
    let empty = compile("syntax = \"proto3\"; package highwater.v1;");
    let broken = broken(&promises(&empty), &promises(&syntax));
    assert_eq!(broken, ["options highwater/v1/log.proto syntax=proto3"]);
}

#[test]
fn additions_break_nothing() {
    for (from, to) in [
        ("string name = 1;", "string name = 1; int32 more = 7;"),
        (
            "string name = 1;",
            "string name = 1 [json_name = \"name\"];",
        ),
        ("string name = 1;", "string name = 1 [deprecated = true];"),
        ("KIND_SOME = 1;", "KIND_SOME = 1; KIND_MORE = 2;"),
        (
            "message ReadResponse {}",
            "message ReadResponse {} message More {}",
        ),
        (
            "rpc Write(",
            "rpc More(WriteRequest) returns (WriteResponse); rpc Write(",
        ),
        ("reserved 9,", "reserved 9, 10,"),
        ("reserved 9, 20 to 22,", "reserved 9, 20, 21 to 23,"),
        (
            "20 to 22, 100 to max;\n  reserved \"KIND",
            "20 to 30, 100 to max;\n  reserved \"KIND",
        ),
        ("int64 two = 4;", "int64 two = 4; int64 three = 8;"),
    ] {
        assert_eq!(breaks(from, to), Vec::<String>::new(), "{from} -> {to}");
    }
}

/// A text, what takes its place, and what is wrong then.
const FAULTS: &[(&str, &str, &str)] = &[
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
    ("// One of two.", "", "ReadRequest.what: has no comment"),
    (
        "oneof what",
        "oneof What",
        "ReadRequest.What: not lower_snake_case",
    ),
    (
        "string name",
        "string the__name",
        "ReadRequest.the__name: not lower_snake_case",
    ),
    (
        "KIND_UNSPECIFIED",
        "KIND_NONE",
        "KIND_NONE: the zero value is not UNSPECIFIED",
    ),
    ("KIND_SOME", "SOME", "SOME: lacks the name of the enum"),
    ("KIND_SOME", "KIND_Some", "KIND_Some: not UPPER_SNAKE_CASE"),
    (
        "KIND_SOME = 1;",
        "KIND_SOME = 1; KIND_ANY = 1; option allow_alias = true;",
        "Kind: has two names for a value",
    ),
    (
        "package highwater.v1;",
        "package highwater.Rest.v1;",
        "highwater.Rest.v1: not lower_snake_case",
    ),
    (
        "syntax = \"proto3\";\npackage highwater.v1;",
        "syntax = \"proto3\";\npackage highwater;",
        "highwater: the package ends in no version",
    ),
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
];

#[test]
fn names_and_comments_are_checked() {
    assert_eq!(lint(&compile(BEFORE)), Vec::<String>::new());
    for (from, to, fault) in FAULTS {
        let faults = lint(&compile(&BEFORE.replacen(from, to, 1)));
        let expected = format!("highwater/v1/log.proto: {fault}");
        assert!(faults.contains(&expected), "{from} -> {to}: {faults:?}");
    }
    let proto2 = lint(&compile("syntax = \"proto2\"; package highwater.v1;"));
    assert_eq!(
        proto2,
        ["highwater/v1/log.proto: log.proto: not in the syntax of proto3"]
    );
    let elsewhere = lint(&compile_at("highwater/log.proto", BEFORE));
    assert!(
        elsewhere[0].contains("the folder is not that of the package"),
        "{elsewhere:?}"
    );
}

#[test]
fn an_import_that_nothing_uses_or_that_is_passed_on_is_a_fault() {
    const IMPORT: &str = "import \"google/protobuf/struct.proto\";";
    let package = "package highwater.v1;";
    let with = |import: &str, field: &str| {
        let text = BEFORE.replacen(package, &format!("{package} {import}"), 1);
        let field = format!("{field} name = 1;");
        lint(&compile(&text.replacen("string name = 1;", &field, 1)))
    };
    // Of a message, of an enum, and as the value of a map.
    for used in [
        "google.protobuf.Struct",
        "google.protobuf.NullValue",
        "map<string, google.protobuf.Value>",
    ] {
        assert_eq!(with(IMPORT, used), Vec::<String>::new(), "{used}");
    }
    let file = "highwater/v1/log.proto: google/protobuf/struct.proto";
    let unused = with(IMPORT, "string");
    assert_eq!(unused, [format!("{file}: is imported and not used")]);
    let public = IMPORT.replace("import", "import public");
    let public = with(&public, "google.protobuf.Struct");
    assert_eq!(public, [format!("{file}: is a public or weak import")]);
    let by_a_call = BEFORE
        .replacen(package, &format!("{package} {IMPORT}"), 1)
        .replacen(
            "returns (WriteResponse)",
            "returns (google.protobuf.Value)",
            1,
        );
    let faults = lint(&compile(&by_a_call));
    assert!(
        !faults.iter().any(|fault| fault.contains("is imported")),
        "{faults:?}"
    );
}
