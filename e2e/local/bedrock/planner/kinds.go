package planner

import (
	"cmp"
	"fmt"
	"strings"
)

// Filter narrows a list. Empty members don't.
type Filter struct {
	Name  string // exact, or with * at the ends
	ID    string // e.g. i-0123456789abcdef0
	Type  string // instance type or class, runtime, engine; * at the end
	State string // running, stopped, available ...
	Open  bool   // security groups that let in 0.0.0.0/0 or ::/0; databases with a public address
	Port  int    // with Open: security groups that do so at this port; 0 for any
}

// kind is one sort of resource: how it is called, how it is asked for, and what of it is shown.
type kind struct {
	id        string
	one, many string   // as answers name it
	phrases   []string // as questions name it, singular; plurals are derived
	service   string
	operation string
	// global kinds belong to an account and not to a Region: they are asked for once an account.
	global   bool
	list     string            // JMESPath to the list of resources in one answer
	fields   []field           // of each resource, in the order of the table
	byName   string            // field that a name filter compares, as JMESPath
	byID     string            // likewise for ids
	byType   string            // likewise for types; with server, for patterns only
	byState  string            // likewise for states
	byOpen   string            // JMESPath condition of Open
	inRegion string            // of global kinds: the parameter that takes the one Region that resources shall be of
	server   map[string]string // filter members that the operation applies itself: member -> EC2 filter name
	states   map[string]string // states that byState or server compare: as questions say it -> as AWS says it
	within   map[string]string // what an id of another kind compares: its prefix -> JMESPath, or an EC2 filter name with server
}

// field is a column: the key in a row, its title, and the JMESPath that finds it in a resource.
type field struct{ key, title, path string }

const nameTag = "Tags[?Key=='Name']|[0].Value"

// openRules selects the rules of a security group that let the whole world in, by IPv4 or IPv6.
const openRules = "IpPermissions[?IpRanges[?CidrIp=='0.0.0.0/0']||Ipv6Ranges[?CidrIpv6=='::/0']]"

// openRulesAt are those of openRules that hold for one port.
func openRulesAt(port int) string {
	if port == 0 {
		return openRules
	}
	return fmt.Sprintf("IpPermissions[?(IpRanges[?CidrIp=='0.0.0.0/0']||Ipv6Ranges[?CidrIpv6=='::/0'])&&(IpProtocol=='-1'||FromPort<=`%d`&&ToPort>=`%d`)]", port, port)
}

// ec2Filters are the filters of DescribeInstances
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html); their values may hold *.
var ec2Filters = map[string]string{"Name": "tag:Name", "ID": "instance-id", "Type": "instance-type", "State": "instance-state-name"}

