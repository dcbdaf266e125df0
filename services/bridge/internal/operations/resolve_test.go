package operations

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	tb := Load()
	for _, tt := range []struct{ service, operation, want string }{
		{"ec2", "DescribeInstances", "ec2:DescribeInstances"},
		{"EC2", "describe-instances", "ec2:DescribeInstances"},
		{"s3api", "list-buckets", "s3:ListBuckets"},
		{" Amazon EC2 ", "describe_instances", "ec2:DescribeInstances"},
		{"Amazon Elastic Compute Cloud", "DESCRIBEINSTANCES", "ec2:DescribeInstances"},
		{"ec2", "ec2:DescribeInstances", "ec2:DescribeInstances"},
		{"elbv2", "describe-load-balancers", "elbv2:DescribeLoadBalancers"},
		{"elasticloadbalancing v2", "DescribeLoadBalancers", "elbv2:DescribeLoadBalancers"},
		{"elasticloadbalancing", "DescribeTargetGroups", "elbv2:DescribeTargetGroups"},
		{"elasticloadbalancing", "elasticloadbalancing:DescribeTargetGroups", "elbv2:DescribeTargetGroups"},
		{"monitoring", "ListMetrics", "cloudwatch:ListMetrics"},
		{"CloudWatch Logs", "DescribeLogGroups", "logs:DescribeLogGroups"},
		{"states", "ListStateMachines", "stepfunctions:ListStateMachines"},
		{"Step Functions", "ListStateMachines", "stepfunctions:ListStateMachines"},
		{"EventBridge", "ListRules", "events:ListRules"},
		{"AWS Lambda", "ListFunctions", "lambda:ListFunctions"},
		{"elasticfilesystem", "DescribeFileSystems", "efs:DescribeFileSystems"},
		{"tag", "GetResources", "resourcegroupstaggingapi:GetResources"},
		{"cost explorer", "GetCostAndUsage", "ce:GetCostAndUsage"},
		{"alb", "DescribeLoadBalancers", "elbv2:DescribeLoadBalancers"},
		{"ssm", "get_parameters_by_path", "ssm:GetParametersByPath"},
		{"rds", "generate-db-auth-token", "rds:GenerateDBAuthToken"},
	} {
		op, err := tb.Resolve(tt.service, tt.operation)
		if err != nil || op.String() != tt.want {
			t.Errorf("Resolve(%q, %q) = %s, %v, want %s", tt.service, tt.operation, op, err, tt.want)
		}
	}
}

