package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const bridge = "arn:aws:iam::111111111111:role/central-ops-dev-bridge"

func TestParse(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		values map[string]string
		want   []string // the whole error, a line each; none means valid
	}{
		"role":  {map[string]string{"bridgeRoleArn": bridge, "targetRole": "Reader", "organizationId": "o-a1b2c3d4e5", "externalId": "x1", "allowedAccountId": "222222222222"}, nil},
		"stack": {map[string]string{"environmentStack": "acme/central-ops/dev"}, nil},
		"unknown key": {map[string]string{"bridgeRoleArn": bridge, "externalID": "x1"}, []string{
			`central-ops-member:externalID: is no key; known: allowedAccountId, bridgeRoleArn, environmentStack, externalId, organizationId, permissionsBoundary, targetRole`}},
		"nothing": {nil, []string{
			`central-ops-member:bridgeRoleArn: is required, or central-ops-member:environmentStack; try: pulumi -C ../.. stack output bridgeRoleArn: got ""`}},
		"both": {map[string]string{"bridgeRoleArn": bridge, "environmentStack": "acme/central-ops/dev"}, []string{
			`central-ops-member:environmentStack: cannot be set together with central-ops-member:bridgeRoleArn: got "acme/central-ops/dev"`}},
		"every fault": {map[string]string{"bridgeRoleArn": "arn:aws:iam::1:role/x", "environmentStack": "dev", "targetRole": "a b", "organizationId": "acme", "externalId": "x", "allowedAccountId": "1", "permissionsBoundary": "members"}, []string{
			`central-ops-member:bridgeRoleArn: must be the ARN of a role: got "arn:aws:iam::1:role/x"`,
			`central-ops-member:environmentStack: must be <organization>/<project>/<stack>: got "dev"`,
			`central-ops-member:targetRole: must have 1 to 57 letters, digits or any of _+=,.@-: got "a b"`,
			`central-ops-member:organizationId: must look like o-a1b2c3d4e5: got "acme"`,
			`central-ops-member:externalId: must have 2 to 1000 letters, digits or any of _+=,.@:/-: got "x"`,
			`central-ops-member:allowedAccountId: must have 12 digits: got "1"`,
			`central-ops-member:permissionsBoundary: must be the ARN of a managed policy: got "members"`,
			`central-ops-member:environmentStack: cannot be set together with central-ops-member:bridgeRoleArn: got "dev"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(func(key string) string { return row.values[key] }, slices.Sorted(maps.Keys(row.values)))
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("faults mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// recorder keeps what the program registers. Registrations are concurrent.
type recorder struct {
	mu        sync.Mutex
	resources []pulumi.MockResourceArgs
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resources = append(r.resources, args)
	out := args.Inputs.Copy()
	out["arn"] = resource.NewStringProperty("arn:aws:iam::222222222222:mock/" + args.Name)
	if args.TypeToken == "pulumi:pulumi:StackReference" {
		out["outputs"] = resource.NewObjectProperty(resource.PropertyMap{"bridgeRoleArn": resource.NewStringProperty(bridge)})
	}
	return args.Name + "-id", out, nil
}

func (r *recorder) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{"accountId": resource.NewStringProperty("222222222222"), "partition": resource.NewStringProperty("aws")}, nil
}

func run(values map[string]string) ([]pulumi.MockResourceArgs, error) {
	rec := &recorder{}
	full := map[string]string{}
	for key, value := range values {
		full["central-ops-member:"+key] = value
	}
	err := pulumi.RunErr(program, pulumi.WithMocks("central-ops-member", "dev", rec), func(i *pulumi.RunInfo) { i.Config = full })
	return rec.resources, err
}

// TestInventory holds for everything of the member stack, wherever the bridge's role is known from.
func TestInventory(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]map[string]string{
		"role":  {"bridgeRoleArn": bridge, "targetRole": "Reader", "permissionsBoundary": "arn:aws:iam::222222222222:policy/members"},
		"stack": {"environmentStack": "acme/central-ops/dev", "targetRole": "Reader"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resources, err := run(values)
			if err != nil {
				t.Fatal(err)
			}
			roles, names := 0, map[string]bool{}
			for _, r := range resources {
				if r.Custom && r.TypeToken != "pulumi:pulumi:StackReference" && !strings.HasSuffix(r.RegisterRPC.GetParent(), "central-ops:targetrole:TargetRole::target-role") {
					t.Errorf("%s %s hangs under %s", r.TypeToken, r.Name, r.RegisterRPC.GetParent())
				}
				switch r.TypeToken {
				case "aws:iam/role:Role":
					roles++
					var trust struct {
						Statement []struct{ Principal map[string][]string }
					}
					if err := json.Unmarshal([]byte(r.Inputs["assumeRolePolicy"].StringValue()), &trust); err != nil {
						t.Fatal(err)
					}
					for _, s := range trust.Statement {
						if diff := cmp.Diff(map[string][]string{"AWS": {bridge}}, s.Principal); diff != "" {
							t.Errorf("trusted principals mismatch (-want +got):\n%s", diff)
						}
					}
					boundary := ""
					if v := r.Inputs["permissionsBoundary"]; v.IsString() {
						boundary = v.StringValue()
					}
					if boundary != values["permissionsBoundary"] {
						t.Errorf("permissions boundary = %q", boundary)
					}
					if got := r.Inputs["name"].StringValue(); got != "Reader" {
						t.Errorf("role name = %s", got)
					}
				case "aws:iam/policy:Policy":
					got := r.Inputs["name"].StringValue()
					if !strings.HasPrefix(got, "Reader-deny-") || names[got] {
						t.Errorf("policy name = %s", got)
					}
					names[got] = true
				}
				if r.TypeToken == "aws:iam/role:Role" || r.TypeToken == "aws:iam/policy:Policy" {
					tags := r.Inputs["tags"]
					if !tags.IsObject() || tags.ObjectValue()["central-ops:target-role"].StringValue() != "Reader" {
						t.Errorf("%s %s: tags %v", r.TypeToken, r.Name, tags)
					}
				}
			}
			if roles != 1 || len(names) == 0 {
				t.Errorf("%d roles and %d deny policies", roles, len(names))
			}
		})
	}
}

func TestWrongAccount(t *testing.T) {
	t.Parallel()
	resources, err := run(map[string]string{"bridgeRoleArn": bridge, "allowedAccountId": "333333333333"})
	want := `central-ops-member:allowedAccountId: must be the account of the credentials: got "333333333333", they are of 222222222222`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %s", err, want)
	}
	if len(resources) != 0 {
		t.Errorf("%d resources are declared all the same", len(resources))
	}
}
