"""Prints what exists in one account, as JSON, read by the AWS SDK. usage: inventory.py ENDPOINT ACCOUNT [AGENTCORE_CONTROL_ENDPOINT]

Ids, dates and sizes that differ from run to run are left out; AWS's own resources are, too.
"""

import json
import sys

import boto3

endpoint, account, *control = sys.argv[1:]


def client(service, url=endpoint, **credentials):
    credentials = credentials or {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, region_name="us-east-1", endpoint_url=url, **credentials)


session = client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/inventory", RoleSessionName="inventory")["Credentials"]
keys = {"aws_access_key_id": session["AccessKeyId"], "aws_secret_access_key": session["SecretAccessKey"], "aws_session_token": session["SessionToken"]}


def aws(service):
    return client(service, **keys)


def pages(service, operation, member, **arguments):
    c = aws(service)
    if not c.can_paginate(operation):
        return getattr(c, operation)(**arguments)[member]
    return [item for page in c.get_paginator(operation).paginate(**arguments) for item in page[member]]


def pick(item, *names):
    return {name: item[name] for name in names if item.get(name) not in (None, "", [], {})}


def plain(tags):
    """Tags are a map in some services, and a list of Key and Value, or TagKey and TagValue, in others."""
    if isinstance(tags, dict):
        return tags
    return {tag.get("Key", tag.get("TagKey")): tag.get("Value", tag.get("TagValue")) for tag in tags}


def functions():
    c, out = aws("lambda"), {}
    for f in pages("lambda", "list_functions", "Functions"):
        out[f["FunctionName"]] = pick(f, "Runtime", "Architectures", "Handler", "MemorySize", "Timeout", "Role", "PackageType") | {
            "Environment": f.get("Environment", {}).get("Variables", {}),
            "Aliases": sorted(a["Name"] for a in c.list_aliases(FunctionName=f["FunctionName"])["Aliases"]),
            "Tags": c.list_tags(Resource=f["FunctionArn"])["Tags"],
        }
    return out


