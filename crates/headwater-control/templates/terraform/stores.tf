# What Headwater keeps in step with the database. Nothing here has to be backed up to be safe: all of it can be filled again.
{%- for cache in it.caches %}

# {{ cache.title }}: {{ cache.setup }}. Keeps {{ cache.views }}.
{%- if cache.serverless %}
resource "aws_elasticache_serverless_cache" "{{ cache.id }}" {
  name                     = "{{ it.name }}-{{ cache.slug() }}"
  engine                   = "{{ cache.engine }}"
  major_engine_version     = "{{ cache.major }}"
  description              = "Views kept by Headwater"
  subnet_ids               = aws_subnet.private[*].id
  security_group_ids       = [aws_security_group.{{ cache.id }}.id]
  kms_key_id               = aws_kms_key.main.arn
  user_group_id            = aws_elasticache_user_group.{{ cache.id }}.user_group_id
  snapshot_retention_limit = 1

  # What is stored is billed: a bound on what a mistake may cost.
  cache_usage_limits {
    data_storage {
      maximum = {{ cache.gb_max }}
      unit    = "GB"
    }
  }
}

resource "aws_elasticache_user" "{{ cache.id }}" {
  user_id       = "{{ it.name }}-{{ cache.slug() }}"
  user_name     = "headwater"
  engine        = "{{ cache.engine }}"
  access_string = "on ~{{ it.name }}:* resetchannels -@all +@read +@write +@connection +@transaction +info +cluster|slots +asking"
  passwords     = [random_password.{{ cache.id }}.result]
}

resource "aws_elasticache_user_group" "{{ cache.id }}" {
  user_group_id = "{{ it.name }}-{{ cache.slug() }}"
  engine        = "{{ cache.engine }}"
  user_ids      = [aws_elasticache_user.{{ cache.id }}.user_id]
}
{%- else %}
resource "aws_elasticache_subnet_group" "{{ cache.id }}" {
  name       = "{{ it.name }}-{{ cache.slug() }}"
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_elasticache_parameter_group" "{{ cache.id }}" {
  name        = "{{ it.name }}-{{ cache.slug() }}"
  family      = "{{ cache.family }}"
  description = "A store refuses what does not fit: it never drops a document unasked"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
{%- if cache.shards > 1 %}

  parameter {
    name  = "cluster-enabled"
    value = "yes"
  }
{%- endif %}
}

resource "aws_elasticache_replication_group" "{{ cache.id }}" {
{%- if cache.replicas == 0 %}
  #checkov:skip=CKV2_AWS_50:the plan chose nodes without replicas: see decisions/
{%- endif %}
  replication_group_id       = "{{ it.name }}-{{ cache.slug() }}"
  description                = "Views kept by Headwater"
  engine                     = "{{ cache.engine }}"
  engine_version             = "{{ cache.version }}"
  node_type                  = "{{ cache.class }}"
  num_node_groups            = {{ cache.shards }}
  replicas_per_node_group    = {{ cache.replicas }}
  automatic_failover_enabled = {{ cache.fails_over() }}
  multi_az_enabled           = {{ cache.replicas > 0 }}
  parameter_group_name       = aws_elasticache_parameter_group.{{ cache.id }}.name
  subnet_group_name          = aws_elasticache_subnet_group.{{ cache.id }}.name
  security_group_ids         = [aws_security_group.{{ cache.id }}.id]
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.main.arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = random_password.{{ cache.id }}.result
  auto_minor_version_upgrade = true
{%- if cache.snapshots %}
  snapshot_retention_limit   = 1
{%- endif %}
}
{%- endif %}
{%- endfor %}
{%- for table in it.own_tables() %}

# {{ table.about }}
resource "aws_dynamodb_table" "{{ table.id }}" {
{%- if table.provisioned %}
  #checkov:skip=CKV2_AWS_16:the plan sized it for the busiest hour: alarms say when that no longer fits
{%- endif %}
  name         = "{{ table.name }}"
{%- if table.provisioned %}
  billing_mode = "PROVISIONED"
  hash_key     = "{{ table.partition.0 }}"
{%- if let Some(sort) = table.sort %}
  range_key    = "{{ sort.0 }}"
{%- endif %}

  read_capacity  = {{ table.read_units }}
  write_capacity = {{ table.write_units }}
{%- else %}
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "{{ table.partition.0 }}"
{%- if let Some(sort) = table.sort %}
  range_key    = "{{ sort.0 }}"
{%- endif %}
{%- endif %}

  deletion_protection_enabled = true
{%- if !it.copies.is_empty() %}

  # What copies in other regions are fed by.
  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"
{%- for copy in it.copies %}

  replica {
    region_name            = "{{ copy.region }}"
    kms_key_arn            = module.{{ copy.id }}.key_arn
    point_in_time_recovery = true
    propagate_tags         = true
  }
{%- endfor %}
{%- endif %}

  attribute {
    name = "{{ table.partition.0 }}"
    type = "{{ table.partition.1 }}"
  }
{%- if let Some(sort) = table.sort %}

  attribute {
    name = "{{ sort.0 }}"
    type = "{{ sort.1 }}"
  }
{%- endif %}
{%- if table.expires %}

  # What Headwater deleted leaves a mark for a day.
  ttl {
    attribute_name = "hw_expires"
    enabled        = true
  }
{%- endif %}

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.main.arn
  }
{%- if table.provisioned && !it.copies.is_empty() %}

  lifecycle {
    ignore_changes = [read_capacity, write_capacity]
  }
{%- endif %}
}
{%- if table.provisioned && !it.copies.is_empty() %}
{%- for kind in table.scaled() %}

