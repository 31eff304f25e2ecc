//! Events of the binary log, as far as following needs them: both servers' formats.

use std::io::Read as _;

use headwater_model::{Error, Result, TableName};

use super::cell::{Bytes, torn};
use super::gtid::uuid_text;

pub(super) const QUERY: u8 = 2;
pub(super) const XID: u8 = 16;
pub(super) const TABLE_MAP: u8 = 19;
pub(super) const INCIDENT: u8 = 26;
pub(super) const HEARTBEAT: u8 = 27;
pub(super) const HEARTBEAT_V2: u8 = 41;
pub(super) const GTID: u8 = 33;
pub(super) const ANONYMOUS_GTID: u8 = 34;
pub(super) const XA_PREPARE: u8 = 38;
pub(super) const PARTIAL_UPDATE: u8 = 39;
pub(super) const GTID_TAGGED: u8 = 42;
pub(super) const MARIADB_GTID: u8 = 162;
const MARIADB_QUERY_COMPRESSED: u8 = 165;

/// What one event may unpack to.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsKind {
    Write,
    Update,
    Delete,
}

/// What kind of rows event it is: whether MySQL's version with extra data, and whether packed.
pub(super) fn rows_kind(kind: u8) -> Option<(RowsKind, bool, bool)> {
    Some(match kind {
        23 => (RowsKind::Write, false, false),
        24 => (RowsKind::Update, false, false),
        25 => (RowsKind::Delete, false, false),
        30 => (RowsKind::Write, true, false),
        31 => (RowsKind::Update, true, false),
        32 => (RowsKind::Delete, true, false),
        166 => (RowsKind::Write, false, true),
        167 => (RowsKind::Update, false, true),
        168 => (RowsKind::Delete, false, true),
        _ => return None,
    })
}

/// The start of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    MariaDb { domain: u32, sequence: u64, standalone: bool, prepared_xa: bool },
    MySql { server: String, number: u64 },
}

pub(super) fn mariadb_gtid(data: &[u8]) -> Result<Start> {
    let mut data = Bytes(data);
    let sequence = data.le(8)?;
    let domain = data.le(4)? as u32;
    let flags = data.u8()?;
    Ok(Start::MariaDb { domain, sequence, standalone: flags & 1 != 0, prepared_xa: flags & 64 != 0 })
}

pub(super) fn mysql_gtid(data: &[u8]) -> Result<Start> {
    let mut data = Bytes(data);
    data.u8()?;
    let server: [u8; 16] = data.take(16)?.try_into().map_err(|_| torn())?;
    Ok(Start::MySql { server: uuid_text(&server), number: data.le(8)? })
}

/// A statement, and the database it was given in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub database: String,
    pub sql: String,
}

pub(super) fn is_query(kind: u8) -> bool {
    kind == QUERY || kind == MARIADB_QUERY_COMPRESSED
}

pub(super) fn query(kind: u8, data: &[u8]) -> Result<Query> {
    let mut data = Bytes(data);
    data.take(8)?;
    let database = usize::from(data.u8()?);
    data.take(2)?;
    let status = data.le(2)? as usize;
    data.take(status)?;
    let database = String::from_utf8_lossy(data.take(database)?).into_owned();
    data.u8()?;
    let sql = match kind {
        MARIADB_QUERY_COMPRESSED => unpacked(data.0)?,
        _ => data.0.to_vec(),
    };
    Ok(Query { database, sql: String::from_utf8_lossy(&sql).into_owned() })
}

/// MariaDB's packed part of an event (`log_bin_compress`): how many bytes tell the length, the length, then zlib's.
pub(super) fn unpacked(data: &[u8]) -> Result<Vec<u8>> {
    let mut data = Bytes(data);
    let head = data.u8()?;
    if head & 0x80 == 0 || head & 0x70 != 0 {
        return Err(Error::corrupt("an event of the binary log is packed in an unknown way"));
    }
    let length = data.be(usize::from(head & 7))? as usize;
    if length > UNPACKED_BYTES_MAX {
        return Err(Error::corrupt("an event of the binary log unpacks to more than it may"));
    }
    let mut out = Vec::new();
    let mut unpacking = flate2::read::ZlibDecoder::new(data.0).take(length as u64 + 1);
    unpacking
        .read_to_end(&mut out)
        .map_err(|e| Error::corrupt("unpack an event of the binary log").with_cause(e))?;
    if out.len() != length {
        return Err(torn());
    }
    Ok(out)
}

/// A column as the log describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MapColumn {
    pub name: Box<str>,
    /// The field type, with `ENUM` and `SET` told apart from the `STRING` they are written as.
    pub kind: u8,
    pub meta: u16,
    pub unsigned: bool,
    /// The collation of a text, or of what an `ENUM` or a `SET` may be.
    pub collation: u64,
    /// The values of an `ENUM` or a `SET`, in the column's character set.
    pub values: Vec<Vec<u8>>,
}

