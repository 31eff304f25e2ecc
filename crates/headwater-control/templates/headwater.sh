#!/bin/bash
# Sets a machine up at its first start. Program and file come from the bucket, secrets from Secrets Manager at every start.
set -euo pipefail

useradd --system --home-dir /var/lib/headwater --create-home --shell /sbin/nologin headwater
aws s3 cp "s3://${bucket}/headwater" /usr/local/bin/headwater
aws s3 cp "s3://${bucket}/headwater.toml" /var/lib/headwater/headwater.toml
aws s3 cp "s3://${bucket}/rds.pem" /var/lib/headwater/rds.pem
chmod 0755 /usr/local/bin/headwater
chown headwater: /var/lib/headwater/headwater.toml /var/lib/headwater/rds.pem

cat > /usr/local/bin/headwater-environment <<'SCRIPT'
#!/bin/bash
# Writes what headwater.toml refers to, for root and the service only.
set -euo pipefail
umask 077
secret() { aws secretsmanager get-secret-value --region {{ it.region }} --secret-id "$1" --query SecretString --output text; }
{
{%- for variable in it.variables() %}
{%- if let Some(environment) = variable.environment %}
{%- if variable.secret %}
  echo "{{ environment }}=$(secret '${ {{- variable.id -}} }')"
{%- else %}
  echo "{{ environment }}=${ {{- variable.id -}} }"
{%- endif %}
{%- endif %}
{%- endfor %}
} > /run/headwater.env
SCRIPT
chmod 0700 /usr/local/bin/headwater-environment

cat > /etc/systemd/system/headwater.service <<'UNIT'
[Unit]
Description=Headwater
Wants=network-online.target
After=network-online.target

[Service]
User=headwater
WorkingDirectory=/var/lib/headwater
ExecStartPre=+/usr/local/bin/headwater-environment
EnvironmentFile=-/run/headwater.env
ExecStart=/usr/local/bin/headwater run
Restart=always
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/headwater
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --now headwater
