//! PURE. Names, comments and imports as buf's categories STANDARD and COMMENTS want them. Not looked at are
//! cycles of packages, two calls of one name that share a request, annotations of protovalidate, and whether
//! the files of a package have the same options: they have none.

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

use super::{imports, ours};

// Numbers of fields in descriptor.proto, of which the paths of comments are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const MESSAGE_ONEOF: i32 = 8;
const ENUM_VALUE: i32 = 2;
const SERVICE_METHOD: i32 = 2;

/// What is not named or commented as it should be.
pub fn lint(set: &FileDescriptorSet) -> Vec<String> {
    let mut faults = Vec::new();
    for file in ours(set) {
        let comments = comments(file);
        let unused = imports::unused(set, file);
        let mut lint = Lint {
            file: file.name(),
            comments,
            faults: &mut faults,
        };
        lint.file(file);
        lint.imports(file, &unused);
    }
    faults
}

/// Whether each place has a comment before it.
fn comments(file: &FileDescriptorProto) -> BTreeMap<Vec<i32>, bool> {
    let places = file.source_code_info.iter().flat_map(|info| &info.location);
    places
        .map(|place| {
            let commented = !place.leading_comments().trim().is_empty();
            (place.path.clone(), commented)
        })
        .collect()
}

struct Lint<'a> {
    file: &'a str,
    comments: BTreeMap<Vec<i32>, bool>,
    faults: &'a mut Vec<String>,
}

/// A part of a file: its name and the path of its comment.
struct Part<'a> {
    name: &'a str,
    path: Vec<i32>,
}

impl Part<'_> {
    fn path_of(&self, kind: i32, index: usize) -> Vec<i32> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        [self.path.as_slice(), &[kind, index]].concat()
    }
}

impl Lint<'_> {
    fn check(&mut self, right: bool, name: &str, rule: &str) {
        if !right {
            self.faults.push(format!("{}: {name}: {rule}", self.file));
        }
    }

    fn commented(&mut self, part: &Part<'_>) {
        let commented = self.comments.get(&part.path).copied().unwrap_or(false);
        self.check(commented, part.name, "has no comment");
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let package = file.package();
        let (folder, name) = self.file.rsplit_once('/').unwrap_or(("", self.file));
        let in_place = folder == package.replace('.', "/");
        self.check(in_place, package, "the folder is not that of the package");
        self.check(
            is_snake(name.trim_end_matches(".proto")),
            name,
            "not lower_snake_case",
        );
        let proto3 = file.syntax() == "proto3";
        self.check(proto3, name, "not in the syntax of proto3");
        self.check(
            package.split('.').all(is_snake),
            package,
            "not lower_snake_case",
        );
        let version = package.rsplit('.').next().unwrap_or_default();
        let versioned = version
            .strip_prefix('v')
            .is_some_and(|v| v.parse::<u32>().is_ok());
        self.check(versioned, package, "the package ends in no version");
        let top = Part {
            name: "",
            path: Vec::new(),
        };
        for (at, message) in file.message_type.iter().enumerate() {
            self.message(message, top.path_of(FILE_MESSAGE, at));
        }
        for (at, enumeration) in file.enum_type.iter().enumerate() {
            self.enumeration(enumeration, top.path_of(FILE_ENUM, at));
        }
        for (at, service) in file.service.iter().enumerate() {
            self.service(service, top.path_of(FILE_SERVICE, at));
        }
    }

    fn imports(&mut self, file: &FileDescriptorProto, unused: &[&str]) {
        for import in unused {
            self.check(false, import, "is imported and not used");
        }
        let passed_on = file.public_dependency.iter().chain(&file.weak_dependency);
        for index in passed_on {
            let import = &file.dependency[*index as usize];
            self.check(false, import, "is a public or weak import");
        }
    }

    fn message(&mut self, message: &DescriptorProto, path: Vec<i32>) {
        if message
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
        {
            return;
        }
        let part = Part {
            name: message.name(),
            path,
        };
        self.check(is_pascal(part.name), part.name, "not PascalCase");
        self.commented(&part);
        for (at, field) in message.field.iter().enumerate() {
            let path = part.path_of(MESSAGE_FIELD, at);
            let name = format!("{}.{}", part.name, field.name());
            self.check(is_snake(field.name()), &name, "not lower_snake_case");
            self.commented(&Part { name: &name, path });
        }
        for (at, oneof) in message.oneof_decl.iter().enumerate() {
            // An optional field has a oneof that nobody wrote.
            let path = part.path_of(MESSAGE_ONEOF, at);
            if self.comments.contains_key(&path) {
                let name = format!("{}.{}", part.name, oneof.name());
                self.check(is_snake(oneof.name()), &name, "not lower_snake_case");
                self.commented(&Part { name: &name, path });
            }
        }
        for (at, nested) in message.nested_type.iter().enumerate() {
            self.message(nested, part.path_of(MESSAGE_NESTED, at));
        }
        for (at, nested) in message.enum_type.iter().enumerate() {
            self.enumeration(nested, part.path_of(MESSAGE_ENUM, at));
        }
    }

    fn enumeration(&mut self, enumeration: &EnumDescriptorProto, path: Vec<i32>) {
        let part = Part {
            name: enumeration.name(),
            path,
        };
        self.check(is_pascal(part.name), part.name, "not PascalCase");
        self.commented(&part);
        let options = enumeration.options.as_ref();
        let aliases = options.is_some_and(|options| options.allow_alias());
        self.check(!aliases, part.name, "has two names for a value");
        let prefix = format!("{}_", upper_snake(part.name));
        for (at, value) in enumeration.value.iter().enumerate() {
            let name = value.name();
            self.check(is_upper_snake(name), name, "not UPPER_SNAKE_CASE");
            self.check(
                name.starts_with(&prefix),
                name,
                "lacks the name of the enum",
            );
            let zero = value.number() != 0 || name == format!("{prefix}UNSPECIFIED");
            self.check(zero, name, "the zero value is not UNSPECIFIED");
            let path = part.path_of(ENUM_VALUE, at);
            self.commented(&Part { name, path });
        }
    }

    fn service(&mut self, service: &ServiceDescriptorProto, path: Vec<i32>) {
        let part = Part {
            name: service.name(),
            path,
        };
        let suffixed = is_pascal(part.name) && part.name.ends_with("Service");
        self.check(
            suffixed,
            part.name,
            "not PascalCase with Service at its end",
        );
        self.commented(&part);
        for (at, method) in service.method.iter().enumerate() {
            let (name, path) = (method.name(), part.path_of(SERVICE_METHOD, at));
            let ends = |with: &str| format!(".{name}{with}");
            let standard = method.input_type().ends_with(&ends("Request"))
                && method.output_type().ends_with(&ends("Response"));
            self.check(is_pascal(name), name, "not PascalCase");
            self.check(
                standard,
                name,
                "request and response are not named after it",
            );
            self.commented(&Part { name, path });
        }
    }
}

fn is_snake(name: &str) -> bool {
    is_of_words(name, |c| c.is_ascii_lowercase())
}

fn is_upper_snake(name: &str) -> bool {
    is_of_words(name, |c| c.is_ascii_uppercase())
}

/// Whether the name is of words of these letters, and digits, with one `_` between two words.
fn is_of_words(name: &str, letter: impl Fn(char) -> bool) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| letter(c) || c.is_ascii_digit());
    name.starts_with(&letter) && name.split('_').all(word)
}

fn is_pascal(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(letters)
}

fn upper_snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}
