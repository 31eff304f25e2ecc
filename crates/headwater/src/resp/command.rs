//! The commands that are answered, and those that are known to write.

/// What a command is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Get,
    Mget,
    Exists,
    Type,
    Ttl,
    Strlen,
    Hget,
    Hmget,
    Hgetall,
    Hkeys,
    Hvals,
    Hlen,
    Hexists,
    Scan,
    Keys,
    Dbsize,
    Zscore,
    Zmscore,
    Zcard,
    Zcount,
    Zrange,
    Zrevrange,
    Zrangebyscore,
    Zrevrangebyscore,
    Ping,
    Echo,
    Info,
    Time,
    Hello,
    Auth,
    Client,
    Command,
    Config,
    Select,
    Reset,
    Quit,
    Multi,
    Wait,
    Position,
}

#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// In capitals.
    pub name: &'static str,
    /// With the name; negative: at least so many.
    pub arity: i32,
    pub kind: Kind,
    /// Where keys are among the arguments: the first, the last (negative: from the end), how far apart. 0: none.
    pub keys: (i32, i32, i32),
    pub group: &'static str,
    pub summary: &'static str,
}

const NONE: (i32, i32, i32) = (0, 0, 0);
const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);

const fn command(
    name: &'static str,
    arity: i32,
    kind: Kind,
    keys: (i32, i32, i32),
    group: &'static str,
    summary: &'static str,
) -> Command {
    Command { name, arity, kind, keys, group, summary }
}

/// Sorted by name.
pub const COMMANDS: &[Command] = &[
    command("AUTH", -2, Kind::Auth, NONE, "connection", "Shows a token"),
    command("CLIENT", -2, Kind::Client, NONE, "connection", "Names and shows this connection"),
    command("COMMAND", -1, Kind::Command, NONE, "server", "Describes the commands that are answered"),
    command("CONFIG", -2, Kind::Config, NONE, "server", "Has no settings: they are in headwater.toml"),
    command("DBSIZE", 1, Kind::Dbsize, NONE, "server", "Counts the documents of all views"),
    command("ECHO", 2, Kind::Echo, NONE, "connection", "Returns its argument"),
    command("EXISTS", -2, Kind::Exists, ALL, "generic", "Counts the keys that are there"),
    command("GET", 2, Kind::Get, ONE, "string", "Returns a document as JSON"),
    command(
        "HEADWATER.POSITION",
        1,
        Kind::Position,
        NONE,
        "server",
        "Returns the position that the last read showed",
    ),
    command(
        "HEADWATER.WAIT",
        -2,
        Kind::Wait,
        NONE,
        "server",
        "Waits until reads of this connection show a position",
    ),
    command("HELLO", -1, Kind::Hello, NONE, "connection", "Chooses the version of the protocol"),
    command("HEXISTS", 3, Kind::Hexists, ONE, "hash", "Whether a document has a field that is not null"),
    command("HGET", 3, Kind::Hget, ONE, "hash", "Returns a field of a document"),
    command("HGETALL", 2, Kind::Hgetall, ONE, "hash", "Returns all fields of a document"),
    command("HKEYS", 2, Kind::Hkeys, ONE, "hash", "Returns the names of a document's fields"),
    command("HLEN", 2, Kind::Hlen, ONE, "hash", "Counts a document's fields"),
    command("HMGET", -3, Kind::Hmget, ONE, "hash", "Returns fields of a document"),
    command("HVALS", 2, Kind::Hvals, ONE, "hash", "Returns the values of a document's fields"),
    command("INFO", -1, Kind::Info, NONE, "server", "Says what answers here"),
    command("KEYS", 2, Kind::Keys, NONE, "generic", "Is refused: SCAN reads the keys step by step"),
    command(
        "MGET",
        -2,
        Kind::Mget,
        ALL,
        "string",
        "Returns documents as JSON, those of one view as of one moment",
    ),
    command("MULTI", 1, Kind::Multi, NONE, "transactions", "Is refused: there are no transactions"),
    command("PING", -1, Kind::Ping, NONE, "connection", "Answers"),
    command("PTTL", 2, Kind::Ttl, ONE, "generic", "Returns -1: documents do not expire"),
    command("QUIT", -1, Kind::Quit, NONE, "connection", "Ends the connection"),
    command("RESET", 1, Kind::Reset, NONE, "connection", "Makes the connection as if it were new"),
    command("SCAN", -2, Kind::Scan, NONE, "generic", "Returns keys step by step"),
    command("SELECT", 2, Kind::Select, NONE, "connection", "There is database 0 alone"),
    command("STRLEN", 2, Kind::Strlen, ONE, "string", "Returns the length of a document's JSON"),
    command("TIME", 1, Kind::Time, NONE, "server", "Returns the time"),
    command("TTL", 2, Kind::Ttl, ONE, "generic", "Returns -1: documents do not expire"),
    command("TYPE", 2, Kind::Type, ONE, "generic", "Returns the type of a key"),
    command("ZCARD", 2, Kind::Zcard, ONE, "sorted-set", "Counts the members of a ranking"),
    command(
        "ZCOUNT",
        4,
        Kind::Zcount,
        ONE,
        "sorted-set",
        "Counts the members of a ranking between two scores",
    ),
    command("ZMSCORE", -3, Kind::Zmscore, ONE, "sorted-set", "Returns the scores of members of a ranking"),
    command("ZRANGE", -4, Kind::Zrange, ONE, "sorted-set", "Returns members of a ranking in order"),
    command(
        "ZRANGEBYSCORE",
        -4,
        Kind::Zrangebyscore,
        ONE,
        "sorted-set",
        "Returns members of a ranking between two scores",
    ),
    command(
        "ZREVRANGE",
        -4,
        Kind::Zrevrange,
        ONE,
        "sorted-set",
        "Returns members of a ranking, greatest score first",
    ),
    command(
        "ZREVRANGEBYSCORE",
        -4,
        Kind::Zrevrangebyscore,
        ONE,
        "sorted-set",
        "Returns members between two scores, greatest first",
    ),
    command("ZSCORE", 3, Kind::Zscore, ONE, "sorted-set", "Returns the score of a member of a ranking"),
];