def roles():
    c, out = aws("iam"), {}
    for r in pages("iam", "list_roles", "Roles"):
        name = r["RoleName"]
        out[name] = {
            "Trust": r["AssumeRolePolicyDocument"],
            "MaxSessionDuration": r["MaxSessionDuration"],
            "Inline": {p: c.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"] for p in c.list_role_policies(RoleName=name)["PolicyNames"]},
            "Managed": sorted(p["PolicyArn"] for p in c.list_attached_role_policies(RoleName=name)["AttachedPolicies"]),
            "Tags": plain(c.list_role_tags(RoleName=name)["Tags"]),
        }
    return out


def policies():
    c, out = aws("iam"), {}
    for p in pages("iam", "list_policies", "Policies", Scope="Local"):
        version = c.get_policy_version(PolicyArn=p["Arn"], VersionId=p["DefaultVersionId"])
        out[p["PolicyName"]] = {"Document": version["PolicyVersion"]["Document"], "Tags": plain(c.list_policy_tags(PolicyArn=p["Arn"])["Tags"])}
    return out


def tables():
    c, out = aws("dynamodb"), {}
    for name in pages("dynamodb", "list_tables", "TableNames"):
        t = c.describe_table(TableName=name)["Table"]
        out[name] = {
            "Keys": t["KeySchema"],
            "Billing": t.get("BillingModeSummary", {}).get("BillingMode"),
            "Encryption": t.get("SSEDescription", {}).get("Status"),
            "DeletionProtection": t.get("DeletionProtectionEnabled"),
            "TimeToLive": pick(c.describe_time_to_live(TableName=name)["TimeToLiveDescription"], "AttributeName", "TimeToLiveStatus"),
            "Items": sorted(item["id"]["S"] for item in c.scan(TableName=name)["Items"] if "id" in item),
            "Tags": plain(c.list_tags_of_resource(ResourceArn=t["TableArn"])["Tags"]),
        }
    return out


def pools():
    c, out = aws("cognito-idp"), {}
    for summary in pages("cognito-idp", "list_user_pools", "UserPools", PaginationConfig={"PageSize": 50}):
        pool = summary["Id"]
        p = c.describe_user_pool(UserPoolId=pool)["UserPool"]
        clients = {}
        for item in pages("cognito-idp", "list_user_pool_clients", "UserPoolClients", UserPoolId=pool):
            d = c.describe_user_pool_client(UserPoolId=pool, ClientId=item["ClientId"])["UserPoolClient"]
            clients[d["ClientName"]] = pick(
                d, "ExplicitAuthFlows", "AllowedOAuthFlows", "AllowedOAuthScopes", "AllowedOAuthFlowsUserPoolClient", "CallbackURLs",
                "SupportedIdentityProviders", "PreventUserExistenceErrors", "EnableTokenRevocation", "AccessTokenValidity", "RefreshTokenValidity",
            ) | {"HasSecret": "ClientSecret" in d}
        out[p["Name"]] = {
            "MFA": p.get("MfaConfiguration"),
            "OnlyAdminsCreateUsers": p.get("AdminCreateUserConfig", {}).get("AllowAdminCreateUserOnly"),
            "UsernamesCaseSensitive": p.get("UsernameConfiguration", {}).get("CaseSensitive"),
            "Password": p.get("Policies", {}).get("PasswordPolicy"),
            "DeletionProtection": p.get("DeletionProtection"),
            "Domain": p.get("Domain"),
            "Groups": sorted(g["GroupName"] for g in c.list_groups(UserPoolId=pool)["Groups"]),
            "ResourceServers": {s["Identifier"]: [scope["ScopeName"] for scope in s.get("Scopes", [])] for s in c.list_resource_servers(UserPoolId=pool, MaxResults=50)["ResourceServers"]},
            "Clients": clients,
            "Tags": p.get("UserPoolTags", {}),
        }
    return out


def repositories():
    c, out = aws("ecr"), {}
    for r in pages("ecr", "describe_repositories", "repositories"):
        out[r["repositoryName"]] = {
            "Tags are": r["imageTagMutability"],
            "Scanned on push": r["imageScanningConfiguration"]["scanOnPush"],
            "Encryption": r["encryptionConfiguration"]["encryptionType"],
            "Lifecycle": json.loads(c.get_lifecycle_policy(repositoryName=r["repositoryName"])["lifecyclePolicyText"]),
            "Tags": plain(c.list_tags_for_resource(resourceArn=r["repositoryArn"])["tags"]),
        }
    return out


def log_groups():
    c, out = aws("logs"), {}
    for g in pages("logs", "describe_log_groups", "logGroups"):
        filters = c.describe_metric_filters(logGroupName=g["logGroupName"])["metricFilters"]
        out[g["logGroupName"]] = {
            "RetentionInDays": g.get("retentionInDays"),
            "Filters": {f["filterName"]: {"Pattern": f["filterPattern"], "Metric": f["metricTransformations"][0]["metricName"]} for f in filters},
            "Tags": c.list_tags_for_resource(resourceArn=g["arn"].removesuffix(":*"))["tags"],
        }
    return out


def alarms():
    c, out = aws("cloudwatch"), {}
    for a in pages("cloudwatch", "describe_alarms", "MetricAlarms"):
        out[a["AlarmName"]] = pick(
            a, "Namespace", "MetricName", "Statistic", "ExtendedStatistic", "Period", "EvaluationPeriods", "Threshold", "ComparisonOperator",
            "TreatMissingData", "AlarmActions", "OKActions",
        ) | {
            "Dimensions": sorted(d["Name"] for d in a.get("Dimensions", [])),
            "Expressions": [m["Expression"] for m in a.get("Metrics", []) if m.get("Expression")],
            "Tags": plain(c.list_tags_for_resource(ResourceARN=a["AlarmArn"])["Tags"]),
        }
    return out


def dashboards():
    c, out = aws("cloudwatch"), {}
    for d in pages("cloudwatch", "list_dashboards", "DashboardEntries"):
        body = json.loads(c.get_dashboard(DashboardName=d["DashboardName"])["DashboardBody"])
        out[d["DashboardName"]] = [widget["properties"]["title"] for widget in body["widgets"]]
    return out


def topics():
    c, out = aws("sns"), {}
    for t in pages("sns", "list_topics", "Topics"):
        arn = t["TopicArn"]
        key = c.get_topic_attributes(TopicArn=arn)["Attributes"].get("KmsMasterKeyId", "")
        out[arn.rsplit(":", 1)[1]] = {"Encrypted by a key of ours": key.startswith("arn:aws:kms:"), "Tags": plain(c.list_tags_for_resource(ResourceArn=arn)["Tags"])}
    return out


def parameters():
    c = aws("ssm")
    return {p["Name"]: {"Type": p["Type"], "Value": c.get_parameter(Name=p["Name"])["Parameter"]["Value"],
                        "Tags": plain(c.list_tags_for_resource(ResourceType="Parameter", ResourceId=p["Name"])["TagList"])}
            for p in pages("ssm", "describe_parameters", "Parameters")}


def kms_keys():
    c, out = aws("kms"), {}
    for k in pages("kms", "list_keys", "Keys"):
        d = c.describe_key(KeyId=k["KeyId"])["KeyMetadata"]
        if d["Description"].startswith("Default master key that protects my "):
            continue  # AWS's own, made at first use; the emulator takes it for a customer's
        if d["KeyState"] == "PendingDeletion":
            continue  # KMS deletes no key at once: a week is the least
        out[d["Description"]] = {
            "Policy": json.loads(c.get_key_policy(KeyId=k["KeyId"], PolicyName="default")["Policy"]),
            "Rotated": c.get_key_rotation_status(KeyId=k["KeyId"])["KeyRotationEnabled"],
            "Tags": plain(c.list_resource_tags(KeyId=k["KeyId"])["Tags"]),
        }
    return out


def gateways():
    c, out = client("bedrock-agentcore-control", control[0]), {}
    for item in c.list_gateways()["items"]:
        gateway, targets = item["gatewayId"], {}
        for entry in c.list_gateway_targets(gatewayIdentifier=gateway)["items"]:
            t = c.get_gateway_target(gatewayIdentifier=gateway, targetId=entry["targetId"])
            function = t["targetConfiguration"]["mcp"]["lambda"]
            targets[t["name"]] = {
                "Lambda": function["lambdaArn"],
                "Tools": sorted(tool["name"] for tool in function["toolSchema"]["inlinePayload"]),
                "Credentials": [p["credentialProviderType"] for p in t["credentialProviderConfigurations"]],
                "Headers": t["metadataConfiguration"]["allowedRequestHeaders"],
            }
        g = c.get_gateway(gatewayIdentifier=gateway)
        out[g["name"]] = pick(g, "status", "roleArn", "authorizerType", "authorizerConfiguration", "interceptorConfigurations", "protocolType", "protocolConfiguration") | {
            "Targets": targets, "Tags": c.list_tags_for_resource(resourceArn=g["gatewayArn"])["tags"],
        }
    return out


def runtimes():
    c, out = client("bedrock-agentcore-control", control[0]), {}
    for item in c.list_agent_runtimes()["agentRuntimes"]:
        r = c.get_agent_runtime(agentRuntimeId=item["agentRuntimeId"])
        image = r["agentRuntimeArtifact"]["containerConfiguration"]["containerUri"]
        endpoints = {e["name"]: e for e in c.list_agent_runtime_endpoints(agentRuntimeId=item["agentRuntimeId"])["runtimeEndpoints"]}
        out[r["agentRuntimeName"]] = pick(
            r, "status", "roleArn", "networkConfiguration", "authorizerConfiguration", "requestHeaderConfiguration", "protocolConfiguration",
            "lifecycleConfiguration", "metadataConfiguration",
        ) | {
            "Image": image.partition("@sha256:")[0] + "@sha256:...",
            "Environment": r["environmentVariables"],
            "Endpoints at its version": sorted(name for name, e in endpoints.items() if e["liveVersion"] == r["agentRuntimeVersion"]),
            "Tags": c.list_tags_for_resource(resourceArn=r["agentRuntimeArn"])["tags"],
        }
    return out


def credential_providers():
    c = client("bedrock-agentcore-control", control[0])
    return {p["name"]: p["credentialProviderVendor"] for p in c.list_oauth2_credential_providers()["credentialProviders"]}


readers = [functions, roles, policies, tables, pools, repositories, log_groups, alarms, dashboards, topics, parameters, kms_keys]
if control:
    readers += [gateways, runtimes, credential_providers]
print(json.dumps({read.__name__: read() for read in readers}, sort_keys=True))
