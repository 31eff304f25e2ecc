//! From a plan to what has to be built: versions, parameters, who may reach whom.

use super::alarms;
use super::names;
use super::parts::{
    Alarm, Cache, Cluster, Copy, Database, Group, Output, Parameter, Part, Rule, Secret, Table, Variable,
};
use crate::plan::report::money;
use crate::plan::services::CLASS;
use crate::plan::{EnginePlan, Plan};

const ZONES: usize = 3;
/// Any second of so many days can be restored.
const BACKUP_DAYS: u32 = 14;
/// The journal's default bound, the mirror and room.
const DISK_GB: u32 = 40;
const TRUNCATED_TO: usize = 60;
const REDIS_PORT: u16 = 6379;

/// Everything that the templates say.
pub(super) struct Infrastructure {
    pub title: String,
    pub name: String,
    pub region: String,
    pub monthly: String,
    pub zones: usize,
    pub backup_days: u32,
    pub disk_gb: u32,
    pub machine: &'static str,
    pub database: Option<Database>,
    pub caches: Vec<Cache>,
    pub tables: Vec<Table>,
    pub documents: Option<Cluster>,
    pub graph: Option<Cluster>,
    /// Whether anything is kept in step.
    pub headwater: bool,
    /// Addresses of the network: no two regions have the same.
    pub cidr: String,
    /// Of what is only a copy: the region that it is of.
    pub copy_of: Option<String>,
    /// Other regions that have a copy.
    pub copies: Vec<Copy>,
}

impl Infrastructure {
    pub fn of(plan: &Plan, database_name: &str) -> Result<Infrastructure, String> {
        let name = names::system(database_name);
        let mut it = Infrastructure {
            title: format!("What keeps {name} going"),
            region: plan.region.clone(),
            monthly: money(plan.monthly),
            zones: ZONES,
            backup_days: BACKUP_DAYS,
            disk_gb: DISK_GB,
            machine: CLASS,
            database: None,
            caches: Vec::new(),
            tables: Vec::new(),
            documents: None,
            graph: None,
            headwater: plan.engines.iter().any(|engine| !engine.is_source),
            cidr: cidr(0),
            copy_of: None,
            copies: plan
                .copies
                .iter()
                .map(|region| Copy { id: names::id(region), region: region.clone() })
                .collect(),
            name,
        };
        for engine in &plan.engines {
            match &*engine.scheme {
                "postgres" | "mysql" => it.database = Some(database(engine, database_name)?),
                "redis" => it.caches.push(cache(engine)?),
                "dynamodb" => it.tables.extend(tables(engine, &it.name)),
                "mongodb" => it.documents = Some(cluster(engine)?),
                "neptune" => it.graph = Some(cluster(engine)?),
                other => return Err(format!("nothing is emitted for `{other}:` yet ({})", engine.title)),
            }
        }
        if let Some(database) = &mut it.database {
            database.managed = it.copies.is_empty() && (database.aurora || database.instances == 1);
        }
        Ok(it)
    }

    /// The same in another region, as the plan has priced it: one machine of each, none to take over.
    pub fn copy(plan: &Plan, database_name: &str, place: usize) -> Result<Infrastructure, String> {
        let mut it = Infrastructure::of(plan, database_name)?;
        it.copy_of = Some(std::mem::replace(&mut it.region, plan.copies[place].clone()));
        it.cidr = cidr(1 + place);
        it.copies = Vec::new();
        if let Some(database) = &mut it.database {
            (database.instances, database.standby, database.managed) = (1, false, false);
        }
        it.caches.iter_mut().for_each(|cache| cache.replicas = 0);
        it.documents.iter_mut().chain(&mut it.graph).for_each(|cluster| cluster.instances = 1);
        Ok(it)
    }

    pub fn is_copy(&self) -> bool {
        self.copy_of.is_some()
    }

    /// What is called the same for the whole account, whichever region it is in.
    pub fn account_name(&self) -> String {
        if self.is_copy() { format!("{}-{}", self.name, self.region) } else { self.name.clone() }
    }

    /// Those that are made here, rather than copied by the service.
    pub fn own_tables(&self) -> &[Table] {
        if self.is_copy() { &[] } else { &self.tables }
    }