/// The shape of the rows that follow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TableMap {
    pub id: u64,
    pub database: String,
    pub table: TableName,
    pub columns: Vec<MapColumn>,
    pub key: Vec<usize>,
}

pub(super) fn table_id(data: &[u8]) -> Result<u64> {
    Bytes(data).le(6)
}

/// The names alone, which cost little.
pub(super) fn table_name(data: &[u8]) -> Result<(String, String)> {
    let mut data = Bytes(data);
    data.take(8)?;
    let mut name = || -> Result<String> {
        let length = usize::from(data.u8()?);
        let name = String::from_utf8_lossy(data.take(length)?).into_owned();
        data.u8()?;
        Ok(name)
    };
    Ok((name()?, name()?))
}

/// `None` for the columns if the server does not write their names.
pub(super) fn table_map(data: &[u8]) -> Result<Option<TableMap>> {
    let id = table_id(data)?;
    let (database, table) = table_name(data)?;
    let mut data = Bytes(data);
    data.take(8 + 2 + database.len() + 2 + table.len())?;
    let count = data.packed()?;
    let kinds = data.take(count)?.to_vec();
    let metas = data.packed()?;
    let mut metas = Bytes(data.take(metas)?);
    data.take(count.div_ceil(8))?;
    let mut columns = Vec::with_capacity(count);
    for kind in kinds {
        let (kind, meta) = meta(kind, &mut metas)?;
        columns.push(MapColumn {
            name: "".into(),
            kind,
            meta,
            unsigned: false,
            collation: 0,
            values: Vec::new(),
        });
    }
    let mut key = Vec::new();
    let mut named = false;
    while !data.0.is_empty() {
        let field = data.u8()?;
        let length = data.packed()?;
        let mut field_data = Bytes(data.take(length)?);
        let data = &mut field_data;
        match field {
            1 => {
                let numeric = columns.iter_mut().filter(|column| is_numeric(column.kind));
                for (place, column) in numeric.enumerate() {
                    let byte = data.0.get(place / 8).ok_or_else(torn)?;
                    column.unsigned = byte >> (7 - place % 8) & 1 == 1;
                }
            }
            2 => default_charsets(data, &mut columns, is_character)?,
            3 => each_charset(data, &mut columns, is_character)?,
            10 => default_charsets(data, &mut columns, is_choice)?,
            11 => each_charset(data, &mut columns, is_choice)?,
            4 => {
                for column in &mut columns {
                    let length = data.packed()?;
                    column.name = String::from_utf8_lossy(data.take(length)?).into();
                }
                named = true;
            }
            5 | 6 => {
                let wanted = if field == 5 { SET } else { ENUM };
                for column in columns.iter_mut().filter(|column| column.kind == wanted) {
                    for _ in 0..data.packed()? {
                        let length = data.packed()?;
                        column.values.push(data.take(length)?.to_vec());
                    }
                }
            }
            8 | 9 => {
                while !data.0.is_empty() {
                    key.push(data.packed()?);
                    if field == 9 {
                        data.packed()?;
                    }
                }
            }
            _ => {}
        }
    }
    if key.iter().any(|place| *place >= columns.len()) {
        return Err(torn());
    }
    let table = TableName::new(None, &table);
    Ok(named.then_some(TableMap { id, database, table, columns, key }))
}

pub(super) const ENUM: u8 = 247;
pub(super) const SET: u8 = 248;

fn meta(kind: u8, metas: &mut Bytes<'_>) -> Result<(u8, u16)> {
    Ok(match kind {
        // FLOAT, DOUBLE, blobs, geometry, JSON, vectors, and moments with digits: one byte.
        4 | 5 | 17 | 18 | 19 | 242 | 245 | 249..=252 | 255 => (kind, u16::from(metas.u8()?)),
        // VARCHAR, VAR_STRING, BIT.
        15 | 16 | 253 => (kind, metas.le(2)? as u16),
        // NEWDECIMAL: precision, scale.
        246 => (kind, metas.be(2)? as u16),
        // STRING: the real type, and the length, whose upper bits lie in the type, turned around.
        254 => {
            let (first, second) = (metas.u8()?, metas.u8()?);
            match first & 0x30 {
                0x30 => match first {
                    ENUM | SET => (first, u16::from(second)),
                    _ => (254, u16::from(second)),
                },
                upper => (first | 0x30, u16::from(second) | u16::from(upper ^ 0x30) << 4),
            }
        }
        ENUM | SET => (kind, metas.be(2)? as u16 & 0xff),
        _ => (kind, 0),
    })
}

fn is_numeric(kind: u8) -> bool {
    // YEAR too, though it has no sign.
    matches!(kind, 1 | 2 | 3 | 4 | 5 | 8 | 9 | 13 | 246)
}