/// Commands of Redis that change data: refused with the word where to write. Sorted.
const WRITES: &[&str] = &[
    "APPEND",
    "BITFIELD",
    "BITOP",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "COPY",
    "DECR",
    "DECRBY",
    "DEL",
    "EXPIRE",
    "EXPIREAT",
    "FLUSHALL",
    "FLUSHDB",
    "GEOADD",
    "GETDEL",
    "GETEX",
    "GETSET",
    "HDEL",
    "HEXPIRE",
    "HINCRBY",
    "HINCRBYFLOAT",
    "HMSET",
    "HPERSIST",
    "HSET",
    "HSETEX",
    "HSETNX",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "LINSERT",
    "LMOVE",
    "LMPOP",
    "LPOP",
    "LPUSH",
    "LPUSHX",
    "LREM",
    "LSET",
    "LTRIM",
    "MIGRATE",
    "MOVE",
    "MSET",
    "MSETNX",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PFADD",
    "PFMERGE",
    "PSETEX",
    "RENAME",
    "RENAMENX",
    "RESTORE",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "RPUSHX",
    "SADD",
    "SDIFFSTORE",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SINTERSTORE",
    "SMOVE",
    "SORT",
    "SPOP",
    "SREM",
    "SUNIONSTORE",
    "SWAPDB",
    "UNLINK",
    "XACK",
    "XADD",
    "XAUTOCLAIM",
    "XCLAIM",
    "XDEL",
    "XGROUP",
    "XSETID",
    "XTRIM",
    "ZADD",
    "ZDIFFSTORE",
    "ZINCRBY",
    "ZINTERSTORE",
    "ZMPOP",
    "ZPOPMAX",
    "ZPOPMIN",
    "ZRANGESTORE",
    "ZREM",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "ZUNIONSTORE",
];

/// What a name means.
#[derive(Clone, Copy, Debug)]
pub enum Meant {
    Answered(&'static Command),
    Write,
    Unknown,
}

/// Longer than every name.
const NAME_BYTES_MAX: usize = 24;

pub fn find(name: &[u8]) -> Meant {
    if name.eq_ignore_ascii_case(b"GET") {
        return Meant::Answered(&COMMANDS[GET]);
    }
    let mut capitals = [0; NAME_BYTES_MAX];
    let Some(capitals) = capitals.get_mut(..name.len()) else { return Meant::Unknown };
    capitals.copy_from_slice(name);
    capitals.make_ascii_uppercase();
    let capitals = &*capitals;
    if let Ok(at) = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(capitals)) {
        return Meant::Answered(&COMMANDS[at]);
    }
    match WRITES.binary_search_by(|write| write.as_bytes().cmp(capitals)) {
        Ok(_) => Meant::Write,
        Err(_) => Meant::Unknown,
    }
}

/// The place of the command that is asked most.
const GET: usize = {
    let mut at = 0;
    while !matches!(COMMANDS[at].kind, Kind::Get) {
        at += 1;
    }
    at
};

impl Command {
    pub fn takes(&self, args: usize) -> bool {
        let args = i32::try_from(args).unwrap_or(i32::MAX);
        if self.arity >= 0 { args == self.arity } else { args >= -self.arity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_however_it_is_written() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        assert!(WRITES.is_sorted());
        for command in COMMANDS {
            let lower = command.name.to_ascii_lowercase();
            assert!(matches!(find(lower.as_bytes()), Meant::Answered(found) if found.name == command.name));
            assert!(command.name.len() <= NAME_BYTES_MAX);
        }
        assert!(WRITES.iter().all(|write| matches!(find(write.as_bytes()), Meant::Write)));
        for unknown in ["", "GETT", "ZZZZ", "AN-EXTREMELY-LONG-NAME-OF-A-COMMAND"] {
            assert!(matches!(find(unknown.as_bytes()), Meant::Unknown));
        }
    }

    #[test]
    fn arity_counts_the_name() {
        let takes = |name: &[u8], args| matches!(find(name), Meant::Answered(command) if command.takes(args));
        assert!(takes(b"get", 2) && !takes(b"get", 1) && !takes(b"get", 3));
        assert!(takes(b"mget", 2) && takes(b"mget", 9) && !takes(b"mget", 1));
    }
}
