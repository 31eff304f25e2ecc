{%- if let Some(db) = it.database %}
# {{ db.title }}: {{ db.setup }}. What the application commits to, and what everything else is derived from.

resource "aws_db_subnet_group" "source" {
  name       = "{{ it.name }}-source"
  subnet_ids = aws_subnet.private[*].id
}
{%- if db.aurora %}

# What the log carries is a setting of the whole cluster; it takes effect at the next restart.
resource "aws_rds_cluster_parameter_group" "source" {
  name        = "{{ it.name }}-source"
  family      = "{{ db.family }}"
  description = "Rows in the log, encrypted connections, slow statements logged"
{%- for parameter in db.parameters %}

  parameter {
    name         = "{{ parameter.name }}"
    value        = "{{ parameter.value }}"
    apply_method = "{{ parameter.method }}"
  }
{%- endfor %}
}

{%- if !it.copies.is_empty() %}

# What the clusters of all regions belong to.
resource "aws_rds_global_cluster" "source" {
  global_cluster_identifier = "{{ it.name }}-source"
  engine                    = "{{ db.engine }}"
  engine_version            = "{{ db.version }}"
  database_name             = "{{ db.database }}"
  storage_encrypted         = true
  deletion_protection       = true
}
{%- endif %}

resource "aws_rds_cluster" "source" {
  #checkov:skip=CKV2_AWS_8:automated backups restore to any second of the last {{ it.backup_days }} days
{%- if !db.postgres %}
  #checkov:skip=CKV_AWS_326:backtracking and the log that Headwater follows exclude each other
{%- endif %}
  cluster_identifier     = "{{ it.name }}-source"
  engine                 = "{{ db.engine }}"
  engine_version         = "{{ db.version }}"
{%- if !it.is_copy() %}
  database_name          = "{{ db.database }}"
{%- endif %}
{%- if db.io_optimized %}
  storage_type           = "aurora-iopt1"
{%- endif %}
  db_subnet_group_name   = aws_db_subnet_group.source.name
  vpc_security_group_ids = [aws_security_group.source.id]

{%- if it.is_copy() %}

  # Its data and who may sign in come from the first region. It is written to once it is promoted.
  global_cluster_identifier = var.global_cluster
{%- else if db.managed %}

  # The provider makes and rotates the password of the administrator; nobody has to see it.
  master_username               = "administrator"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.main.key_id
{%- else %}

  # One of the clusters of all regions.
  global_cluster_identifier = aws_rds_global_cluster.source.id

  # The provider rotates no password of a database that other regions copy.
  master_username = "administrator"
  master_password = random_password.administrator.result
{%- endif %}

  db_cluster_parameter_group_name     = aws_rds_cluster_parameter_group.source.name
  iam_database_authentication_enabled = true
  storage_encrypted                   = true
  kms_key_id                          = aws_kms_key.main.arn

  # Backups of every day and the log between them: any second of the last {{ it.backup_days }} days can be restored.
  backup_retention_period   = {{ it.backup_days }}
  copy_tags_to_snapshot     = true
  deletion_protection       = true
  skip_final_snapshot       = false
  final_snapshot_identifier = "{{ it.name }}-source-final"

  enabled_cloudwatch_logs_exports = [{% for log in db.logs %}"{{ log }}"{% if !loop.last %}, {% endif %}{% endfor %}]
{%- if it.is_copy() %}

  lifecycle {
    # Both change when it is promoted.
    ignore_changes = [replication_source_identifier, global_cluster_identifier]
  }
{%- endif %}
}

resource "aws_rds_cluster_instance" "source" {
  count = {{ db.instances }}

  identifier                 = "{{ it.name }}-source-${count.index + 1}"
  cluster_identifier         = aws_rds_cluster.source.id
  engine                     = aws_rds_cluster.source.engine
  engine_version             = aws_rds_cluster.source.engine_version
  instance_class             = "{{ db.class }}"
  db_subnet_group_name       = aws_db_subnet_group.source.name
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true

  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.main.arn
}
{%- else %}

