//! The rules that the PINs of a room obey, by whatever way they were set.

/// Length of the longest PIN.
const LONGEST: usize = 20;

/// The faulty fields, with messages. Empty PINs are none.
pub(super) fn faults(pin: &str, guest_pin: &str, allow_guests: bool, least: usize) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    for (field, pin) in [("pin", pin), ("guest_pin", guest_pin)] {
        if pin.is_empty() {
            continue;
        }
        let digits = pin.strip_suffix('#').unwrap_or(pin);
        if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
            faults.push((field, "PINs may only contain digits, with an optional trailing #.".to_owned()));
        }
        if pin.len() < least || pin.len() > LONGEST {
            let message = format!("PINs must be between {least} and {LONGEST} digits long, including any terminal #.");
            faults.push((field, message));
        }
    }
    let mut of_all = |message: &str| faults.push(("__all__", message.to_owned()));
    if allow_guests && pin.is_empty() {
        of_all("If guests are allowed you must specify a host PIN.");
    }
    if !allow_guests && !guest_pin.is_empty() {
        of_all("A guest PIN requires that guests are allowed.");
    }
    if pin.is_empty() || guest_pin.is_empty() {
        return faults;
    }
    if pin == guest_pin {
        of_all("Host and guest PINs must be different.");
    }
    let ends = (pin.ends_with('#'), guest_pin.ends_with('#'));
    if ends.0 != ends.1 || (ends == (false, false) && pin.len() != guest_pin.len()) {
        of_all("Host and guest PINs must have the same number of digits, or both must end with #.");
    }
    faults
}
