//! Lists of the management API: filters, order and pages, as in django-tastypie.

use serde_json::{Value, json};
use url::form_urlencoded;

use super::refusal::Refusal;

const DEFAULT_LIMIT: usize = 20;

/// The page size for a limit of 0, and the largest one.
const MAX_LIMIT: usize = 10_000;

/// How lists treat filters about which the vendor's documents leave doubts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FilterRules {
    /// Whether filters by fields that do not exist are ignored, as django-tastypie does. By default they are refused,
    /// so that a misspelt filter fails a test.
    pub(super) ignore_unknown: bool,
    pub(super) in_lookup: InLookup,
}

/// How lists treat the lookup `in`, such as `name__in=a,b`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InLookup {
    /// Objects with one of the values match.
    #[default]
    Supported,
    /// 400.
    Refused,
    /// The filter is dropped: all objects match.
    Ignored,
}

/// An object that can be listed.
pub(super) trait Listed {
    /// Fields that may be filtered by.
    const FILTERABLE: &'static [&'static str];
    /// Filterable relations: a field of the related object may follow.
    const RELATED: &'static [&'static str];
    /// Fields that may be ordered by.
    const ORDERABLE: &'static [&'static str];

    /// The values of a field as text; relations can have many.
    fn values(&self, field: &str) -> Vec<String>;

    /// Whether the resource has this field, filterable or not.
    fn has_field(field: &str) -> bool {
        Self::FILTERABLE.contains(&field) || matches!(field, "id" | "resource_uri")
    }
}

/// The query of a list, in the order of the request.
pub(super) type Query = Vec<(String, String)>;

/// One page of the objects that match.
pub(super) fn page<'a, T: Listed + 'a>(
    path: &str,
    query: &Query,
    rules: FilterRules,
    objects: impl Iterator<Item = &'a T>,
    show: impl Fn(&T) -> Value,
) -> Result<Value, Refusal> {
    let filters = filters::<T>(query, rules)?;
    let mut found: Vec<&T> = objects.filter(|object| filters.iter().all(|filter| filter.matches(*object))).collect();
    order(query, &mut found)?;

    let limit = match number(query, "limit", DEFAULT_LIMIT)? {
        0 => MAX_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let offset = number(query, "offset", 0)?;
    let next = (offset + limit < found.len()).then_some(offset + limit);
    let previous = offset.checked_sub(limit);
    let objects: Vec<_> = found.iter().skip(offset).take(limit).map(|object| show(object)).collect();
    Ok(json!({
        "meta": {
            "limit": limit,
            "next": next.map(|offset| address(path, query, limit, offset)),
            "offset": offset,
            "previous": previous.map(|offset| address(path, query, limit, offset)),
            "total_count": found.len(),
        },
        "objects": objects,
    }))
}

/// The names of which one is asked for, if objects with other names cannot match: with thousands of rooms, a node looks
/// into an index as well.
pub(super) fn names(query: &Query, rules: FilterRules) -> Option<Vec<&str>> {
    query.iter().find_map(|(parameter, wanted)| match parameter.as_str() {
        "name" | "name__exact" => Some(vec![wanted.as_str()]),
        "name__in" if rules.in_lookup == InLookup::Supported => Some(wanted.split(',').collect()),
        _ => None,
    })
}

#[derive(Debug)]
struct Filter {
    field: String,
    lookup: Lookup,
    wanted: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    Exact,
    IgnoringCase,
    Contains,
    ContainsIgnoringCase,
    StartsWith,
    StartsWithIgnoringCase,
    EndsWith,
    EndsWithIgnoringCase,
    In,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Filter {
    fn matches(&self, object: &impl Listed) -> bool {
        let values = object.values(&self.field);
        values.iter().any(|value| self.matches_value(value))
    }

    fn matches_value(&self, value: &str) -> bool {
        let wanted = self.wanted.as_str();
        let lower = || (value.to_lowercase(), wanted.to_lowercase());
        match self.lookup {
            Lookup::Exact => equal(value, wanted),
            Lookup::IgnoringCase => lower().0 == lower().1,
            Lookup::Contains => value.contains(wanted),
            Lookup::ContainsIgnoringCase => lower().0.contains(&lower().1),
            Lookup::StartsWith => value.starts_with(wanted),
            Lookup::StartsWithIgnoringCase => lower().0.starts_with(&lower().1),
            Lookup::EndsWith => value.ends_with(wanted),
            Lookup::EndsWithIgnoringCase => lower().0.ends_with(&lower().1),
            Lookup::In => wanted.split(',').any(|one| equal(value, one)),
            Lookup::Above => compare(value, wanted).is_gt(),
            Lookup::AtLeast => compare(value, wanted).is_ge(),
            Lookup::Below => compare(value, wanted).is_lt(),
            Lookup::AtMost => compare(value, wanted).is_le(),
        }
    }
}

impl Lookup {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "exact" => Self::Exact,
            "iexact" => Self::IgnoringCase,
            "contains" => Self::Contains,
            "icontains" => Self::ContainsIgnoringCase,
            "startswith" => Self::StartsWith,
            "istartswith" => Self::StartsWithIgnoringCase,
            "endswith" => Self::EndsWith,
            "iendswith" => Self::EndsWithIgnoringCase,
            "in" => Self::In,
            "gt" => Self::Above,
            "gte" => Self::AtLeast,
            "lt" => Self::Below,
            "lte" => Self::AtMost,
            _ => return None,
        })
    }
}