var kinds = []kind{
	{
		id: "ec2", one: "EC2 instance", many: "EC2 instances", service: "ec2", operation: "DescribeInstances",
		phrases: []string{"ec2 instance", "ec2 server", "ec2", "instance", "server", "virtual machine", "vm", "host", "machine"},
		list:    "Reservations[].Instances[]",
		fields:  []field{{"id", "id", "InstanceId"}, {"name", "name", nameTag}, {"type", "type", "InstanceType"}, {"state", "state", "State.Name"}},
		server:  ec2Filters, byType: "InstanceType",
		states: map[string]string{"running": "running", "stopped": "stopped", "terminated": "terminated", "pending": "pending", "stopping": "stopping", "available": "running"},
		within: map[string]string{"vpc": "vpc-id", "subnet": "subnet-id", "sg": "instance.group-id"},
	},
	{
		id: "s3", one: "S3 bucket", many: "S3 buckets", service: "s3", operation: "ListBuckets", global: true,
		phrases: []string{"s3 bucket", "s3", "bucket"},
		list:    "Buckets[]",
		fields:  []field{{"name", "name", "Name"}, {"home", "bucket Region", "BucketRegion"}, {"created", "created", "CreationDate"}},
		byName:  "Name", inRegion: "BucketRegion",
	},
	{
		id: "lambda", one: "Lambda function", many: "Lambda functions", service: "lambda", operation: "ListFunctions",
		phrases: []string{"lambda function", "aws lambda", "lambda", "function"},
		list:    "Functions[]",
		fields:  []field{{"name", "name", "FunctionName"}, {"type", "runtime", "Runtime"}, {"memory", "memory (MB)", "MemorySize"}, {"changed", "last changed", "LastModified"}},
		byName:  "FunctionName", byType: "Runtime",
	},
	{
		id: "rds", one: "RDS database", many: "RDS databases", service: "rds", operation: "DescribeDBInstances",
		phrases: []string{"rds database", "rds instance", "rds db", "rds", "database instance", "database", "db instance", "db"},
		list:    "DBInstances[]",
		fields: []field{{"name", "name", "DBInstanceIdentifier"}, {"engine", "engine", "Engine"}, {"type", "class", "DBInstanceClass"},
			{"state", "state", "DBInstanceStatus"}},
		byName: "DBInstanceIdentifier", byType: "join(' ',[Engine||'',DBInstanceClass||''])", byState: "DBInstanceStatus", byOpen: "PubliclyAccessible",
		states: map[string]string{"running": "available", "available": "available", "stopped": "stopped", "stopping": "stopping"},
	},
	{
		id: "role", one: "IAM role", many: "IAM roles", service: "iam", operation: "ListRoles", global: true,
		phrases: []string{"iam role", "role"},
		list:    "Roles[]",
		fields:  []field{{"name", "name", "RoleName"}, {"path", "path", "Path"}, {"created", "created", "CreateDate"}},
		byName:  "RoleName",
	},
	{
		id: "sg", one: "security group", many: "security groups", service: "ec2", operation: "DescribeSecurityGroups",
		phrases: []string{"ec2 security group", "security group", "sg", "firewall"},
		list:    "SecurityGroups[]",
		fields:  []field{{"id", "id", "GroupId"}, {"name", "name", "GroupName"}, {"vpc", "VPC", "VpcId"}},
		byName:  "GroupName", byID: "GroupId", byOpen: openRules, within: map[string]string{"vpc": "VpcId"},
	},
	{
		id: "user", one: "IAM user", many: "IAM users", service: "iam", operation: "ListUsers", global: true,
		phrases: []string{"iam user", "user"},
		list:    "Users[]",
		fields:  []field{{"name", "name", "UserName"}, {"created", "created", "CreateDate"}, {"used", "password last used", "PasswordLastUsed"}},
		byName:  "UserName",
	},
	{
		id: "vpc", one: "VPC", many: "VPCs", service: "ec2", operation: "DescribeVpcs",
		phrases: []string{"vpc", "virtual private cloud"},
		list:    "Vpcs[]",
		fields:  []field{{"id", "id", "VpcId"}, {"name", "name", nameTag}, {"cidr", "CIDR", "CidrBlock"}, {"default", "default", "IsDefault"}},
		byID:    "VpcId", byName: "(" + nameTag + ")",
	},
	{
		id: "subnet", one: "subnet", many: "subnets", service: "ec2", operation: "DescribeSubnets",
		phrases: []string{"subnet"},
		list:    "Subnets[]",
		fields:  []field{{"id", "id", "SubnetId"}, {"name", "name", nameTag}, {"cidr", "CIDR", "CidrBlock"}, {"vpc", "VPC", "VpcId"}},
		byID:    "SubnetId", byName: "(" + nameTag + ")", within: map[string]string{"vpc": "VpcId"},
	},
	{
		id: "volume", one: "EBS volume", many: "EBS volumes", service: "ec2", operation: "DescribeVolumes",
		phrases: []string{"ebs volume", "volume", "disk"},
		list:    "Volumes[]",
		fields: []field{{"id", "id", "VolumeId"}, {"size", "size (GiB)", "Size"}, {"type", "type", "VolumeType"},
			{"state", "state", "State"}, {"encrypted", "encrypted", "Encrypted"}},
		byID: "VolumeId", byState: "State", states: map[string]string{"available": "available"},
	},
	{
		id: "table", one: "DynamoDB table", many: "DynamoDB tables", service: "dynamodb", operation: "ListTables",
		phrases: []string{"dynamodb table", "dynamodb", "dynamo table", "table"},
		list:    "TableNames[]",
		fields:  []field{{"name", "name", "@"}}, byName: "@",
	},
	{
		id: "queue", one: "SQS queue", many: "SQS queues", service: "sqs", operation: "ListQueues",
		phrases: []string{"sqs queue", "sqs", "queue"},
		list:    "QueueUrls[]",
		fields:  []field{{"name", "URL", "@"}},
	},
	{
		id: "topic", one: "SNS topic", many: "SNS topics", service: "sns", operation: "ListTopics",
		phrases: []string{"sns topic", "sns", "topic"},
		list:    "Topics[]",
		fields:  []field{{"name", "ARN", "TopicArn"}},
	},
	{
		id: "stack", one: "CloudFormation stack", many: "CloudFormation stacks", service: "cloudformation", operation: "DescribeStacks",
		phrases: []string{"cloudformation stack", "cloudformation", "stack"},
		list:    "Stacks[]",
		fields:  []field{{"name", "name", "StackName"}, {"state", "state", "StackStatus"}, {"created", "created", "CreationTime"}},
		byName:  "StackName",
	},
}

// kindOfID tells the kind of a resource from the prefix of its id.
var kindOfID = map[string]string{"i": "ec2", "sg": "sg", "vpc": "vpc", "subnet": "subnet", "vol": "volume"}

func kindByID(id string) kind {
	for _, k := range kinds {
		if k.id == id {
			return k
		}
	}
	panic("planner: unknown kind " + id) // ids come from the table above
}

