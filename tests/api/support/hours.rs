use time::OffsetDateTime;

/// `SERVICE_HOURS` that are closed now and open after about so many minutes, for a day at least; and when they open.
pub(crate) fn opening_in(minutes: i64) -> (String, OffsetDateTime) {
    let opening = OffsetDateTime::now_utc() + time::Duration::minutes(minutes);
    let opening = opening.truncate_to_minute();
    let day = |at: OffsetDateTime| at.weekday().to_string()[..3].to_owned();
    let next = day(opening + time::Duration::days(1));
    let hours = format!("UTC {} {:02}:{:02}-24:00 {next} 00:00-24:00", day(opening), opening.hour(), opening.minute());
    (hours, opening)
}

/// `SERVICE_HOURS` that are always open.
pub(crate) const ALWAYS_OPEN: &str = "UTC Mon-Sun 00:00-24:00";
