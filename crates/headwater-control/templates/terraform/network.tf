# A network without a way to or from the internet: everything here talks to each other, and to AWS through endpoints.

resource "aws_vpc" "main" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = {
    Name = "{{ it.name }}"
  }
}

# What nobody said a security group for reaches nothing.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.main.id
}

resource "aws_subnet" "private" {
  count = {{ it.zones }}

  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, count.index)
  availability_zone = var.zones[count.index]

  tags = {
    Name = "{{ it.name }}-private-${count.index + 1}"
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = "{{ it.name }}-private"
  }
}

resource "aws_route_table_association" "private" {
  count = {{ it.zones }}

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

# Who is in this group may ask the stores and Headwater: give it to the application's machines.
resource "aws_security_group" "clients" {
  #checkov:skip=CKV2_AWS_5:the application's machines join it, and they are not described here
  name        = "{{ it.name }}-clients"
  description = "Applications that read and write"
  vpc_id      = aws_vpc.main.id
}
{%- for group in it.groups() %}

resource "aws_security_group" "{{ group.id }}" {
  name        = "{{ it.name }}-{{ group.slug() }}"
  description = "{{ group.about }}"
  vpc_id      = aws_vpc.main.id
}
{%- endfor %}
{%- for rule in it.rules() %}

resource "aws_vpc_security_group_ingress_rule" "{{ rule.to }}_from_{{ rule.from }}" {
  description                  = "{{ rule.about }}"
  security_group_id            = aws_security_group.{{ rule.to }}.id
  referenced_security_group_id = aws_security_group.{{ rule.from }}.id
  ip_protocol                  = "tcp"
  from_port                    = {{ rule.port }}
  to_port                      = {{ rule.port }}
}

resource "aws_vpc_security_group_egress_rule" "{{ rule.from }}_to_{{ rule.to }}" {
  description                  = "{{ rule.about }}"
  security_group_id            = aws_security_group.{{ rule.from }}.id
  referenced_security_group_id = aws_security_group.{{ rule.to }}.id
  ip_protocol                  = "tcp"
  from_port                    = {{ rule.port }}
  to_port                      = {{ rule.port }}
}
{%- endfor %}
{%- if it.headwater %}

# Gateway endpoints are free: Headwater reads its program from S3{% if !it.tables.is_empty() %} and writes to DynamoDB{% endif %} without leaving the network.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.{{ it.region }}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
}

resource "aws_vpc_security_group_egress_rule" "headwater_to_s3" {
  description       = "Program and file"
  security_group_id = aws_security_group.headwater.id
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
{%- if !it.tables.is_empty() %}

resource "aws_vpc_endpoint" "dynamodb" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.{{ it.region }}.dynamodb"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
}

resource "aws_vpc_security_group_egress_rule" "headwater_to_dynamodb" {
  description       = "Tables"
  security_group_id = aws_security_group.headwater.id
  prefix_list_id    = aws_vpc_endpoint.dynamodb.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
{%- endif %}

# Paid by the hour and zone, and not part of the plan's bill.
resource "aws_vpc_endpoint" "secrets" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.{{ it.region }}.secretsmanager"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true
}
{%- endif %}

# Who talked to whom, kept for a year.
resource "aws_flow_log" "main" {
  vpc_id          = aws_vpc.main.id
  traffic_type    = "ALL"
  log_destination = aws_cloudwatch_log_group.flow.arn
  iam_role_arn    = aws_iam_role.flow.arn
}

resource "aws_cloudwatch_log_group" "flow" {
  name              = "/{{ it.name }}/flow"
  retention_in_days = 365
  kms_key_id        = aws_kms_key.main.arn
}

resource "aws_iam_role" "flow" {
  name = "{{ it.account_name() }}-flow-logs"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  name = "write-flow-logs"
  role = aws_iam_role.flow.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
      Resource = "${aws_cloudwatch_log_group.flow.arn}:*"
    }]
  })
}