// idPrefix is what tells the kind of an id.
func idPrefix(id string) string {
	prefix, _, _ := strings.Cut(id, "-")
	return prefix
}

// narrow returns what of f can be asked of k, in the words of AWS, and the words of the rest.
func (k kind) narrow(f Filter) (narrowed Filter, rest []string) {
	drop := func(member *string, words string) {
		if *member != "" {
			rest = append(rest, words)
			*member = ""
		}
	}
	if k.byName == "" && k.server == nil {
		drop(&f.Name, strings.Trim(f.Name, "*"))
	}
	if k.byType == "" && k.server == nil {
		drop(&f.Type, strings.Trim(f.Type, "*."))
	}
	if k.byID == "" && k.server == nil || kindOfID[idPrefix(f.ID)] != k.id && k.within[idPrefix(f.ID)] == "" {
		drop(&f.ID, f.ID)
	}
	switch state := k.states[f.State]; {
	case state != "":
		f.State = state
	case f.State == "running" && k.states == nil: // "the functions that are running": those that there are
		f.State = ""
	default:
		drop(&f.State, f.State)
	}
	if f.Open && k.byOpen == "" {
		f.Open = false
		rest = append(rest, "public")
	}
	if k.id != "sg" {
		f.Port = 0
	}
	return f, rest
}

// selection is the JMESPath that turns one answer into rows. f is narrowed.
func (k kind) selection(f Filter) string {
	var conditions []string
	compare := func(path, pattern string) {
		if path != "" && pattern != "" {
			conditions = append(conditions, match(path, pattern))
		}
	}
	if k.server == nil {
		compare(k.byName, f.Name)
		if path := k.within[idPrefix(f.ID)]; path != "" {
			compare(path, f.ID)
		} else {
			compare(k.byID, f.ID)
		}
		compare(k.byType, f.Type)
		compare(k.byState, f.State)
	} else if isPattern(f.Type) {
		compare(k.byType, f.Type)
	}
	fields := k.fields
	switch {
	case k.id == "sg" && f.Open:
		conditions = append(conditions, openRulesAt(f.Port))
		fields = append(fields[:len(fields):len(fields)], field{key: "open", path: openRulesAt(f.Port) + ".{protocol:IpProtocol,from:FromPort,to:ToPort}"})
	case f.Open:
		conditions = append(conditions, k.byOpen)
	}
	var b strings.Builder
	b.WriteString(k.list)
	if len(conditions) > 0 {
		fmt.Fprintf(&b, "|[?%s]", strings.Join(conditions, "&&"))
	} else {
		b.WriteString("|[]")
	}
	b.WriteString(".{")
	for i, f := range fields {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(f.key + ":" + f.path)
	}
	b.WriteString("}")
	return b.String()
}

// groupBy is what the bridge is to count by: word itself if it is something of the target or a field of k's rows, else "".
func (k kind) groupBy(word string) string {
	switch word {
	case "account_name", "environment":
		return word
	case "region":
		if k.global { // the target has none
			return ""
		}
		return word
	}
	for _, f := range k.fields {
		if f.key == word {
			return word
		}
	}
	return ""
}

// params are the arguments of the operation that narrow the list in AWS. f is narrowed.
// region is the one for inRegion, if there is one.
func (k kind) params(f Filter, region string) map[string]any {
	if k.inRegion != "" && region != "" {
		return map[string]any{k.inRegion: region}
	}
	var filters []any
	add := func(filter, value string) {
		if value != "" {
			filters = append(filters, map[string]any{"Name": filter, "Values": []any{value}})
		}
	}
	if k.server != nil {
		add(k.server["Name"], f.Name)
		add(cmp.Or(k.within[idPrefix(f.ID)], k.server["ID"]), f.ID)
		if !isPattern(f.Type) { // the emulator compares instance types literally
			add(k.server["Type"], f.Type)
		}
		add(k.server["State"], f.State)
	}
	if len(filters) == 0 {
		return nil
	}
	return map[string]any{"Filters": filters}
}

func isPattern(text string) bool { return strings.Contains(text, "*") }

// match is the JMESPath condition that path matches pattern, in which * may stand at either end.
func match(path, pattern string) string {
	text := strings.Trim(pattern, "*")
	literal := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
	orEmpty := path + "||''" // the functions fail on what a resource lacks
	head, tail := strings.HasPrefix(pattern, "*"), strings.HasSuffix(pattern, "*")
	switch {
	case head && tail:
		return fmt.Sprintf("contains(%s,%s)", orEmpty, literal)
	case tail:
		return fmt.Sprintf("starts_with(%s,%s)", orEmpty, literal)
	case head:
		return fmt.Sprintf("ends_with(%s,%s)", orEmpty, literal)
	}
	return path + "==" + literal
}