func TestResolveUnknown(t *testing.T) {
	t.Parallel()
	tb := Load()
	for _, tt := range []struct{ service, operation, kind, first string }{
		{"ec3", "DescribeInstances", "service", "ec2"},
		{"dynamo", "ListTables", "service", "dynamodb"},
		{"elasticloadbalancing", "DescribeLoadBalancers", "service", "elb"},
		{"ec2", "DescribeInstanecs", "operation", "DescribeInstances"},
		{"ec2", "ListInstances", "operation", "DescribeInstances"},
		{"s3", "ListBucket", "operation", "ListBuckets"},
		{"ec2", "lambda:ListFunctions", "operation", ""},
		{"", "", "service", ""},
		{"ec2", "", "operation", ""},
		{strings.Repeat("x", 100_000), "y", "service", ""},
		{"ec2", strings.Repeat("é", 100_000), "operation", ""},
	} {
		_, err := tb.Resolve(tt.service, tt.operation)
		var unknown *UnknownError
		if !errors.As(err, &unknown) {
			t.Errorf("Resolve(%.40q, %.40q): %v, want an UnknownError", tt.service, tt.operation, err)
			continue
		}
		if unknown.Kind != tt.kind || len(unknown.Nearest) > 5 || tt.first != "" && !slices.Contains(unknown.Nearest[:min(2, len(unknown.Nearest))], tt.first) {
			t.Errorf("Resolve(%.40q, %.40q): %s, nearest %q, want %s, nearest %q", tt.service, tt.operation, unknown.Kind, unknown.Nearest, tt.kind, tt.first)
		}
	}
	if _, err := tb.Resolve("ebs", "DescribeNothing"); err == nil || err.Error() != `unknown operation "DescribeNothing" of ebs` {
		t.Errorf("got %v", err)
	}
	err := error(&UnknownError{Kind: "service", Value: "ec3", Nearest: []string{"ec2", "ecs"}})
	if got, want := err.Error(), `unknown service "ec3"; nearest: ec2, ecs`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestResolveEverything finds each operation under its boto3 name, its snake_case name as boto3
// spells it and its name on the command line.
func TestResolveEverything(t *testing.T) {
	t.Parallel()
	tb := Load()
	each(tb, func(op Operation) {
		for _, name := range []string{op.Name, strings.ToLower(op.Name), snake(op.Name, "_"), snake(op.Name, "-")} {
			if got, err := tb.Resolve(op.Service, name); err != nil || got.Name != op.Name {
				t.Errorf("Resolve(%s, %s) = %s, %v", op.Service, name, got, err)
			}
		}
	})
}

func snake(name, by string) string {
	var out strings.Builder
	for i, c := range name {
		if i > 0 && 'A' <= c && c <= 'Z' {
			out.WriteString(by)
		}
		out.WriteRune(c)
	}
	return strings.ToLower(out.String())
}

func TestOperation(t *testing.T) {
	t.Parallel()
	tb := Load()
	op, err := tb.Resolve("ec2", "DescribeInstances")
	if err != nil {
		t.Fatal(err)
	}
	if op.Rows != "Reservations[].Instances[]" || op.Global || op.Region != "" || !op.ReadOnly || op.AccessLevel != "List" {
		t.Errorf("ec2:DescribeInstances = %+v", op)
	}
	if p := op.Pagination; p == nil || !slices.Equal(p.Input, []string{"NextToken"}) || !slices.Equal(p.Output, []string{"NextToken"}) || p.LimitKey != "MaxResults" || !slices.Equal(p.Results, []string{"Reservations"}) {
		t.Errorf("pagination = %+v", op.Pagination)
	}
	if op.Params["InstanceIds"] != "list of string" || op.Params["DryRun"] != "boolean" || op.Params["Filters"] != "list of object" || len(op.Required) != 0 {
		t.Errorf("params = %v, required %v", op.Params, op.Required)
	}
	for _, tt := range []struct {
		service, operation string
		global             bool
		region             string
	}{
		{"iam", "ListUsers", true, ""},
		{"organizations", "ListAccounts", true, ""},
		{"route53", "ListHostedZones", true, ""},
		{"cloudfront", "ListDistributions", true, ""},
		{"ce", "GetCostAndUsage", true, ""},
		{"globalaccelerator", "ListAccelerators", true, "us-west-2"},
		{"cur", "DescribeReportDefinitions", true, "us-east-1"},
		{"s3", "ListBuckets", true, ""},
		{"s3", "GetBucketPolicy", false, ""},
		{"ec2", "DescribeVpcs", false, ""},
		{"sts", "GetCallerIdentity", true, ""},
		{"dynamodb", "ListTables", false, ""},
	} {
		op, err := tb.Resolve(tt.service, tt.operation)
		if err != nil || op.Global != tt.global || op.Region != tt.region {
			t.Errorf("%s: global %v, Region %q, %v, want %v, %q", op, op.Global, op.Region, err, tt.global, tt.region)
		}
	}
	if !tb.IsGlobal("iam") || tb.IsGlobal("ec2") || tb.IsGlobal("s3") || tb.IsGlobal("nothing of the kind") {
		t.Error("IsGlobal is wrong about iam, ec2, s3 or an unknown service")
	}
}

// TestPagination checks that what the script will page by exists.
func TestPagination(t *testing.T) {
	t.Parallel()
	tb := Load()
	each(tb, func(op Operation) {
		p := op.Pagination
		if p == nil {
			return
		}
		if len(p.Input) == 0 || len(p.Input) != len(p.Output) {
			t.Errorf("%s: tokens in %q, out %q", op, p.Input, p.Output)
		}
		for _, name := range append(slices.Clone(p.Input), p.LimitKey) {
			if name != "" && op.Params[name] == "" {
				t.Errorf("%s: no parameter %s to page by", op, name)
			}
		}
	})
}

func TestRegions(t *testing.T) {
	t.Parallel()
	tb := Load()
	regions := tb.Regions()
	for _, r := range []string{"us-east-1", "eu-west-1", "ap-southeast-2"} {
		if !slices.Contains(regions, r) {
			t.Errorf("Regions lacks %s", r)
		}
	}
	if !slices.IsSorted(regions) || slices.ContainsFunc(regions, func(r string) bool { return strings.Contains(r, "gov") || strings.HasPrefix(r, "cn-") }) {
		t.Errorf("Regions = %q", regions)
	}
	for value, want := range map[string]string{"us-east1": "us-east-1", "eu-wset-1": "eu-west-1", "useast1": "us-east-1", "eu-west-9": "eu-west-1"} {
		if got := tb.NearestRegions(value); len(got) == 0 || len(got) > 5 || got[0] != want {
			t.Errorf("NearestRegions(%q) = %q, want %s first", value, got, want)
		}
	}
	if got := tb.NearestRegions("mars"); len(got) > 5 {
		t.Errorf("NearestRegions(mars) = %q", got)
	}
}

func TestCheckParams(t *testing.T) {
	t.Parallel()
	tb := Load()
	for _, tt := range []struct {
		name, op string
		params   map[string]any
		want     string // parts of the error, each after the other; "" for none
	}{
		{"none", "ec2:DescribeInstances", nil, ""},
		{"good", "ec2:DescribeInstances", map[string]any{"InstanceIds": []any{"i-1"}, "MaxResults": 5.0, "DryRun": false, "Filters": []any{map[string]any{"Name": "x"}}}, ""},
		{"unknown", "ec2:DescribeInstances", map[string]any{"InstanceId": "i-1"}, `no parameter "InstanceId"; nearest: InstanceIds`},
		{"wrong case", "lambda:GetFunctionConfiguration", map[string]any{"functionName": "x"}, `no parameter "functionName"; nearest: FunctionName|FunctionName of lambda:GetFunctionConfiguration is required`},
		{"string for a list", "ec2:DescribeInstances", map[string]any{"InstanceIds": "i-1"}, "InstanceIds of ec2:DescribeInstances must be a list of string, not a string"},
		{"wrong items", "ec2:DescribeInstances", map[string]any{"InstanceIds": []any{1.0, "i-1"}}, "must be a list of string, not a list with a number and a string"},
		{"fraction", "ec2:DescribeInstances", map[string]any{"MaxResults": 1.5}, "MaxResults of ec2:DescribeInstances must be an integer"},
		{"string for a flag", "ec2:DescribeInstances", map[string]any{"DryRun": "true"}, "DryRun of ec2:DescribeInstances must be a boolean, not a string"},
		{"null", "ec2:DescribeInstances", map[string]any{"DryRun": nil}, "must be a boolean, not null"},
		{"missing", "s3:GetBucketPolicy", nil, "Bucket of s3:GetBucketPolicy is required (string)"},
		{"takes none", "sts:GetCallerIdentity", map[string]any{"x": 1.0}, `sts:GetCallerIdentity has no parameter "x"; it takes none`},
		{"timestamps", "cloudwatch:GetMetricData", map[string]any{"StartTime": "2026-11-01T00:00:00Z", "EndTime": 1.0, "MetricDataQueries": []any{}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service, name, _ := strings.Cut(tt.op, ":")
			op, err := tb.Resolve(service, name)
			if err != nil {
				t.Fatal(err)
			}
			err = op.CheckParams(tt.params)
			if (err == nil) != (tt.want == "") {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for part := range strings.SplitSeq(tt.want, "|") {
				if err != nil && !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %q in it", err, part)
				}
			}
		})
	}
}

func FuzzResolve(f *testing.F) {
	tb := Load()
	for _, s := range [][2]string{{"ec2", "DescribeInstances"}, {"ELB v2", "describe-load-balancers"}, {"elasticloadbalancing", "x"}, {"", ":"}, {"ec2", "ec2:"}, {"s3\x00", "\u2028list"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, service, operation string) {
		op, err := tb.Resolve(service, operation)
		var unknown *UnknownError
		switch {
		case err == nil && (op.Service == "" || op.Name == ""):
			t.Errorf("Resolve(%q, %q) gave %+v", service, operation, op)
		case err != nil && (!errors.As(err, &unknown) || len(unknown.Nearest) > 5):
			t.Errorf("Resolve(%q, %q): %v", service, operation, err)
		}
	})
}

// BenchmarkStart is what a cold start pays: Load and the first Resolve of the largest service.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		if _, err := Load().Resolve("ec2", "DescribeInstances"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	tb := Load()
	for b.Loop() {
		if _, err := tb.Resolve("ec2", "DescribeInstances"); err != nil {
			b.Fatal(err)
		}
	}
}
