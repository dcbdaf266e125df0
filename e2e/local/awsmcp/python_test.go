package awsmcp_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/central-ops/central-ops/e2e/local/seed"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
	"github.com/central-ops/central-ops/e2e/local/trail"
	"github.com/google/go-cmp/cmp"
)

// python starts the server over moto with seeded accounts and returns a session of the target role in 222222222222.
func python(t *testing.T) (*box, *issued.Credential, string) {
	t.Helper()
	interpreter := motoenv.Python(t)
	emulator, err := moto.Start(t.Context(), moto.Config{Python: interpreter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(emulator.Close)
	made, err := seed.Run(t.Context(), seed.Config{
		Python: interpreter, Endpoint: emulator.URL, Resources: true,
		Accounts: []seed.Account{{ID: "111111111111", Environment: "shared"}, {ID: account, Environment: "prod"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, store: issued.New(), trail: &trail.Log{}}
	iam := moto.IAM{Endpoint: emulator.URL}
	sts := stsfront.New(stsfront.Config{Store: b.store, Roles: iam, Minter: moto.STS{Endpoint: emulator.URL}})
	server, err := awsmcp.New(awsmcp.Config{
		Store: b.store, Roles: iam, Sink: b.trail.Write, Python: interpreter, Endpoint: emulator.URL, Workers: 1, ScriptTimeout: 20 * time.Second, Unlimited: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	b.server, b.url = server, web.URL+"/mcp"
	caller, err := sts.Issue(t.Context(), made.TargetRoleARNs[account], "central-ops-dev", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return b, &caller, b.session(&caller)
}

func TestRunScript(t *testing.T) {
	t.Parallel()
	b, caller, session := python(t)
	for _, tc := range []struct {
		name, code string
		want       script
	}{
		{"last expression", "x = 20\nx + 1", script{Status: "success", ReturnValue: json.RawMessage("21")}},
		{"no expression at the end", "x = 20", script{Status: "success", ReturnValue: json.RawMessage("null")}},
		{"print", "print('hello', 1)\n2", script{Status: "success", ReturnValue: json.RawMessage("2"), Stdout: "hello 1\n"}},
		{"top-level await of several", "a = await asyncio.gather(*[asyncio.sleep(0, i) for i in range(3)])\na", script{Status: "success", ReturnValue: json.RawMessage("[0,1,2]")}},
		{"names of the script before are gone", "x", script{Status: "error", Error: "NameError: name 'x' is not defined"}},
		{"syntax", "x = = 1", script{Status: "error", Error: "SyntaxError: invalid syntax (<script>, line 1)"}},
		{"import of boto3", "import boto3", script{Status: "error", Error: "ImportError: Import of module 'boto3' is not allowed"}},
		{"file", "open('/etc/passwd')", script{Status: "error", Error: "NameError: name 'open' is not defined"}},
		{"positional arguments", "await call_boto3('ec2', 'DescribeRegions')", script{Status: "error", Error: "TypeError: Run.call_boto3() takes 1 positional argument but 3 were given"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := b.run(caller, session, tc.code)
			if tc.want.Status == "error" {
				if got.Stderr == "" {
					t.Error("an error without traceback")
				}
				got.Stderr = ""
			}
			tc.want.APICalls = got.APICalls
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("result mismatch (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("instances of the caller's account in the Region that is named", func(t *testing.T) {
		const names = `
found = await call_boto3(service_name="ec2", operation_name="DescribeInstances"%s)
sorted([t["Value"] for r in found["Reservations"] for i in r["Instances"] for t in i["Tags"] if t["Key"] == "Name"])`
		for _, tc := range []struct{ region, meta, want string }{
			{"", "", `["batch-1","web-1","web-2"]`},
			{"", "eu-west-1", `["cache-eu-1","web-eu-1"]`},
			{`, region_name="us-east-1"`, "eu-west-1", `["batch-1","web-1","web-2"]`},
		} {
			body := call("aws___run_script", map[string]string{"code": strings.Replace(names, "%s", tc.region, 1)}, map[string]string{"AWS_REGION": tc.meta})
			got := structured[script](t, b.post(caller, session, body))
			if string(got.ReturnValue) != tc.want || len(got.APICalls) != 1 || got.APICalls[0].Status != "success" {
				t.Errorf("region %q, _meta %q: %+v, want %s", tc.region, tc.meta, got, tc.want)
			}
		}
	})

	t.Run("the bridge's script, as in the scripted mode", func(t *testing.T) {
		got := b.run(caller, session, bridgeScript(t, describe))
		var value struct {
			Regions map[string]struct {
				Document struct{ Reservations []any }
				Calls    int
				More     bool
			}
		}
		if err := json.Unmarshal(got.ReturnValue, &value); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
		counts := map[string]int{}
		for region, answer := range value.Regions {
			counts[region] = len(answer.Document.Reservations)
			if answer.Calls != 1 || answer.More {
				t.Errorf("%s: %d calls, more %t; want 1, false", region, answer.Calls, answer.More)
			}
		}
		if diff := cmp.Diff(map[string]int{"us-east-1": 3, "eu-west-1": 2}, counts); diff != "" {
			t.Errorf("reservations by Region mismatch (-want +got):\n%s", diff)
		}
	})

	t.Run("names in snake case", func(t *testing.T) {
		got := b.run(caller, session, `await call_boto3(service_name="ec2", operation_name="describe_instances")`)
		if want := "OperationNotFoundError: Operation 'describe_instances' not found for service 'ec2'"; got.Error != want {
			t.Errorf("error = %q, want %q", got.Error, want)
		}
	})

	t.Run("what the role denies", func(t *testing.T) {
		for service, tc := range map[string]struct{ operation, params, code string }{
			"sts":            {"AssumeRole", `{"RoleArn":"arn:aws:iam::111111111111:role/CentralOpsTargetRole","RoleSessionName":"abc"}`, "AccessDenied"},
			"ec2":            {"TerminateInstances", `{"InstanceIds":["i-1"]}`, "UnauthorizedOperation"},
			"lambda":         {"GetFunction", `{"FunctionName":"checkout"}`, "AccessDeniedException"},
			"s3":             {"GetObject", `{"Bucket":"b","Key":"k"}`, "AccessDenied"},
			"secretsmanager": {"GetSecretValue", `{"SecretId":"s"}`, "AccessDeniedException"},
		} {
			got := b.run(caller, session, `await call_boto3(service_name="`+service+`", operation_name="`+tc.operation+`", params=`+tc.params+`)`)
			if want := "ClientError: An error occurred (" + tc.code + ") when calling the " + tc.operation + " operation: "; got.Status != "error" || !strings.HasPrefix(got.Error, want) {
				t.Errorf("%s: status %s, error %q, want error %q...", service, got.Status, got.Error, want)
			}
			if len(got.APICalls) != 1 || got.APICalls[0].Status != "error" {
				t.Errorf("%s: api_calls = %+v, want one with status error", service, got.APICalls)
			}
		}
	})

	t.Run("a sandbox that dies is replaced", func(t *testing.T) {
		got := b.run(caller, session, "().__class__.__base__.__subclasses__\nimport typing\ntyping.sys.modules['os']._exit(3)")
		if got.Status != "error" || got.Error != "the sandbox ended unexpectedly" {
			t.Errorf("result of a script that ends the process: %+v", got)
		}
		if got := b.run(caller, session, "1"); string(got.ReturnValue) != "1" {
			t.Errorf("the next script: %+v", got)
		}
	})

	t.Run("the trail names the person", func(t *testing.T) {
		for _, r := range b.trail.Account(account) {
			if r.EventName == "DescribeInstances" && r.UserIdentity.InvokedBy == "aws-mcp.amazonaws.com" && r.UserIdentity.SessionContext.SessionIssuer.UserName == "CentralOpsTargetRole" {
				return
			}
		}
		t.Error("no record of DescribeInstances by the service for the role")
	})
}