fn filters<T: Listed>(query: &Query, rules: FilterRules) -> Result<Vec<Filter>, Refusal> {
    query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "limit" | "offset" | "order_by" | "format"))
        .filter_map(|(name, wanted)| filter::<T>(name, wanted, rules).transpose())
        .collect()
}

/// A parameter is a field, optionally a field of the related object, optionally a lookup, joined by two underscores.
/// `None` for a filter that the node ignores.
fn filter<T: Listed>(name: &str, wanted: &str, rules: FilterRules) -> Result<Option<Filter>, Refusal> {
    let mut parts = name.split("__").peekable();
    let mut field = parts.next().unwrap_or_default().to_owned();
    if rules.ignore_unknown && !T::has_field(&field) {
        return Ok(None);
    }
    if !T::FILTERABLE.contains(&field.as_str()) {
        return Err(Refusal::Request(format!("The '{field}' field does not allow filtering.")));
    }
    if T::RELATED.contains(&field.as_str())
        && let Some(related) = parts.next_if(|part| Lookup::parse(part).is_none())
    {
        field = format!("{field}__{related}");
    }
    let lookup = parts.next().unwrap_or("exact");
    match (Lookup::parse(lookup), parts.next()) {
        (Some(Lookup::In), None) if rules.in_lookup == InLookup::Ignored => Ok(None),
        (Some(lookup), None) if lookup != Lookup::In || rules.in_lookup == InLookup::Supported => {
            Ok(Some(Filter { field, lookup, wanted: wanted.to_owned() }))
        }
        _ => Err(Refusal::Request(format!("'{lookup}' is not an allowed filter on the '{field}' field."))),
    }
}

fn order<T: Listed>(query: &Query, found: &mut [&T]) -> Result<(), Refusal> {
    // Sorting is stable: the most significant key comes last.
    for (_, by) in query.iter().rev().filter(|(name, _)| name == "order_by") {
        let (field, descending) = match by.strip_prefix('-') {
            Some(field) => (field, true),
            None => (by.as_str(), false),
        };
        if !T::ORDERABLE.contains(&field) {
            return Err(Refusal::Request(format!("No matching '{field}' field for ordering on.")));
        }
        found.sort_by_cached_key(|object| object.values(field));
        if descending {
            found.reverse();
        }
    }
    Ok(())
}

fn number(query: &Query, parameter: &str, default: usize) -> Result<usize, Refusal> {
    let Some((_, text)) = query.iter().find(|(name, _)| name == parameter) else {
        return Ok(default);
    };
    text.parse().map_err(|_| {
        Refusal::Request(format!("Invalid {parameter} '{text}' provided. Please provide a positive integer."))
    })
}

/// Address of another page, relative to the host, with the same filters.
fn address(path: &str, query: &Query, limit: usize, offset: usize) -> String {
    let kept = query.iter().filter(|(name, _)| name != "limit" && name != "offset");
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .append_pair("limit", &limit.to_string())
        .append_pair("offset", &offset.to_string())
        .finish();
    format!("{path}?{query}")
}

fn equal(value: &str, wanted: &str) -> bool {
    match (value, wanted) {
        ("true", "True" | "1") | ("false", "False" | "0") => true,
        _ => value == wanted,
    }
}

fn compare(value: &str, wanted: &str) -> std::cmp::Ordering {
    match (value.parse::<i64>(), wanted.parse::<i64>()) {
        (Ok(value), Ok(wanted)) => value.cmp(&wanted),
        _ => value.cmp(wanted),
    }
}
