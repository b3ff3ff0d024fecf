use std::process::{Child, ChildStdout, Command, Stdio};

/// Somebody else's program that tests need beside them, in an empty folder of its own. It ends when this is dropped,
/// and when this process ends, however that ends.
#[derive(Debug)]
pub(crate) struct Companion(Child);

/// Outlives everything but its standard input, then takes the program along. Interrupts are left to the test process.
const WRAPPER: &str = r#"
trap '' INT TERM HUP
scratch=$(mktemp -d) && cd "$scratch" || exit 1
HOME=$scratch "$@" & program=$!
exec >/dev/null 2>&1
read -r _
kill -9 "$program"
wait "$program"
rm -rf "$scratch"
"#;

impl Companion {
    /// Starts `command`, of which program and arguments count. Its output must be read, or it stops at a full pipe;
    /// its errors go where `errors` says.
    pub(crate) fn start(command: &Command, errors: Stdio) -> (Self, ChildStdout) {
        let mut wrapper = Command::new("sh")
            .args(["-c", WRAPPER, "companion"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("a shell");
        let output = wrapper.stdout.take().expect("its output");
        (Self(wrapper), output)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // What the wrapper waits for.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