    /// What a template refers to the key's ARN by.
    pub fn key(&self) -> &'static str {
        if self.is_copy() { "!Ref Key" } else { "!GetAtt Key.Arn" }
    }

    /// Names of zones are letters; in a few regions not the first ones for everybody.
    pub fn zone_names(&self) -> Vec<String> {
        let letters = match &*self.region {
            "ap-northeast-1" => "acd",
            "ca-central-1" => "abd",
            _ => "abc",
        };
        letters.chars().take(self.zones).map(|letter| format!("{}{letter}", self.region)).collect()
    }

    pub fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut add = |id: &str, about| groups.push(Group { id: id.to_owned(), about });
        if self.database.is_some() {
            add("source", "The transactional database");
        }
        self.caches.iter().for_each(|cache| add(&cache.id, "A cache of views"));
        if self.documents.is_some() {
            add("documents", "Documents");
        }
        if self.graph.is_some() {
            add("graph", "The graph");
        }
        if self.headwater {
            add("headwater", "The machines of Headwater");
            add("endpoints", "Ways to services of the provider");
        }
        groups
    }

    pub fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut add = |to: &str, port: u16, about: (&'static str, &'static str)| {
            for (from, about) in [("clients", about.0), ("headwater", about.1)] {
                if !about.is_empty() && (from == "clients" || self.headwater) {
                    rules.push(Rule { from: from.to_owned(), to: to.to_owned(), port, about });
                }
            }
        };
        if let Some(db) = &self.database {
            add("source", db.port, ("Applications commit", "Headwater follows and falls back"));
        }
        for cache in &self.caches {
            add(&cache.id, REDIS_PORT, ("Applications read", "Headwater writes and reads"));
        }
        if self.documents.is_some() {
            add("documents", 27017, ("Applications read", "Headwater writes and reads"));
        }
        if self.graph.is_some() {
            add("graph", 8182, ("Applications read", "Headwater writes and reads"));
        }
        if self.headwater {
            add("headwater", 7070, ("Applications ask access patterns", ""));
            add("endpoints", 443, ("", "Headwater reads its secrets"));
        }
        rules
    }

    /// What Headwater signs in with.
    pub fn secrets(&self) -> Vec<Secret> {
        if !self.headwater {
            return Vec::new();
        }
        let mut secrets = vec![Secret {
            id: "source".to_owned(),
            about: "The password of Headwater's own role in the database".to_owned(),
            unrotated: "changed together with the role in the database, by whoever owns it",
            replicated: true,
        }];
        secrets.extend(self.caches.iter().map(|cache| Secret {
            id: cache.id.clone(),
            about: format!("What signs in to {}", cache.title),
            unrotated: "the cache takes a new one by a call of its own",
            replicated: false,
        }));
        secrets
    }

    /// Those that are made here: what other regions have to know as well is copied there.
    pub fn own_secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets();
        if self.database.as_ref().is_some_and(|database| !database.managed) {
            secrets.push(Secret {
                id: "administrator".to_owned(),
                about: "The password of the database's administrator".to_owned(),
                unrotated: "the provider rotates none of a database with readers or copies",
                replicated: true,
            });
        }
        secrets.retain(|secret| !(self.is_copy() && secret.replicated));
        secrets
    }

    /// What Terraform calls a secret by: one that was copied here, by its name.
    pub fn secret_arn(&self, secret: &Secret) -> String {
        match self.is_copy() && secret.replicated {
            true => format!(
                "\"arn:aws:secretsmanager:{}:${{data.aws_caller_identity.this.account_id}}:secret:{}/{}-??????\"",
                self.region,
                self.name,
                secret.slug()
            ),
            false => format!("aws_secretsmanager_secret.{}.arn", secret.id),
        }
    }

    pub fn has_random(&self) -> bool {
        !self.own_secrets().is_empty()
    }

    /// Services that decrypt for Headwater.
    pub fn key_users(&self) -> Vec<&'static str> {
        let mut services = vec!["secretsmanager"];
        services.extend((!self.tables.is_empty()).then_some("dynamodb"));
        services
    }

    pub fn variables(&self) -> Vec<Variable> {
        let mut all = Vec::new();
        let mut add = |id: String, terraform: String, cloudformation: String, environment, secret| {
            all.push(Variable { id, terraform, cloudformation, environment, secret, width: 0 });
        };
        add("bucket".into(), "var.artifacts_bucket".into(), "!Ref ArtifactsBucket".into(), None, false);
        if let Some(output) = self.endpoint_of_source() {
            add("source_host".into(), output.0, output.1, Some("SOURCE_HOST".to_owned()), false);
            let (terraform, secret) = match self.is_copy() {
                true => (format!("\"{}/source\"", self.name), format!("{}/source", self.name)),
                false => ("aws_secretsmanager_secret.source.name".to_owned(), "!Ref SourceSecret".to_owned()),
            };
            add("source_secret".into(), terraform, secret, Some("PGPASSWORD".to_owned()), true);
        }
        for cache in &self.caches {
            let (terraform, cloudformation) = cache_host(cache);
            let upper = cache.id.to_uppercase();
            add(
                format!("{}_host", cache.id),
                terraform,
                cloudformation,
                Some(format!("{upper}_HOST")),
                false,
            );
            let terraform = format!("aws_secretsmanager_secret.{}.name", cache.id);
            let secret = format!("!Ref {}Secret", cache.pascal());
            add(format!("{}_secret", cache.id), terraform, secret, Some(format!("{upper}_PASSWORD")), true);
        }
        let width = all.iter().map(|variable| variable.id.len()).max().unwrap_or(0);
        all.iter_mut().for_each(|variable| variable.width = width);
        all
    }

    fn endpoint_of_source(&self) -> Option<(String, String)> {
        let db = self.database.as_ref()?;
        Some(match db.aurora {
            true => ("aws_rds_cluster.source.endpoint".into(), "!GetAtt Source.Endpoint.Address".into()),
            false => ("aws_db_instance.source.address".into(), "!GetAtt Source.Endpoint.Address".into()),
        })
    }

    pub fn outputs(&self) -> Vec<Output> {
        let mut all = Vec::new();
        let mut add = |id: &str, about: &str, terraform: String, cloudformation: String| {
            all.push(Output { id: id.to_owned(), about: about.to_owned(), terraform, cloudformation });
        };
        if let (Some(db), Some((terraform, cloudformation))) = (&self.database, self.endpoint_of_source()) {
            add("source_host", "Where the application commits.", terraform, cloudformation);
            let kind = if db.aurora { "aws_rds_cluster" } else { "aws_db_instance" };
            let about = "The secret with the administrator's password.";
            let (terraform, cloudformation) = match db.managed {
                true => (
                    format!("{kind}.source.master_user_secret[0].secret_arn"),
                    "!GetAtt Source.MasterUserSecret.SecretArn".to_owned(),
                ),
                false => (
                    "aws_secretsmanager_secret.administrator.arn".to_owned(),
                    "!Ref AdministratorSecret".to_owned(),
                ),
            };
            if !self.is_copy() {
                add("source_administrator_secret_arn", about, terraform, cloudformation);
            }
            if !self.copies.is_empty() && !db.aurora {
                let about = "What copies in other regions are made of.";
                add(
                    "source_arn",
                    about,
                    format!("{kind}.source.arn"),
                    "!GetAtt Source.DBInstanceArn".to_owned(),
                );
            }
        }
        if self.headwater && !self.is_copy() {
            add(
                "headwater_role_secret_arn",
                "The secret with the password of Headwater's role.",
                "aws_secretsmanager_secret.source.arn".to_owned(),
                "!Ref SourceSecret".to_owned(),
            );
        }
        for cache in &self.caches {
            let (terraform, cloudformation) = cache_host(cache);
            add(&format!("{}_host", cache.id), &format!("{}.", cache.title), terraform, cloudformation);
        }
        for (there, id, kind) in
            [(self.documents.is_some(), "documents", "docdb"), (self.graph.is_some(), "graph", "neptune")]
        {
            if there {
                let cloudformation = format!("!GetAtt {}.Endpoint", names::pascal(id));
                add(
                    &format!("{id}_host"),
                    "Where it is reached.",
                    format!("aws_{kind}_cluster.{id}.endpoint"),
                    cloudformation,
                );
            }
        }
        all
    }

    pub fn aurora(&self) -> bool {
        self.database.as_ref().is_some_and(|db| db.aurora)
    }

    pub fn alarms(&self) -> Vec<Alarm> {
        alarms::all(self)
    }

    pub fn postgres(&self) -> bool {
        self.database.as_ref().is_some_and(|db| db.postgres)
    }
}

