//! The tables: what they are called, how they are keyed, and how they come to be.
//!
//! Names are the store's prefix and the view's name, in which bytes that a table's name cannot have are written `.XX`. What
//! follows another `.` is ours: no name of a view collides with it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription,
    TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use headwater_model::{Error, Result, View};
use tokio::time::Instant;

use super::failure::{failure, is_missing};
use super::item::{EXPIRES, KEY, PART, SORT, STATE_KEY};

/// A new table is there within seconds, usually.
const CREATED_WITHIN: Duration = Duration::from_secs(120);

/// What the table is called in which a source keeps how far it was followed, behind the prefix. No view's name is written so.
pub(super) const SOURCE_STATE: &str = ".headwater-source";
/// In that table: who follows.
pub(super) const FOLLOWER: &str = "hw_follower";

/// Bytes of a table's name.
const NAME_BYTES_MAX: usize = 255;

/// How a table is called and keyed, for whoever makes it elsewhere. Attributes with their types, as the service names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    pub name: String,
    pub partition: (String, String),
    pub sort: Option<(String, String)>,
    /// The attribute that says when an item may go.
    pub expires: Option<String>,
}

/// All tables of a store with this prefix.
pub fn layout(prefix: &str, views: &[View]) -> Vec<Layout> {
    let of_views = views.iter().flat_map(|view| Table::of_view(prefix, view));
    let attribute =
        |(name, kind): &(&str, ScalarAttributeType)| ((*name).to_owned(), kind.as_str().to_owned());
    std::iter::once(Table::of_state(prefix))
        .chain(of_views)
        .map(|table| Layout {
            partition: attribute(&table.partition),
            sort: table.sort.as_ref().map(attribute),
            expires: table.expires.map(str::to_owned),
            name: table.name,
        })
        .collect()
}

