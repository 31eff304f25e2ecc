//! The [`headwater_model::Source`] of PostgreSQL.

use async_trait::async_trait;
use headwater_model::file::SourceSection;
use headwater_model::{
    Chunk, ChunkId, ChunkRange, Error, Follow, Position, Result, RetainedLog, SourceFacts, TableName,
};

/// One PostgreSQL database that can be followed.
pub struct Source {}

impl Source {
    pub fn new(_section: &SourceSection) -> Result<Source> {
        Ok(Source {})
    }
}

fn not_yet<T>() -> Result<T> {
    Err(Error::unsupported("not yet"))
}

#[async_trait]
impl headwater_model::Source for Source {
    async fn inspect(&self) -> Result<SourceFacts> {
        not_yet()
    }

    async fn prepare(&self, _tables: &[TableName]) -> Result<()> {
        not_yet()
    }

    async fn follow(&self, _after: Option<&Position>) -> Result<Box<dyn Follow>> {
        not_yet()
    }

    async fn read_chunk(&self, _range: &ChunkRange) -> Result<Chunk> {
        not_yet()
    }

    async fn mark(&self, _chunk: ChunkId) -> Result<()> {
        not_yet()
    }

    async fn release(&self, _upto: &Position) -> Result<()> {
        not_yet()
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        not_yet()
    }

    async fn forget(&self) -> Result<()> {
        not_yet()
    }

    fn notation(&self, position: &Position) -> String {
        format!("{:X}/{:X}", position.sequence >> 32, position.sequence & 0xffff_ffff)
    }
}
