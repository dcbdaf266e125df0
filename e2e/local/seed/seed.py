"""Fills moto with the accounts, people and resources that the local platform starts with.

Reads one JSON object from standard input (Config in seed.go) and prints one on standard output (Result in seed.go).
Passwords come in by standard input only and are never printed.
"""

import io
import json
import sys
import zipfile

import boto3
from botocore.config import Config

CONFIG = json.load(sys.stdin)
CENTRAL = CONFIG["central_account"]
ORGANIZATION = CONFIG["organization_id"]
HOME, SECOND = CONFIG["regions"][:2]
TARGET_ROLE = CONFIG["target_role_name"]
BRIDGE_ROLE_ARN = f"arn:aws:iam::{CENTRAL}:role/{CONFIG['bridge_role_name']}"

# Resources of an account by its environment. An account with an environment that is not named here gets "staging".
# instances: (Region, name, type, state, owner); buckets: (Region, suffix); functions: (Region, name, runtime,
# variables); databases: (Region, name, engine, class); groups: (Region, name, [(port, source)]).
WORLD = "0.0.0.0/0"
INSIDE = "10.0.0.0/8"
FLEETS = {
    "shared": {
        "instances": [
            (HOME, "bastion", "t3.micro", "running", "platform"),
            (HOME, "ci-runner", "c6i.xlarge", "running", "platform"),
        ],
        "buckets": [(HOME, "audit-trail"), (HOME, "artifacts")],
        "functions": [(HOME, "cost-report", "python3.12", {"LOG_LEVEL": "INFO"})],
        "databases": [(HOME, "inventory", "postgres", "db.t3.micro")],
        "groups": [(HOME, "bastion-ssh", [(22, INSIDE)]), (HOME, "ci", [(443, INSIDE)])],
    },
    "prod": {
        "instances": [
            (HOME, "web-1", "m6i.large", "running", "shop"),
            (HOME, "web-2", "m6i.large", "running", "shop"),
            (HOME, "batch-1", "c6i.2xlarge", "stopped", "data"),
            (SECOND, "web-eu-1", "m6i.large", "running", "shop"),
            (SECOND, "cache-eu-1", "r6g.large", "running", "shop"),
        ],
        "buckets": [(HOME, "orders"), (HOME, "web-assets"), (SECOND, "orders-eu")],
        "functions": [
            (HOME, "checkout", "nodejs22.x", {"STAGE": "prod", "PAYMENT_API_KEY": "sk_live_not_a_real_key_4242"}),
            (HOME, "resize-images", "python3.12", {"STAGE": "prod"}),
            (SECOND, "checkout-eu", "nodejs22.x", {"STAGE": "prod"}),
        ],
        "databases": [
            (HOME, "orders", "postgres", "db.r6g.large"),
            (SECOND, "orders-eu", "postgres", "db.r6g.large"),
        ],
        "groups": [
            (HOME, "web", [(443, WORLD), (80, WORLD)]),
            (HOME, "forgotten-ssh", [(22, WORLD)]),
            (SECOND, "web-eu", [(443, WORLD)]),
        ],
    },
    "staging": {
        "instances": [
            (HOME, "web-test", "t3.large", "running", "shop"),
            (HOME, "old-experiment", "t3.small", "stopped", "data"),
            (SECOND, "web-test-eu", "t3.large", "stopped", "shop"),
        ],
        "buckets": [(HOME, "test-data"), (SECOND, "test-data-eu")],
        "functions": [(HOME, "checkout", "nodejs22.x", {"STAGE": "staging", "DB_PASSWORD": "not-a-real-password"})],
        "databases": [(HOME, "orders-test", "mysql", "db.t3.medium")],
        "groups": [(HOME, "web-test", [(443, INSIDE)]), (SECOND, "open-ssh-eu", [(22, WORLD), (3389, WORLD)])],
    },
}

