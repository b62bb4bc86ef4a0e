//! HTTP to a broker's port for operators, and the metrics it answers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The status line and the headers.
    pub head: String,
    /// What follows.
    pub body: String,
}

/// Asks `GET path` of the broker whose HTTP address this is.
#[track_caller]
pub fn get(address: &str, path: &str) -> HttpAnswer {
    let mut stream = TcpStream::connect(address).expect("the HTTP port is open");
    stream
        .set_read_timeout(Some(LIMIT))
        .expect("a socket takes a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("a request can be sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the answer comes in time and is text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    HttpAnswer {
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// One look at a broker's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
}

impl Metrics {
    /// Looks at the metrics of the broker whose HTTP address this is; the page must be as the format
    /// demands.
    #[track_caller]
    pub fn of(address: &str) -> Self {
        let answer = get(address, "/metrics");
        assert!(
            answer.head.starts_with("HTTP/1.1 200 OK"),
            "{}",
            answer.head
        );
        let head = answer.head.to_lowercase();
        let text_format =
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(head.contains(text_format), "{head}");
        let page = answer.body.strip_suffix("# EOF\n");
        let page = page.unwrap_or_else(|| panic!("the page has no end:\n{}", answer.body));
        let mut metrics = Self {
            series: BTreeMap::new(),
            types: BTreeMap::new(),
            units: BTreeMap::new(),
        };
        for line in page.lines() {
            metrics.add(line);
        }
        metrics
    }

    #[track_caller]
    fn add(&mut self, line: &str) {
        if let Some(of_type) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of_type.split_once(' ').expect("a type has a name");
            let before = self.types.insert(name.to_owned(), kind.to_owned());
            assert_eq!(before, None, "{name} is there twice");
        } else if let Some(of_unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = of_unit.split_once(' ').expect("a unit has a name");
            let ends = name.strip_suffix(unit).is_some_and(|n| n.ends_with('_'));
            assert!(ends, "{name} does not end with its unit: {unit}");
            let typed = self.types.contains_key(name);
            assert!(typed, "the unit of {name} stands before its type");
            self.units.insert(name.to_owned(), unit.to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a series has a value");
            let value = value
                .parse()
                .unwrap_or_else(|_| panic!("no number: {line}"));
            let before = self.series.insert(series.to_owned(), value);
            assert_eq!(before, None, "{series} is there twice");
        }
    }

    /// The value of a series, with its labels as they are shown.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        let value = self.series.get(series).copied();
        value.unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// The value of a counter without labels.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        self.value(name) as u64
    }

    /// Whether there is such a series.
    pub fn has(&self, series: &str) -> bool {
        self.series.contains_key(series)
    }

    /// The type of a metric.
    pub fn type_of(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }

    /// The unit of a metric, if it has one.
    pub fn unit_of(&self, name: &str) -> Option<&str> {
        self.units.get(name).map(String::as_str)
    }

    /// The names of all metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// What stands in the buckets of a histogram, from the lowest bound up.
    pub fn buckets(&self, name: &str) -> Vec<f64> {
        let prefix = format!("{name}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = self
            .series
            .iter()
            .filter_map(|(series, value)| {
                let bound = series.strip_prefix(&prefix)?.strip_suffix("\"}")?;
                Some((bound.parse().ok()?, *value))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.into_iter().map(|(_, value)| value).collect()
    }
}