# Units of a table with copies follow what is used of them: no region may take fewer than another sends.
resource "aws_appautoscaling_target" "{{ table.id }}_{{ kind.name }}" {
  service_namespace  = "dynamodb"
  resource_id        = "table/${aws_dynamodb_table.{{ table.id }}.name}"
  scalable_dimension = "dynamodb:table:{{ kind.dimension }}"
  min_capacity       = {{ kind.units }}
  max_capacity       = {{ kind.units * 2 }}
}

resource "aws_appautoscaling_policy" "{{ table.id }}_{{ kind.name }}" {
  name               = "{{ table.name }}-{{ kind.name }}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.{{ table.id }}_{{ kind.name }}.service_namespace
  resource_id        = aws_appautoscaling_target.{{ table.id }}_{{ kind.name }}.resource_id
  scalable_dimension = aws_appautoscaling_target.{{ table.id }}_{{ kind.name }}.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = 70

    predefined_metric_specification {
      predefined_metric_type = "{{ kind.metric }}"
    }
  }
}
{%- endfor %}
{%- endif %}
{%- endfor %}
{%- if let Some(cluster) = it.documents %}

# {{ cluster.title }}: {{ cluster.setup }}. Keeps {{ cluster.views }}.
resource "aws_docdb_subnet_group" "documents" {
  name       = "{{ it.name }}-documents"
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_docdb_cluster_parameter_group" "documents" {
  name        = "{{ it.name }}-documents"
  family      = "docdb5.0"
  description = "Encrypted connections, who did what logged"

  parameter {
    name  = "tls"
    value = "enabled"
  }

  parameter {
    name  = "audit_logs"
    value = "enabled"
  }

  parameter {
    name  = "profiler"
    value = "enabled"
  }
}

resource "aws_docdb_cluster" "documents" {
  cluster_identifier              = "{{ it.name }}-documents"
  engine                          = "docdb"
  engine_version                  = "5.0.0"
  master_username                 = "administrator"
  manage_master_user_password     = true
  db_subnet_group_name            = aws_docdb_subnet_group.documents.name
  db_cluster_parameter_group_name = aws_docdb_cluster_parameter_group.documents.name
  vpc_security_group_ids          = [aws_security_group.documents.id]
  storage_encrypted               = true
  kms_key_id                      = aws_kms_key.main.arn
  backup_retention_period         = {{ it.backup_days }}
  deletion_protection             = true
  skip_final_snapshot             = false
  final_snapshot_identifier       = "{{ it.name }}-documents-final"
  enabled_cloudwatch_logs_exports = ["audit", "profiler"]
}

resource "aws_docdb_cluster_instance" "documents" {
  count = {{ cluster.instances }}

  identifier                      = "{{ it.name }}-documents-${count.index + 1}"
  cluster_identifier              = aws_docdb_cluster.documents.id
  instance_class                  = "{{ cluster.class }}"
  auto_minor_version_upgrade      = true
  enable_performance_insights     = true
  performance_insights_kms_key_id = aws_kms_key.main.arn
}
{%- endif %}
{%- if let Some(cluster) = it.graph %}

# {{ cluster.title }}: {{ cluster.setup }}. Keeps {{ cluster.views }}.
resource "aws_neptune_subnet_group" "graph" {
  name       = "{{ it.name }}-graph"
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_neptune_cluster_parameter_group" "graph" {
  name        = "{{ it.name }}-graph"
  family      = "neptune1.4"
  description = "Who did what logged"

  parameter {
    name  = "neptune_enable_audit_log"
    value = "1"
  }
}

resource "aws_neptune_cluster" "graph" {
  cluster_identifier                   = "{{ it.name }}-graph"
  engine                               = "neptune"
  engine_version                       = "1.4.1.0"
  neptune_subnet_group_name            = aws_neptune_subnet_group.graph.name
  neptune_cluster_parameter_group_name = aws_neptune_cluster_parameter_group.graph.name
  vpc_security_group_ids               = [aws_security_group.graph.id]
  iam_database_authentication_enabled  = true
  storage_encrypted                    = true
  kms_key_arn                          = aws_kms_key.main.arn
  backup_retention_period              = {{ it.backup_days }}
  copy_tags_to_snapshot                = true
  deletion_protection                  = true
  skip_final_snapshot                  = false
  final_snapshot_identifier            = "{{ it.name }}-graph-final"
  enable_cloudwatch_logs_exports       = ["audit", "slowquery"]
{%- if let Some(units) = cluster.units %}

  serverless_v2_scaling_configuration {
    min_capacity = 1
    max_capacity = {{ units }}
  }
{%- endif %}
}

resource "aws_neptune_cluster_instance" "graph" {
  count = {{ cluster.instances }}

  identifier                 = "{{ it.name }}-graph-${count.index + 1}"
  cluster_identifier         = aws_neptune_cluster.graph.id
  instance_class             = "{{ cluster.class }}"
  neptune_subnet_group_name  = aws_neptune_subnet_group.graph.name
  auto_minor_version_upgrade = true
}
{%- endif %}