fn is_character(kind: u8) -> bool {
    // VECTOR too, though it is bytes.
    matches!(kind, 15 | 242 | 249..=254)
}

fn is_choice(kind: u8) -> bool {
    matches!(kind, ENUM | SET)
}

fn default_charsets(data: &mut Bytes<'_>, columns: &mut [MapColumn], which: fn(u8) -> bool) -> Result<()> {
    let default = data.packed()? as u64;
    let mut columns: Vec<&mut MapColumn> = columns.iter_mut().filter(|column| which(column.kind)).collect();
    columns.iter_mut().for_each(|column| column.collation = default);
    while !data.0.is_empty() {
        let place = data.packed()?;
        let collation = data.packed()? as u64;
        columns.get_mut(place).ok_or_else(torn)?.collation = collation;
    }
    Ok(())
}

fn each_charset(data: &mut Bytes<'_>, columns: &mut [MapColumn], which: fn(u8) -> bool) -> Result<()> {
    for column in columns.iter_mut().filter(|column| which(column.kind)) {
        column.collation = data.packed()? as u64;
    }
    Ok(())
}

/// The head of a rows event, and where its rows begin.
pub(super) struct Rows<'a> {
    pub columns: usize,
    /// Which columns are in the image before, and in the one after.
    pub present: Vec<u8>,
    pub present_after: Vec<u8>,
    pub rows: &'a [u8],
}

pub(super) fn rows(data: &[u8], kind: RowsKind, extra: bool) -> Result<Rows<'_>> {
    let mut data = Bytes(data);
    data.take(8)?;
    if extra {
        let length = data.le(2)? as usize;
        data.take(length.checked_sub(2).ok_or_else(torn)?)?;
    }
    let columns = data.packed()?;
    let present = data.take(columns.div_ceil(8))?.to_vec();
    let present_after = match kind {
        RowsKind::Update => data.take(columns.div_ceil(8))?.to_vec(),
        _ => present.clone(),
    };
    Ok(Rows { columns, present, present_after, rows: data.0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn starts_of_transactions_read() {
        // MariaDB: sequence, domain, flags.
        let data = [7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let start = Start::MariaDb { domain: 2, sequence: 7, standalone: true, prepared_xa: false };
        assert_eq!(mariadb_gtid(&data).unwrap(), start);
        // MySQL: flags, the server's uuid, the number; more follows.
        let mut data = vec![0];
        data.extend(0x3e11_fa47_71ca_11e1_9e33_c80a_a942_9562_u128.to_be_bytes());
        data.extend(77u64.to_le_bytes());
        data.extend([2; 17]);
        let start = Start::MySql { server: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(), number: 77 };
        assert_eq!(mysql_gtid(&data).unwrap(), start);
        assert!(mysql_gtid(&data[..20]).is_err());
    }

    #[test]
    fn a_table_map_names_and_types_its_columns() {
        // id INT UNSIGNED, name VARCHAR(10) utf8mb4, kind ENUM('a'); key: id.
        let mut data = vec![9, 0, 0, 0, 0, 0, 1, 0, 3];
        data.extend(b"app\0\x01t\0");
        data.extend([3, 3, 15, 254]);
        data.extend([4, 40, 0, ENUM, 1]);
        data.push(0b110);
        data.extend([1, 1, 0b1000_0000]);
        data.extend([2, 1, 45]);
        data.extend([10, 1, 8]);
        data.extend([4, 13, 2, b'i', b'd', 4, b'n', b'a', b'm', b'e', 4, b'k', b'i', b'n', b'd']);
        data.extend([6, 3, 1, 1, b'a']);
        data.extend([8, 1, 0]);
        let map = table_map(&data).unwrap().unwrap();
        assert_eq!((map.id, map.database.as_str(), &*map.table.name), (9, "app", "t"));
        assert_eq!(map.key, [0]);
        let column = &map.columns[0];
        assert_eq!((&*column.name, column.kind, column.unsigned), ("id", 3, true));
        assert_eq!((map.columns[1].meta, map.columns[1].collation), (40, 45));
        let column = &map.columns[2];
        assert_eq!((column.kind, column.meta, column.collation, column.values.len()), (ENUM, 1, 8, 1));
        // Without names it is of no use.
        assert_eq!(table_map(&data[..26]).unwrap(), None);
        assert!(table_map(&data[..data.len() - 1]).is_err());
    }

    #[test]
    fn packed_events_unpack() {
        use std::io::Write as _;
        let mut packing = flate2::write::ZlibEncoder::new(vec![0x81, 5], flate2::Compression::default());
        packing.write_all(b"hello").unwrap();
        let packed = packing.finish().unwrap();
        assert_eq!(unpacked(&packed).unwrap(), b"hello");
        assert!(unpacked(&[0x81, 6]).is_err());
        assert!(unpacked(&packed[..8]).is_err());
    }
}
