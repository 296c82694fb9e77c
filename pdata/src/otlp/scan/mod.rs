//! One request, from protobuf bytes to places in the arena. Nothing is copied but numbers.
//!
//! The three requests have the same frame: resources, of which each has scopes, of which each has items.
//! [`Items`] is what differs.

pub(super) mod record;

use std::ops::Range;

use weir_proto::wire::{Reader, bytes, message, varint};

use crate::columns::text::Text;
use crate::decode::result::DecodeError;
use record::{Attribute, Record};

/// What reading gives, beside what is read.
pub(super) type Read = Result<(), DecodeError>;

/// The items of a request's scopes: spans, log records or metrics.
pub(super) trait Items: Default {
    /// The lengths of all vectors.
    type Lengths: Default;

    /// Reads one item behind the others; all of it, or nothing and an error.
    fn read(&mut self, record: &Record<'_>, reader: Reader<'_>, refused: &mut Refused) -> Read;

    /// How much there is now.
    fn lengths(&self) -> Self::Lengths;

    /// Takes out what came after there was as much as this.
    fn truncate(&mut self, to: Self::Lengths);

    /// How many items there are.
    fn len(&self) -> usize;

    /// How many rows these items are.
    fn rows(&self, items: Range<usize>) -> usize {
        items.len()
    }

    /// Reads a row with `read`, or leaves nothing of it behind: see [`Refused::item`].
    #[inline]
    fn read_row(&mut self, refused: &mut Refused, read: impl FnOnce(&mut Self) -> Read) -> Read {
        let before = self.lengths();
        let read = read(self);
        if !refused.item(read)? {
            self.truncate(before);
        }
        Ok(())
    }
}

/// The rows of a request that are left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused {
    pub(super) rows: usize,
    pub(super) first: Option<DecodeError>,
}

impl Refused {
    pub(super) fn add(&mut self, rows: usize, reason: DecodeError) {
        self.rows += rows;
        self.first = self.first.or(Some(reason));
    }

    /// Passes on what makes the whole request unreadable, and notes what concerns one item alone: a text that
    /// is none, and a time that cannot be. `false`: the item is left out.
    fn item(&mut self, read: Read) -> Result<bool, DecodeError> {
        match of_one_item(read)? {
            None => Ok(true),
            Some(reason) => {
                self.add(1, reason);
                Ok(false)
            }
        }
    }
}

/// See [`Refused::item`].
pub(super) fn of_one_item(read: Read) -> Result<Option<DecodeError>, DecodeError> {
    match read {
        Ok(()) => Ok(None),
        Err(reason @ (DecodeError::Utf8 { .. } | DecodeError::Time { .. })) => Ok(Some(reason)),
        Err(other) => Err(other),
    }
}

/// A resource. Ranges are into the vectors of its [`Request`].
#[derive(Clone, Debug, Default)]
pub(super) struct Resource {
    pub(super) attributes: Range<usize>,
    pub(super) dropped: u32,
    pub(super) entities: Range<usize>,
    pub(super) schema_url: Text,
    pub(super) scopes: Range<usize>,
    /// Why its items cannot be used.
    pub(super) refused: Option<DecodeError>,
}

/// A reference to an entity that a resource describes.
#[derive(Clone, Debug, Default)]
pub(super) struct Entity {
    pub(super) schema_url: Text,
    pub(super) kind: Text,
    pub(super) id_keys: Vec<Text>,
    pub(super) description_keys: Vec<Text>,
}

/// An instrumentation scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) name: Text,
    pub(super) version: Text,
    pub(super) attributes: Range<usize>,
    pub(super) dropped: u32,
    pub(super) schema_url: Text,
    pub(super) items: Range<usize>,
    /// Why its items cannot be used.
    pub(super) refused: Option<DecodeError>,
}

/// One request. Reused from record to record, so that its vectors are allocated once.
#[derive(Debug, Default)]
pub(super) struct Request<I> {
    pub(super) resources: Vec<Resource>,
    pub(super) scopes: Vec<Scope>,
    /// Of resources and scopes.
    pub(super) attributes: Vec<Attribute>,
    pub(super) scope_attributes: Vec<Attribute>,
    pub(super) entities: Vec<Entity>,
    pub(super) items: I,
    pub(super) refused: Refused,
}

mod field {
    use super::{bytes, message, varint};

    pub(super) const RESOURCES: u32 = message(1);
    pub(super) const REQUEST: u32 = 1;

    /// Of a resource's frame and of a scope's.
    pub(super) const ABOUT: u32 = message(1);
    pub(super) const CONTENT: u32 = message(2);
    pub(super) const SCHEMA_URL: u32 = bytes(3);
    pub(super) const FRAME: u32 = 3;

    pub(super) const RESOURCE_ATTRIBUTES: u32 = message(1);
    pub(super) const RESOURCE_DROPPED: u32 = varint(2);
    pub(super) const ENTITIES: u32 = message(3);
    pub(super) const RESOURCE: u32 = 3;

    pub(super) const ENTITY_SCHEMA_URL: u32 = bytes(1);
    pub(super) const ENTITY_KIND: u32 = bytes(2);
    pub(super) const ID_KEYS: u32 = bytes(3);
    pub(super) const DESCRIPTION_KEYS: u32 = bytes(4);
    pub(super) const ENTITY: u32 = 4;

