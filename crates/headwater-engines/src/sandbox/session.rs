//! A command-line client that is fed one transaction after the other, and says when each is committed.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use headwater_model::{Error, Result};

use super::{Writer, failed};

pub(crate) struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    done: u64,
    say: fn(&str) -> String,
}

impl Session {
    /// `client` has to end at the first error; `say` is what makes it print a text.
    pub(crate) fn start(client: &mut Command, say: fn(&str) -> String) -> Result<Session> {
        let program = client.get_program().to_string_lossy().into_owned();
        let mut child = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(format_args!("start {program}"), error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => {
                Ok(Session { child, stdin, stdout: BufReader::new(stdout), done: 0, say })
            }
            _ => Err(Error::bug("a pipe that was asked for is not there")),
        }
    }
}

impl Writer for Session {
    fn commit(&mut self, sql: &str) -> Result<()> {
        let lost = |error| failed("commit in the sandbox", error);
        self.done += 1;
        // It ends at the first error, so the line comes only after a commit.
        let expected = format!("committed {}", self.done);
        let text = format!("BEGIN;\n{sql};\nCOMMIT;\n{}\n", (self.say)(&expected));
        self.stdin.write_all(text.as_bytes()).and_then(|()| self.stdin.flush()).map_err(lost)?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line).map_err(lost)? == 0 {
                return Err(Error::transient("the server has gone away"));
            }
            if line.trim_end() == expected {
                return Ok(());
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