fn cidr(region: usize) -> String {
    format!("10.{}.0.0/16", 20 + region)
}

fn cache_host(cache: &Cache) -> (String, String) {
    let (id, name) = (&cache.id, cache.pascal());
    match (cache.serverless, cache.shards > 1) {
        (true, _) => (
            format!("aws_elasticache_serverless_cache.{id}.endpoint[0].address"),
            format!("!GetAtt {name}.Endpoint.Address"),
        ),
        (_, true) => (
            format!("aws_elasticache_replication_group.{id}.configuration_endpoint_address"),
            format!("!GetAtt {name}.ConfigurationEndPoint.Address"),
        ),
        (_, false) => (
            format!("aws_elasticache_replication_group.{id}.primary_endpoint_address"),
            format!("!GetAtt {name}.PrimaryEndPoint.Address"),
        ),
    }
}

fn class(engine: &EnginePlan) -> Result<String, String> {
    let lacking = || format!("the plan does not say which class {} runs on: make it anew", engine.title);
    engine.shape.class.clone().ok_or_else(lacking)
}

fn database(engine: &EnginePlan, name: &str) -> Result<Database, String> {
    let (shape, class) = (&engine.shape, class(engine)?);
    let (aurora, postgres) = (engine.name.starts_with("aurora"), engine.scheme == "postgres");
    let (kind, family, version) = match (aurora, postgres) {
        (false, true) => ("postgres", "postgres17", "17.6"),
        (true, true) => ("aurora-postgresql", "aurora-postgresql17", "17.5"),
        (false, false) => ("mysql", "mysql8.4", "8.4.6"),
        (true, false) => ("aurora-mysql", "aurora-mysql8.0", "8.0.mysql_aurora.3.10.0"),
    };
    let parameter = |name, value, method| Parameter { name, value, method };
    let parameters = match (postgres, aurora) {
        (true, _) => vec![
            parameter("rds.logical_replication", "1", "pending-reboot"),
            parameter("max_slot_wal_keep_size", "10240", "immediate"),
            parameter("rds.force_ssl", "1", "immediate"),
            parameter("log_statement", "ddl", "immediate"),
            parameter("log_min_duration_statement", "1000", "immediate"),
        ],
        (false, _) => vec![
            parameter("binlog_format", "ROW", "pending-reboot"),
            parameter("binlog_row_image", "full", "immediate"),
            parameter("require_secure_transport", "1", "immediate"),
            parameter("slow_query_log", "1", "immediate"),
            parameter("long_query_time", "1", "immediate"),
        ],
    };
    let logs = match (postgres, aurora) {
        (true, true) => vec!["postgresql"],
        (true, false) => vec!["postgresql", "upgrade"],
        (false, _) => vec!["audit", "error", "slowquery"],
    };
    let storage_gb = whole(shape.storage_gb);
    Ok(Database {
        title: names::prose(&engine.title),
        setup: names::prose(&engine.setup),
        aurora,
        postgres,
        engine: kind,
        family,
        version,
        // The smallest classes of this engine have no Performance Insights.
        insights: postgres || !(class.ends_with(".micro") || class.ends_with(".small")),
        managed: true,
        class,
        instances: 1 + shape.replicas,
        standby: shape.standby,
        storage_gb,
        storage_gb_max: (storage_gb * 2).max(100),
        iops: shape.iops.map(|iops| whole(iops).max(12_000)),
        io_optimized: shape.io_optimized,
        port: if postgres { 5432 } else { 3306 },
        database: names::database(name),
        parameters,
        logs,
    })
}

