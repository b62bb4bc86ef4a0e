//! Calls of clients by method and by gRPC code.

use super::Counter;

/// The names of gRPC's codes, by their number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What is called that is none of ours.
const OTHER: &str = "other";
const UNKNOWN: usize = 2;

/// A method that is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(usize);

/// The counts. Their number is fixed, whatever clients call.
#[derive(Debug)]
pub struct Requests {
    methods: Vec<(&'static str, [Counter; CODES.len()])>,
}

impl Requests {
    pub(super) fn new(methods: impl IntoIterator<Item = &'static str>) -> Self {
        let methods = methods.into_iter().chain([OTHER]);
        let methods = methods.map(|method| (method, Default::default()));
        Self {
            methods: methods.collect(),
        }
    }

    /// The method of a path such as `/highwater.v1.LogService/Fetch`.
    pub fn method(&self, path: &str) -> Method {
        let is_called = |name: &str| {
            let service = path.strip_suffix(name);
            service.is_some_and(|before| before.ends_with('.'))
        };
        let found = self.methods.iter().position(|(name, _)| is_called(name));
        Method(found.unwrap_or(self.methods.len() - 1))
    }

    /// Counts a call that was answered with this code.
    pub fn count(&self, method: Method, code: usize) {
        let code = if code < CODES.len() { code } else { UNKNOWN };
        self.methods[method.0].1[code].add(1);
    }

    /// Method, code and count of every call there was.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.methods.iter().flat_map(|(method, counts)| {
            let counts = counts.iter().map(Counter::get).zip(CODES);
            let some = counts.filter(|(count, _)| *count > 0);
            some.map(move |(count, code)| (*method, code, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let requests = Requests::new(["LogService/Fetch", "LogService/Produce"]);
        for (path, code) in [
            ("/highwater.v1.LogService/Fetch", 0),
            ("/highwater.v1.LogService/Fetch", 0),
            ("/highwater.v1.LogService/Produce", 14),
            ("/grpc.health.v1.Health/Check", 0),
            ("LogService/Fetch", 99),
            ("", 0),
        ] {
            requests.count(requests.method(path), code);
        }
        let counted: Vec<_> = requests.counted().collect();
        assert_eq!(
            counted,
            [
                ("LogService/Fetch", "OK", 2),
                ("LogService/Produce", "UNAVAILABLE", 1),
                ("other", "OK", 2),
                ("other", "UNKNOWN", 1),
            ]
        );
    }
}