# What the target role may read. Every entry is a prefix of read operations; the two denials below take out of it
# what returns data or credentials.
READS = sorted(
    """
    acm:Describe* acm:List* apigateway:GET autoscaling:Describe* backup:Describe* backup:List* bedrock:List*
    ce:GetCostAndUsage cloudformation:Describe* cloudformation:List* cloudfront:List* cloudtrail:Describe*
    cloudtrail:GetTrailStatus cloudwatch:Describe* cloudwatch:GetMetricData cloudwatch:GetMetricStatistics
    cloudwatch:ListMetrics cognito-idp:Describe* cognito-idp:List* config:Describe* config:List* dynamodb:Describe*
    dynamodb:List* ec2:Describe* ec2:Get* ecr:Describe* ecr:List* ecs:Describe* ecs:List* eks:Describe* eks:List*
    elasticache:Describe* elasticfilesystem:Describe* elasticloadbalancing:Describe* events:Describe* events:List*
    guardduty:Get* guardduty:List* health:Describe* iam:Get* iam:List* kms:DescribeKey kms:List* lambda:Get*
    lambda:List* logs:Describe* organizations:Describe* organizations:List* rds:Describe* rds:List* redshift:Describe*
    route53:Get* route53:List* s3:GetBucket* s3:GetEncryptionConfiguration s3:ListAllMyBuckets s3:ListBucket
    secretsmanager:DescribeSecret secretsmanager:ListSecrets servicequotas:Get* servicequotas:List* sns:Get* sns:List*
    sqs:GetQueueAttributes sqs:ListQueues ssm:DescribeInstanceInformation ssm:DescribeParameters states:Describe*
    states:List* sts:GetCallerIdentity tag:Get* wafv2:Get* wafv2:List*
    """.split()
)
DATA_READS = sorted(
    """
    athena:GetQueryResults cognito-idp:DescribeUserPoolClient dynamodb:BatchGetItem dynamodb:GetItem dynamodb:GetRecords
    dynamodb:PartiQL* dynamodb:Query dynamodb:Scan ec2:GetConsoleOutput ec2:GetConsoleScreenshot ec2:GetPasswordData
    ecr:BatchGetImage ecr:GetAuthorizationToken ecr:GetDownloadUrlForLayer iam:GenerateCredentialReport
    kinesis:GetRecords kms:Decrypt kms:GenerateDataKey* lambda:GetFunction s3:GetObject* secretsmanager:BatchGetSecretValue
    secretsmanager:GetSecretValue sqs:ReceiveMessage ssm:GetParameter* ssm:StartSession sts:AssumeRole*
    sts:GetFederationToken sts:GetSessionToken
    """.split()
)


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def target_trust():
    conditions = {
        "StringEquals": {"aws:PrincipalOrgID": ORGANIZATION},
        "StringLike": {"sts:SourceIdentity": "*", "sts:RoleSessionName": "central-ops-*"},
        "ForAllValues:StringLike": {"aws:TagKeys": ["central-ops:*"]},
    }
    if CONFIG.get("external_id"):
        conditions["StringEquals"]["sts:ExternalId"] = CONFIG["external_id"]
    return document(
        {
            "Sid": "BridgeOnly",
            "Effect": "Allow",
            "Principal": {"AWS": BRIDGE_ROLE_ARN},
            "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
            "Condition": conditions,
        }
    )


def service_trust(service):
    return document({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})


def bridge_rights(session_table_arn):
    return document(
        {
            "Sid": "TargetRolesOfTheOrganization",
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
            "Resource": f"arn:aws:iam::*:role/{TARGET_ROLE}",
            "Condition": {"StringEquals": {"aws:ResourceOrgID": ORGANIZATION}},
        },
        {
            "Sid": "SharedSessions",
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            "Resource": session_table_arn,
        },
    )


class Account:
    """Clients that speak for one account: moto takes the account from a header, whatever keys signed."""

    shared = {}

    def __init__(self, account_id):
        self.id = account_id

    def __call__(self, service, region=HOME):
        key = (service, region)
        if key not in Account.shared:
            client = boto3.client(
                service,
                region_name=region,
                endpoint_url=CONFIG["endpoint"],
                aws_access_key_id="seed",
                aws_secret_access_key="seed",
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, parameter_validation=False),
            )
            client.meta.events.register("before-send", Account._name_account)
            Account.shared[key] = client
        Account.current = self.id
        return Account.shared[key]

    @staticmethod
    def _name_account(request, **_):
        request.headers["x-moto-account-id"] = Account.current


def make_role(account, name, trust, policies):
    account("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    for policy_name, policy in policies.items():
        account("iam").put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=policy)
    return f"arn:aws:iam::{account.id}:role/{name}"


# The app client of people, as infra/identity declares it; TestSampleClientIsTheDeployedOne holds it to that.
PEOPLE_CLIENT = {
    "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH"],
    "AllowedOAuthFlows": ["code"],
    "AllowedOAuthScopes": ["openid"],
    "AllowedOAuthFlowsUserPoolClient": True,
    "SupportedIdentityProviders": ["COGNITO"],
    "CallbackURLs": ["http://localhost:8976/callback"],
    "PreventUserExistenceErrors": "ENABLED",
    "EnableTokenRevocation": True,
    "AccessTokenValidity": 60,
    "IdTokenValidity": 60,
    "RefreshTokenValidity": 1,
    "TokenValidityUnits": {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"},
}


def make_pool(account):
    idp = account("cognito-idp")
    pool = idp.create_user_pool(PoolName="central-ops")["UserPool"]["Id"]
    client = idp.create_user_pool_client(
        UserPoolId=pool,
        ClientName="central-ops-people",
        GenerateSecret=False,
        **PEOPLE_CLIENT,
    )["UserPoolClient"]["ClientId"]
    other = idp.create_user_pool_client(
        UserPoolId=pool, ClientName="another-application", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    )["UserPoolClient"]["ClientId"]
    for group in sorted({group for user in CONFIG["users"] for group in user["groups"]} | set(CONFIG["groups"])):
        idp.create_group(UserPoolId=pool, GroupName=group)
    return {"user_pool_id": pool, "client_id": client, "other_client_id": other}