fn cache(engine: &EnginePlan) -> Result<Cache, String> {
    let (shape, valkey) = (&engine.shape, engine.name.contains("valkey"));
    let serverless = engine.name.ends_with("serverless");
    let stored: f64 = engine.lines.iter().filter(|line| line.unit == "GB-hours").map(|l| l.amount).sum();
    let class = if serverless { String::new() } else { class(engine)? };
    Ok(Cache {
        id: names::id(engine.name.trim_start_matches("elasticache-")),
        title: names::prose(&engine.title),
        setup: names::prose(&engine.setup),
        views: views(engine),
        serverless,
        engine: if valkey { "valkey" } else { "redis" },
        version: if valkey { "8.0" } else { "7.1" },
        major: if valkey { "8" } else { "7" },
        family: if valkey { "valkey8" } else { "redis7" },
        // Nodes of the oldest burstable classes keep no snapshots.
        snapshots: !class.contains(".t2.micro"),
        class,
        shards: shape.shards.max(1),
        replicas: shape.replicas,
        // Four times what is stored today.
        gb_max: whole(4.0 * stored / 730.0).clamp(1, 5_000),
    })
}

fn tables(engine: &EnginePlan, name: &str) -> Vec<Table> {
    let provisioned = engine.name.ends_with("provisioned");
    let prefix = table_prefix(engine, name);
    let mut all: Vec<Table> = Vec::new();
    for table in &engine.tables {
        let documents = table_name(&prefix, &table.view);
        let view = names::id(&table.view);
        let kind = if provisioned { "provisioned_" } else { "" };
        let (id, name, about) = match table.is_index {
            false => (format!("{kind}{view}_table"), documents, format!("Documents of {}", table.view)),
            true => (
                format!("{kind}{view}_index_table"),
                documents + ".index",
                format!("The places of {} in the orders that they are read in", table.view),
            ),
        };
        all.push(Table {
            id: free(&all, id),
            name,
            about: names::prose(&about),
            partition: if table.is_index { ("hw_part", "B") } else { ("hw_key", "S") },
            sort: table.is_index.then_some(("hw_sort", "B")),
            expires: !table.is_index,
            provisioned,
            read_units: whole(table.read_units).max(1),
            write_units: whole(table.write_units).max(1),
        });
    }
    all.push(Table {
        id: if provisioned { "provisioned_state_table" } else { "state_table" }.to_owned(),
        name: format!("{prefix}.headwater"),
        about: "Up to where these tables show the source, and who may write".to_owned(),
        partition: ("hw_item", "S"),
        sort: None,
        expires: false,
        provisioned,
        read_units: 5,
        write_units: 20,
    });
    all
}