    pub(super) const NAME: u32 = bytes(1);
    pub(super) const VERSION: u32 = bytes(2);
    pub(super) const SCOPE_ATTRIBUTES: u32 = message(3);
    pub(super) const SCOPE_DROPPED: u32 = varint(4);
    pub(super) const SCOPE: u32 = 4;
}

impl<I: Items> Request<I> {
    /// Reads the record that lies at `range` of the arena. After an error the content is meaningless.
    pub(super) fn read(&mut self, arena: &[u8], range: Range<usize>) -> Result<(), DecodeError> {
        self.clear();
        let base = range.start;
        let record = Record { bytes: arena.get(range).ok_or(DecodeError::OutOfBounds)?, base };
        let mut reader = Reader::new(record.bytes);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::RESOURCES => self.read_resource_frame(&record, reader.message()?)?,
                other => reader.skip_unknown(other, field::REQUEST)?,
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.resources.clear();
        self.scopes.clear();
        self.attributes.clear();
        self.scope_attributes.clear();
        self.entities.clear();
        self.items.truncate(I::Lengths::default());
        self.refused = Refused::default();
    }

    fn read_resource_frame(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        record.allows("resources", self.resources.len(), 8)?;
        let first = (self.attributes.len(), self.entities.len(), self.scopes.len());
        let mut resource = Resource::default();
        while let Some(tag) = reader.next_tag()? {
            let read = match tag {
                field::ABOUT => self.read_resource(record, reader.message()?, &mut resource),
                field::CONTENT => self.read_scope_frame(record, reader.message()?),
                field::SCHEMA_URL => record.text(&mut reader).map(|url| resource.schema_url = url),
                other => Ok(reader.skip_unknown(other, field::FRAME)?),
            };
            resource.refused = resource.refused.or(of_one_item(read)?);
        }
        resource.attributes = first.0..self.attributes.len();
        resource.entities = first.1..self.entities.len();
        resource.scopes = first.2..self.scopes.len();
        if let Some(reason) = resource.refused {
            let scopes = &self.scopes[resource.scopes.clone()];
            let usable = scopes.iter().filter(|scope| scope.refused.is_none());
            let rows = usable.map(|scope| self.items.rows(scope.items.clone())).sum();
            self.refused.add(rows, reason);
        }
        self.resources.push(resource);
        Ok(())
    }

    fn read_resource(
        &mut self,
        record: &Record<'_>,
        mut reader: Reader<'_>,
        resource: &mut Resource,
    ) -> Read {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::RESOURCE_ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::RESOURCE_DROPPED => resource.dropped = uint32(&mut reader)?,
                field::ENTITIES => {
                    record.allows("entities", self.entities.len(), 64)?;
                    self.entities.push(read_entity(record, reader.message()?)?);
                }
                other => reader.skip_unknown(other, field::RESOURCE)?,
            }
        }
        Ok(())
    }

    fn read_scope_frame(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        record.allows("scopes", self.scopes.len(), 8)?;
        let first = (self.scope_attributes.len(), self.items.len());
        let mut scope = Scope::default();
        while let Some(tag) = reader.next_tag()? {
            let read = match tag {
                field::CONTENT => {
                    self.items.read(record, reader.message()?, &mut self.refused)?;
                    continue;
                }
                field::ABOUT => self.read_scope(record, reader.message()?, &mut scope),
                field::SCHEMA_URL => record.text(&mut reader).map(|url| scope.schema_url = url),
                other => Ok(reader.skip_unknown(other, field::FRAME)?),
            };
            scope.refused = scope.refused.or(of_one_item(read)?);
        }
        scope.attributes = first.0..self.scope_attributes.len();
        scope.items = first.1..self.items.len();
        if let Some(reason) = scope.refused {
            self.refused.add(self.items.rows(scope.items.clone()), reason);
        }
        self.scopes.push(scope);
        Ok(())
    }

    fn read_scope(&mut self, record: &Record<'_>, mut reader: Reader<'_>, scope: &mut Scope) -> Read {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::NAME => scope.name = record.text(&mut reader)?,
                field::VERSION => scope.version = record.text(&mut reader)?,
                field::SCOPE_ATTRIBUTES => record.attribute(reader.message()?, &mut self.scope_attributes)?,
                field::SCOPE_DROPPED => scope.dropped = uint32(&mut reader)?,
                other => reader.skip_unknown(other, field::SCOPE)?,
            }
        }
        Ok(())
    }
}

fn read_entity(record: &Record<'_>, mut reader: Reader<'_>) -> Result<Entity, DecodeError> {
    let mut entity = Entity::default();
    while let Some(tag) = reader.next_tag()? {
        match tag {
            field::ENTITY_SCHEMA_URL => entity.schema_url = record.text(&mut reader)?,
            field::ENTITY_KIND => entity.kind = record.text(&mut reader)?,
            field::ID_KEYS => {
                record.allows("keys of entities", entity.id_keys.len(), 4)?;
                entity.id_keys.push(record.text(&mut reader)?);
            }
            field::DESCRIPTION_KEYS => {
                record.allows("keys of entities", entity.description_keys.len(), 4)?;
                entity.description_keys.push(record.text(&mut reader)?);
            }
            other => reader.skip_unknown(other, field::ENTITY)?,
        }
    }
    Ok(entity)
}

/// A `uint32` value: the low 32 bits.
#[inline]
pub(super) fn uint32(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    Ok(reader.varint()? as u32)
}