def make_people(account, pool):
    idp = account("cognito-idp")
    subjects = {}
    for user in CONFIG["users"]:
        made = idp.admin_create_user(
            UserPoolId=pool,
            Username=user["username"],
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": user["email"]}, {"Name": "email_verified", "Value": "true"}],
        )
        idp.admin_set_user_password(UserPoolId=pool, Username=user["username"], Password=user["password"], Permanent=True)
        for group in user["groups"]:
            idp.admin_add_user_to_group(UserPoolId=pool, Username=user["username"], GroupName=group)
        attributes = {a["Name"]: a["Value"] for a in made["User"]["Attributes"]}
        subjects[user["username"]] = attributes["sub"]
    return subjects


def make_table(account):
    name = CONFIG["session_table"]
    table = account("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": CONFIG["session_table_key"], "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": CONFIG["session_table_key"], "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return table["TableDescription"]["TableArn"]


def make_instances(account, instances):
    for region, name, instance_type, state, owner in instances:
        ec2 = account("ec2", region)
        made = ec2.run_instances(
            ImageId="ami-0abcdef1234567890",
            InstanceType=instance_type,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}, {"Key": "owner", "Value": owner}]}
            ],
        )
        if state == "stopped":
            ec2.stop_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])


def make_groups(account, groups):
    for region, name, openings in groups:
        ec2 = account("ec2", region)
        group = ec2.create_security_group(GroupName=name, Description=f"sample group {name}")["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": source}]}
                for port, source in openings
            ],
        )


def make_buckets(account, buckets):
    for region, suffix in buckets:
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        account("s3", region).create_bucket(Bucket=f"example-{account.id}-{suffix}", **where)


def make_functions(account, functions, role_arn):
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("main.py", "def handler(event, context):\n    return event\n")
    for region, name, runtime, variables in functions:
        account("lambda", region).create_function(
            FunctionName=name,
            Runtime=runtime,
            Role=role_arn,
            Handler="main.handler",
            Code={"ZipFile": code.getvalue()},
            Environment={"Variables": variables},
        )


def make_databases(account, databases):
    for region, name, engine, instance_class in databases:
        account("rds", region).create_db_instance(
            DBInstanceIdentifier=name,
            Engine=engine,
            DBInstanceClass=instance_class,
            AllocatedStorage=20,
            MasterUsername="owner",
            MasterUserPassword="not-a-real-password",
        )


def make_roles(central, table_arn):
    name = CONFIG["bridge_role_name"]
    functions = [f"arn:aws:lambda:{HOME}:{CENTRAL}:function:{f}" for f in (name, name.replace("bridge", "interceptor"))]
    agent_rights = document(
        {
            "Sid": "AskModel",
            "Effect": "Allow",
            "Action": ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"],
            "Resource": "*",
        },
        {"Sid": "MachineToken", "Effect": "Allow", "Action": "bedrock-agentcore:GetResourceOauth2Token", "Resource": "*"},
    )
    invoke = document({"Sid": "CallFunctions", "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": functions})
    return {
        "bridge_role_arn": make_role(
            central, CONFIG["bridge_role_name"], service_trust("lambda.amazonaws.com"), {"bridge": bridge_rights(table_arn)}
        ),
        "service_role_arns": {
            name: make_role(central, f"central-ops-{name}", service_trust(service), policies)
            for name, service, policies in (
                ("interceptor", "lambda.amazonaws.com", {}),
                ("agent", "bedrock-agentcore.amazonaws.com", {"agent": agent_rights}),
                ("gateway", "bedrock-agentcore.amazonaws.com", {"gateway": invoke}),
            )
        },
        "target_role_arns": {entry["id"]: make_target_role(Account(entry["id"])) for entry in CONFIG["accounts"]},
    }


def make_target_role(account):
    return make_role(
        account,
        TARGET_ROLE,
        target_trust(),
        {
            "reads": document({"Sid": "Reads", "Effect": "Allow", "Action": READS, "Resource": "*"}),
            "no-data": document({"Sid": "NoDataNoCredentials", "Effect": "Deny", "Action": DATA_READS, "Resource": "*"}),
            "only-reads-by-mcp": document(
                {
                    "Sid": "ViaMcpOnlyTheseReads",
                    "Effect": "Deny",
                    "NotAction": READS,
                    "Resource": "*",
                    "Condition": {"Bool": {"aws:ViaAWSMCPService": "true"}},
                }
            ),
        },
    )


def main():
    central = Account(CENTRAL)
    result = {"user_pool_id": CONFIG["user_pool_id"]}
    if not CONFIG["user_pool_id"]:
        table_arn = make_table(central)
        result = make_pool(central)
        result["session_table_arn"] = table_arn
        result.update(make_roles(central, table_arn))
    result["subjects"] = make_people(central, result["user_pool_id"])
    for entry in CONFIG["accounts"] if CONFIG["resources"] else ():
        account = Account(entry["id"])
        fleet = FLEETS.get(entry["environment"], FLEETS["staging"])
        function_role = make_role(account, "application-functions", service_trust("lambda.amazonaws.com"), {})
        make_instances(account, fleet["instances"])
        make_groups(account, fleet["groups"])
        make_buckets(account, fleet["buckets"])
        make_functions(account, fleet["functions"], function_role)
        make_databases(account, fleet["databases"])
    json.dump(result, sys.stdout)


main()