/// Names of views may differ in what an id does not show.
fn free(all: &[Table], id: String) -> String {
    let taken = |id: &str| all.iter().any(|table| table.id == id);
    let mut free = id.clone();
    for n in 2.. {
        if !taken(&free) {
            break;
        }
        free = format!("{id}_{n}");
    }
    free
}

pub(super) fn table_prefix(engine: &EnginePlan, name: &str) -> String {
    let name = name.replace('-', "_");
    if engine.name.ends_with("provisioned") { format!("{name}_provisioned_") } else { format!("{name}_") }
}

/// As the store calls it: what a name cannot have is written `.XX`.
fn table_name(prefix: &str, view: &str) -> String {
    let mut name = prefix.to_owned();
    for byte in view.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"_-".contains(&b) => name.push(char::from(b)),
            b => name.push_str(&format!(".{b:02X}")),
        }
    }
    name
}

fn cluster(engine: &EnginePlan) -> Result<Cluster, String> {
    let shape = &engine.shape;
    Ok(Cluster {
        title: names::prose(&engine.title),
        setup: names::prose(&engine.setup),
        views: views(engine),
        class: match shape.units {
            Some(_) => "db.serverless".to_owned(),
            None => class(engine)?,
        },
        instances: 1 + shape.replicas,
        units: shape.units.map(|units| whole(units).max(1)),
    })
}

fn views(engine: &EnginePlan) -> String {
    let mut listed = names::prose(&engine.views.join(", "));
    if listed.len() > TRUNCATED_TO {
        listed = format!("{} views", engine.views.len());
    }
    listed
}

fn whole(amount: f64) -> u64 {
    amount.ceil().max(0.0) as u64
}