pub(super) struct Table {
    pub(super) name: String,
    partition: (&'static str, ScalarAttributeType),
    sort: Option<(&'static str, ScalarAttributeType)>,
    /// The attribute that says when an item may go.
    expires: Option<&'static str>,
    /// Whose section of the file has the setting `create`.
    whose: &'static str,
}

impl Table {
    /// Where a source keeps how far it was followed.
    pub(super) fn of_source(prefix: &str) -> Table {
        Table {
            name: format!("{prefix}{SOURCE_STATE}"),
            partition: (FOLLOWER, ScalarAttributeType::S),
            sort: Some((STATE_KEY, ScalarAttributeType::S)),
            expires: None,
            whose: "source",
        }
    }

    /// Where the position lies.
    pub(super) fn of_state(prefix: &str) -> Table {
        Table {
            name: format!("{prefix}.headwater"),
            partition: (STATE_KEY, ScalarAttributeType::S),
            sort: None,
            expires: None,
            whose: "store",
        }
    }

    /// All tables of a view.
    pub(super) fn of_view(prefix: &str, view: &View) -> Vec<Table> {
        let mut tables = vec![Table {
            name: documents(prefix, &view.name),
            partition: (KEY, ScalarAttributeType::S),
            sort: None,
            expires: Some(EXPIRES),
            whose: "store",
        }];
        if !view.indexes.is_empty() {
            tables.push(Table {
                name: places(prefix, &view.name),
                partition: (PART, ScalarAttributeType::B),
                sort: Some((SORT, ScalarAttributeType::B)),
                expires: None,
                whose: "store",
            });
        }
        tables
    }

    fn keys(&self) -> impl Iterator<Item = (&'static str, &ScalarAttributeType, KeyType)> {
        let partition = std::iter::once((self.partition.0, &self.partition.1, KeyType::Hash));
        partition.chain(self.sort.iter().map(|(name, kind)| (*name, kind, KeyType::Range)))
    }

    /// What creates it, for people.
    pub(super) fn command(&self) -> String {
        let attributes: Vec<String> =
            self.keys().map(|(name, kind, _)| format!("AttributeName={name},AttributeType={kind}")).collect();
        let keys: Vec<String> =
            self.keys().map(|(name, _, role)| format!("AttributeName={name},KeyType={role}")).collect();
        let name = &self.name;
        let mut command = format!(
            "aws dynamodb create-table --table-name {name} --billing-mode PAY_PER_REQUEST --attribute-definitions {} \
             --key-schema {}",
            attributes.join(" "),
            keys.join(" ")
        );
        if let Some(expires) = self.expires {
            command.push_str(&format!(
                " && aws dynamodb wait table-exists --table-name {name} && aws dynamodb update-time-to-live --table-name {name} \
                 --time-to-live-specification Enabled=true,AttributeName={expires}"
            ));
        }
        command
    }

    /// The table is there and keyed as it should be; one that is missing is created if that is wanted.
    pub(super) async fn ensure(&self, client: &Client, create: bool) -> Result<()> {
        let length = self.name.len();
        if !(3..=NAME_BYTES_MAX).contains(&length) {
            return Err(Error::misconfigured(format!(
                "a table would be called {:?}, which has {length} characters; DynamoDB takes 3 to {NAME_BYTES_MAX}",
                self.name
            ))
            .with_remedy(format!("give the {}'s URL another prefix: dynamodb://us-east-1/prefix_", self.whose)));
        }
        match self.describe(client).await? {
            Some(found) => {
                self.compare(&found)?;
                self.wait(client, Some(found)).await
            }
            None if create => self.create(client).await,
            None => Err(Error::misconfigured(format!("the table {:?} does not exist", self.name))
                .with_remedy(format!("give the {} create = true, or run: {}", self.whose, self.command()))),
        }
    }

    pub(super) async fn describe(&self, client: &Client) -> Result<Option<TableDescription>> {
        match client.describe_table().table_name(&self.name).send().await {
            Ok(found) => Ok(found.table),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failure(format_args!("describe the table {:?}", self.name), error)),
        }
    }

    fn compare(&self, found: &TableDescription) -> Result<()> {
        let schema = found.key_schema();
        let same = schema.len() == self.keys().count()
            && self.keys().all(|(name, kind, role)| {
                schema.iter().any(|key| key.attribute_name == name && key.key_type == role)
                    && (found.attribute_definitions())
                        .iter()
                        .any(|known| known.attribute_name == name && known.attribute_type == *kind)
            });
        if same {
            return Ok(());
        }
        let keys: Vec<String> =
            self.keys().map(|(name, kind, role)| format!("{name} ({kind}, {role})")).collect();
        Err(Error::misconfigured(format!(
            "the table {:?} has another key than {}",
            self.name,
            keys.join(" and ")
        ))
        .with_remedy(format!(
            "it belongs to something else: give the {}'s URL another prefix, or delete the table",
            self.whose
        )))
    }

    async fn create(&self, client: &Client) -> Result<()> {
        let doing = || format!("create the table {:?}", self.name);
        let bug = |e| Error::bug("a table's definition is incomplete").with_cause(e);
        let mut request =
            client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        for (name, kind, role) in self.keys() {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind.clone());
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
            request = request
                .attribute_definitions(attribute.build().map_err(bug)?)
                .key_schema(key.build().map_err(bug)?);
        }
        match request.send().await {
            // Somebody else was faster: the table is what counts.
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {}
            Err(error) => return Err(failure(doing(), error)),
            Ok(_) => {}
        }
        self.wait(client, None).await?;
        let Some(expires) = self.expires else { return Ok(()) };
        let found = client.describe_time_to_live().table_name(&self.name).send().await;
        let found = found.map_err(|e| failure(format_args!("look at the TTL of {:?}", self.name), e))?;
        let status = found.time_to_live_description.and_then(|ttl| ttl.time_to_live_status);
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name(expires);
        let ttl = ttl.build().map_err(bug)?;
        let request = client.update_time_to_live().table_name(&self.name).time_to_live_specification(ttl);
        request.send().await.map_err(|e| failure(format_args!("set the TTL of {:?}", self.name), e))?;
        Ok(())
    }

    async fn wait(&self, client: &Client, mut found: Option<TableDescription>) -> Result<()> {
        let until = Instant::now() + CREATED_WITHIN;
        loop {
            let status = found.as_ref().and_then(|found| found.table_status.as_ref());
            match status {
                // While it is updated it can be used.
                Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                Some(TableStatus::Creating) | None => {}
                Some(status) => {
                    return Err(Error::transient(format!("the table {:?} is {status}", self.name)));
                }
            }
            if Instant::now() > until {
                return Err(Error::transient(format!("the table {:?} is still being created", self.name)));
            }
            if found.is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            found = self.describe(client).await?;
        }
    }
}

/// Where a view's documents lie.
pub(super) fn documents(prefix: &str, view: &str) -> String {
    let mut name = prefix.to_owned();
    for byte in view.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!(".{byte:02X}"));
        }
    }
    name
}

/// Where the places of a view's documents in its indexes lie.
pub(super) fn places(prefix: &str, view: &str) -> String {
    documents(prefix, view) + ".index"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_are_one() {
        let views = ["a", "a.index", "a.", ".headwater", "headwater", "ä", "A", "a b", ""];
        let mut names: Vec<String> = views.iter().map(|view| documents("", view)).collect();
        names.extend(views.iter().map(|view| places("", view)));
        names.push(Table::of_state("").name);
        names.push(Table::of_source("").name);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        assert_eq!(documents("shop_", "book:é"), "shop_book.3A.C3.A9");
    }
}