# What the log carries takes effect at the next restart.
resource "aws_db_parameter_group" "source" {
  name        = "{{ it.name }}-source"
  family      = "{{ db.family }}"
  description = "Rows in the log, encrypted connections, slow statements logged"
{%- for parameter in db.parameters %}

  parameter {
    name         = "{{ parameter.name }}"
    value        = "{{ parameter.value }}"
    apply_method = "{{ parameter.method }}"
  }
{%- endfor %}
}

resource "aws_db_instance" "source" {
{%- if !db.standby %}
  #checkov:skip=CKV_AWS_157:{% if it.is_copy() %}a copy of another region, which is promoted when that is lost{% else %}the plan chose one zone: see decisions/{% endif %}
{%- endif %}
  identifier             = "{{ it.name }}-source"
{%- if it.is_copy() %}
  replicate_source_db    = var.source_arn
  instance_class         = "{{ db.class }}"
{%- else %}
  engine                 = "{{ db.engine }}"
  engine_version         = "{{ db.version }}"
  instance_class         = "{{ db.class }}"
  db_name                = "{{ db.database }}"
{%- endif %}
  multi_az               = {{ db.standby }}
  db_subnet_group_name   = aws_db_subnet_group.source.name
  vpc_security_group_ids = [aws_security_group.source.id]
  publicly_accessible    = false

{%- if it.is_copy() %}

  # Its data and who may sign in come from the first region. It is written to once it is promoted.
  storage_type          = "gp3"
{%- else %}
{%- if db.managed %}

  # The provider makes and rotates the password of the administrator; nobody has to see it.
  username                      = "administrator"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.main.key_id
{%- else %}

  # The provider rotates no password of a database with readers or copies.
  username = "administrator"
  password = random_password.administrator.result
{%- endif %}

  storage_type          = "gp3"
  allocated_storage     = {{ db.storage_gb }}
{%- endif %}
  max_allocated_storage = {{ db.storage_gb_max }}
{%- if let Some(iops) = db.iops %}
  iops                  = {{ iops }}
{%- endif %}
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.main.arn

  parameter_group_name                = aws_db_parameter_group.source.name
  iam_database_authentication_enabled = true
  auto_minor_version_upgrade          = true

  # Backups of every day and the log between them: any second of the last {{ it.backup_days }} days can be restored.
{%- if it.is_copy() %}
  backup_retention_period = {{ it.backup_days }}
  copy_tags_to_snapshot   = true
  deletion_protection     = true
  skip_final_snapshot     = true
{%- else %}
  backup_retention_period   = {{ it.backup_days }}
  copy_tags_to_snapshot     = true
  deletion_protection       = true
  skip_final_snapshot       = false
  final_snapshot_identifier = "{{ it.name }}-source-final"
{%- endif %}

  enabled_cloudwatch_logs_exports = [{% for log in db.logs %}"{{ log }}"{% if !loop.last %}, {% endif %}{% endfor %}]
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
{%- if db.insights %}
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.main.arn
{%- endif %}
}
{%- if db.instances > 1 %}

# Read by the application; one of them can be promoted by hand.
resource "aws_db_instance" "reader" {
  #checkov:skip=CKV_AWS_157:a reader needs no standby, the others answer for it
  #checkov:skip=CKV_AWS_133:what it holds is backed up where it comes from
  count = {{ db.instances - 1 }}

  identifier             = "{{ it.name }}-reader-${count.index + 1}"
  replicate_source_db    = aws_db_instance.source.identifier
  instance_class         = "{{ db.class }}"
  vpc_security_group_ids = [aws_security_group.source.id]
  publicly_accessible    = false

  storage_type          = "gp3"
  max_allocated_storage = {{ db.storage_gb_max }}
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.main.arn

  parameter_group_name                = aws_db_parameter_group.source.name
  iam_database_authentication_enabled = true
  auto_minor_version_upgrade          = true
  copy_tags_to_snapshot               = true
  deletion_protection                 = true
  skip_final_snapshot                 = true

  enabled_cloudwatch_logs_exports = [{% for log in db.logs %}"{{ log }}"{% if !loop.last %}, {% endif %}{% endfor %}]
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
{%- if db.insights %}
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.main.arn
{%- endif %}
}
{%- endif %}
{%- endif %}

resource "aws_iam_role" "monitoring" {
  name = "{{ it.account_name() }}-database-monitoring"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}
{%- endif %}
