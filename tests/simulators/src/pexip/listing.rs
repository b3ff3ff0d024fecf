//! Lists of the management API: filters, order and pages, as django-tastypie does them.

use serde_json::{Value, json};
use url::form_urlencoded;

use super::refusal::Refusal;

const DEFAULT_LIMIT: usize = 20;

/// A limit of 0 asks for this many.
const MOST: usize = 10_000;

/// An object that can be listed.
pub(super) trait Listed {
    /// Fields that may be filtered by.
    const FILTERABLE: &'static [&'static str];
    /// Those of them that lead to another object, one of whose fields may follow.
    const RELATED: &'static [&'static str];
    /// Fields that may be ordered by.
    const ORDERABLE: &'static [&'static str];

    /// The values of a field as text; relations can have many.
    fn values(&self, field: &str) -> Vec<String>;
}

/// The query of a list, in the order in which it was sent.
pub(super) type Query = Vec<(String, String)>;

/// One page of the objects that match.
pub(super) fn page<'a, T: Listed + 'a>(
    path: &str,
    query: &Query,
    objects: impl Iterator<Item = &'a T>,
    show: impl Fn(&T) -> Value,
) -> Result<Value, Refusal> {
    let filters = filters::<T>(query)?;
    let mut found: Vec<&T> = objects.filter(|object| filters.iter().all(|filter| filter.admits(*object))).collect();
    order(query, &mut found)?;

    let limit = match number(query, "limit", DEFAULT_LIMIT)? {
        0 => MOST,
        limit => limit.min(MOST),
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

#[derive(Debug)]
struct Filter {
    field: String,
    lookup: Lookup,
    wanted: String,
}

#[derive(Clone, Copy, Debug)]
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
    fn admits(&self, object: &impl Listed) -> bool {
        let values = object.values(&self.field);
        values.iter().any(|value| self.matches(value))
    }

    fn matches(&self, value: &str) -> bool {
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

fn filters<T: Listed>(query: &Query) -> Result<Vec<Filter>, Refusal> {
    query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "limit" | "offset" | "order_by" | "format"))
        .map(|(name, wanted)| filter::<T>(name, wanted))
        .collect()
}

/// A parameter is a field, perhaps a field of the related object, perhaps a lookup, joined by two underscores.
fn filter<T: Listed>(name: &str, wanted: &str) -> Result<Filter, Refusal> {
    let mut parts = name.split("__").peekable();
    let mut field = parts.next().unwrap_or_default().to_owned();
    // The real node ignores names that are no field at all, and would then answer every object.
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
        (Some(lookup), None) => Ok(Filter { field, lookup, wanted: wanted.to_owned() }),
        _ => Err(Refusal::Request(format!("'{lookup}' is not an allowed filter on the '{field}' field."))),
    }
}

fn order<T: Listed>(query: &Query, found: &mut [&T]) -> Result<(), Refusal> {
    // The last one sorts first, so that earlier ones weigh more.
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

/// Relative to the host, with all filters of this page.
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
