package iampolicy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
)

// keys makes a context of names and values in turn; a name that comes twice has two values.
func keys(pairs ...string) iampolicy.Context {
	c := iampolicy.Context{}
	for i := 0; i < len(pairs); i += 2 {
		c.Set(pairs[i], append(c[pairs[i]], pairs[i+1])...)
	}
	return c
}

func parse(t *testing.T, text string) []iampolicy.Document {
	t.Helper()
	d, err := iampolicy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return []iampolicy.Document{d}
}

func TestEvaluateStatements(t *testing.T) {
	t.Parallel()
	const allowAll = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	for _, tc := range []struct {
		name, statements, action, resource string
		want                               iampolicy.Decision
	}{
		{"nothing matches", `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`, "ec2:DescribeInstances", "*", iampolicy.ImplicitDeny},
		{"wildcard in the action", `{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}`, "ec2:DescribeInstances", "*", iampolicy.Allowed},
		{"question mark in the action", `{"Effect":"Allow","Action":"ec2:DescribeVpc?","Resource":"*"}`, "ec2:DescribeVpcs", "*", iampolicy.Allowed},
		{"question mark is one character", `{"Effect":"Allow","Action":"ec2:DescribeVpc?","Resource":"*"}`, "ec2:DescribeVpc", "*", iampolicy.ImplicitDeny},
		{"action in another case", `{"Effect":"Allow","Action":"EC2:describeinstances","Resource":"*"}`, "ec2:DescribeInstances", "*", iampolicy.Allowed},
		{"list of actions", `{"Effect":"Allow","Action":["a:B","ec2:DescribeInstances"],"Resource":"*"}`, "ec2:DescribeInstances", "*", iampolicy.Allowed},
		{"deny wins, whatever the order", `{"Effect":"Deny","Action":"ec2:*","Resource":"*"},` + allowAll, "ec2:DescribeInstances", "*", iampolicy.ExplicitDeny},
		{"deny of something else", allowAll + `,{"Effect":"Deny","Action":"s3:*","Resource":"*"}`, "ec2:DescribeInstances", "*", iampolicy.Allowed},
		{"NotAction denies what it does not list", allowAll + `,{"Effect":"Deny","NotAction":"ec2:*","Resource":"*"}`, "s3:GetObject", "*", iampolicy.ExplicitDeny},
		{"NotAction leaves what it lists", allowAll + `,{"Effect":"Deny","NotAction":"ec2:*","Resource":"*"}`, "ec2:DescribeInstances", "*", iampolicy.Allowed},
		{"resource", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::logs/*"}`, "s3:GetObject", "arn:aws:s3:::logs/a/b", iampolicy.Allowed},
		{"resources keep their case", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::Logs/*"}`, "s3:GetObject", "arn:aws:s3:::logs/a", iampolicy.ImplicitDeny},
		{"NotResource", `{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::secret/*"}`, "s3:GetObject", "arn:aws:s3:::secret/a", iampolicy.ImplicitDeny},
		{"several wildcards", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:*:s3:::*-logs-*"}`, "s3:GetObject", "arn:aws:s3:::my-logs-logs-x", iampolicy.Allowed},
		{"variable", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:PrincipalTag/user}/*"}`, "s3:GetObject", "arn:aws:s3:::home/olivia/a", iampolicy.Allowed},
		{"variable without a value", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:PrincipalTag/none}*"}`, "s3:GetObject", "arn:aws:s3:::home/", iampolicy.ImplicitDeny},
		{"variable with a default", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:PrincipalTag/none, 'shared'}/*"}`, "s3:GetObject", "arn:aws:s3:::shared/a", iampolicy.Allowed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := parse(t, `{"Version":"2012-10-17","Statement":[`+tc.statements+`]}`)
			got := iampolicy.Evaluate(d, iampolicy.Request{Action: tc.action, Resource: tc.resource, Context: keys("aws:principaltag/user", "olivia")})
			if got != tc.want {
				t.Errorf("Evaluate = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEvaluateConditions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, condition string
		context         iampolicy.Context
		want            bool
	}{
		{"StringEquals", `"StringEquals":{"k":"v"}`, keys("k", "v"), true},
		{"StringEquals, one of several", `"StringEquals":{"k":["u","v"]}`, keys("k", "v"), true},
		{"StringEquals, another case", `"StringEquals":{"k":"v"}`, keys("k", "V"), false},
		{"StringEquals does not glob", `"StringEquals":{"k":"*"}`, keys("k", "v"), false},
		{"StringEquals, key absent", `"StringEquals":{"k":"v"}`, nil, false},
		{"key in another case", `"StringEquals":{"AWS:Key":"v"}`, keys("aws:key", "v"), true},
		{"StringEqualsIfExists, key absent", `"StringEqualsIfExists":{"k":"v"}`, nil, true},
		{"StringEqualsIfExists, other value", `"StringEqualsIfExists":{"k":"v"}`, keys("k", "w"), false},
		{"StringEqualsIgnoreCase", `"StringEqualsIgnoreCase":{"k":"v"}`, keys("k", "V"), true},
		{"StringNotEquals", `"StringNotEquals":{"k":["u","v"]}`, keys("k", "v"), false},
		{"StringNotEquals, key absent", `"StringNotEquals":{"k":"v"}`, nil, true},
		{"StringLike", `"StringLike":{"k":"central-*"}`, keys("k", "central-ops"), true},
		{"StringLike, key absent", `"StringLike":{"k":"*"}`, nil, false},
		{"StringNotLike", `"StringNotLike":{"k":"central-*"}`, keys("k", "central-ops"), false},
		{"all operators are needed", `"StringEquals":{"k":"v"},"StringLike":{"l":"*"}`, keys("k", "v"), false},
		{"all keys of an operator are needed", `"StringEquals":{"k":"v","l":"w"}`, keys("k", "v", "l", "x"), false},
		{"Bool as text", `"Bool":{"k":"true"}`, keys("k", "true"), true},
		{"Bool as boolean", `"Bool":{"k":true}`, keys("k", "true"), true},
		{"Bool, key absent", `"Bool":{"k":"false"}`, nil, false},
		{"BoolIfExists, key absent", `"BoolIfExists":{"k":"false"}`, nil, true},
		{"Null true, absent", `"Null":{"k":"true"}`, nil, true},
		{"Null true, present", `"Null":{"k":"true"}`, keys("k", "v"), false},
		{"Null false, present", `"Null":{"k":"false"}`, keys("k", "v"), true},
		{"ForAllValues", `"ForAllValues:StringEquals":{"k":["a","b"]}`, keys("k", "a", "k", "b"), true},
		{"ForAllValues, one more", `"ForAllValues:StringEquals":{"k":["a","b"]}`, keys("k", "a", "k", "c"), false},
		{"ForAllValues, key absent", `"ForAllValues:StringEquals":{"k":"a"}`, nil, true},
		{"ForAnyValue", `"ForAnyValue:StringLike":{"k":"o-1/*"}`, keys("k", "x", "k", "o-1/r-1"), true},
		{"ForAnyValue, none", `"ForAnyValue:StringLike":{"k":"o-1/*"}`, keys("k", "x"), false},
		{"ForAnyValue, key absent", `"ForAnyValue:StringLike":{"k":"*"}`, nil, false},
		{"ArnLike", `"ArnLike":{"k":"arn:aws:iam::*:role/central-*"}`, keys("k", "arn:aws:iam::111111111111:role/central-ops"), true},
		{"ArnLike does not cross a colon", `"ArnLike":{"k":"arn:aws:*:role/x"}`, keys("k", "arn:aws:iam::111111111111:role/x"), false},
		{"ArnNotLike", `"ArnNotLike":{"k":"arn:aws:iam::1:role/*"}`, keys("k", "arn:aws:iam::2:role/x"), true},
		{"NumericLessThan", `"NumericLessThan":{"k":10}`, keys("k", "9"), true},
		{"NumericGreaterThanEquals", `"NumericGreaterThanEquals":{"k":"10"}`, keys("k", "9"), false},
		{"Numeric, not a number", `"NumericEquals":{"k":"10"}`, keys("k", "x"), false},
		{"variable in a value", `"StringEquals":{"k":"${aws:l}"}`, keys("k", "v", "aws:l", "v"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := parse(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{`+tc.condition+`}}}`)
			got := iampolicy.Evaluate(d, iampolicy.Request{Action: "a:B", Resource: "*", Context: tc.context})
			if (got == iampolicy.Allowed) != tc.want {
				t.Errorf("Evaluate = %v, want allowed %t", got, tc.want)
			}
		})
	}
}

func TestEvaluatePrincipals(t *testing.T) {
	t.Parallel()
	role := iampolicy.Caller{Account: "1", RoleARN: "arn:aws:iam::1:role/r", SessionARN: "arn:aws:sts::1:assumed-role/r/s"}
	service := iampolicy.Caller{Service: "lambda.amazonaws.com"}
	for _, tc := range []struct {
		name, principal string
		caller          iampolicy.Caller
		want            bool
	}{
		{"role", `"Principal":{"AWS":"arn:aws:iam::1:role/r"}`, role, true},
		{"session", `"Principal":{"AWS":"arn:aws:sts::1:assumed-role/r/s"}`, role, true},
		{"account", `"Principal":{"AWS":"1"}`, role, true},
		{"account root", `"Principal":{"AWS":["arn:aws:iam::2:root","arn:aws:iam::1:root"]}`, role, true},
		{"other role", `"Principal":{"AWS":"arn:aws:iam::1:role/q"}`, role, false},
		{"anyone", `"Principal":"*"`, role, true},
		{"any AWS principal", `"Principal":{"AWS":"*"}`, role, true},
		{"service", `"Principal":{"Service":"lambda.amazonaws.com"}`, service, true},
		{"service is no account", `"Principal":{"AWS":"*"}`, service, false},
		{"role is no service", `"Principal":{"Service":"lambda.amazonaws.com"}`, role, false},
		{"NotPrincipal", `"NotPrincipal":{"AWS":"arn:aws:iam::1:role/r"}`, role, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := parse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",`+tc.principal+`}]}`)
			got := iampolicy.Evaluate(d, iampolicy.Request{Action: "sts:AssumeRole", Resource: "*", Caller: tc.caller})
			if (got == iampolicy.Allowed) != tc.want {
				t.Errorf("Evaluate = %v, want allowed %t", got, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	statement := func(members string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:B","Resource":"*"` + members + `}]}`
	}
	parse(t, statement("")) // the base of the rows is fine
	for name, text := range map[string]string{
		"not JSON":                      `{`,
		"two values":                    statement("") + ` {}`,
		"no statement":                  `{"Version":"2012-10-17"}`,
		"empty list of statements":      `{"Version":"2012-10-17","Statement":[]}`,
		"unknown version":               `{"Version":"2020-01-01","Statement":{"Effect":"Allow","Action":"a:B","Resource":"*"}}`,
		"unknown element":               statement(`,"Foo":1`),
		"unknown operator":              statement(`,"Condition":{"StringSame":{"k":"v"}}`),
		"unknown set":                   statement(`,"Condition":{"ForSome:StringEquals":{"k":"v"}}`),
		"condition without values":      statement(`,"Condition":{"StringEquals":{"k":[]}}`),
		"condition value is an object":  statement(`,"Condition":{"StringEquals":{"k":{}}}`),
		"unknown effect":                `{"Statement":{"Effect":"Maybe","Action":"a:B"}}`,
		"neither Action nor NotAction":  `{"Statement":{"Effect":"Allow","Resource":"*"}}`,
		"both Action and NotAction":     statement(`,"NotAction":"a:C"`),
		"both Resource and NotResource": statement(`,"NotResource":"x"`),
		"action without service":        `{"Statement":{"Effect":"Allow","Action":"B","Resource":"*"}}`,
		"wildcard in the service":       `{"Statement":{"Effect":"Allow","Action":"*:List*","Resource":"*"}}`,
		"principal of unknown type":     statement(`,"Principal":{"Person":"x"}`),
		"principal with a wildcard":     statement(`,"Principal":{"AWS":"arn:aws:iam::1:role/*"}`),
		"principal that is a name":      statement(`,"Principal":"me"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d, err := iampolicy.Parse(text); err == nil {
				t.Errorf("Parse accepted %s as %+v", text, d)
			}
		})
	}
}

func TestRoleIdentityIntersects(t *testing.T) {
	t.Parallel()
	allow := func(action string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":%q,"Resource":"*"}}`, action)
	}
	const deny = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"a:*","Resource":"*"}}`
	for _, tc := range []struct {
		name    string
		role    iampolicy.Role
		session string
		want    iampolicy.Decision
	}{
		{"role alone", iampolicy.Role{Policies: []string{allow("b:*"), allow("a:*")}}, "", iampolicy.Allowed},
		{"no policy", iampolicy.Role{}, "", iampolicy.ImplicitDeny},
		{"session policy allows too", iampolicy.Role{Policies: []string{allow("a:*")}}, allow("a:B"), iampolicy.Allowed},
		{"session policy leaves it out", iampolicy.Role{Policies: []string{allow("a:*")}}, allow("a:C"), iampolicy.ImplicitDeny},
		{"session policy cannot widen", iampolicy.Role{Policies: []string{allow("a:C")}}, allow("*"), iampolicy.ImplicitDeny},
		{"session policy denies", iampolicy.Role{Policies: []string{allow("a:*")}}, deny, iampolicy.ExplicitDeny},
		{"boundary leaves it out", iampolicy.Role{Policies: []string{allow("a:*")}, Boundary: allow("b:*")}, "", iampolicy.ImplicitDeny},
		{"deny in one of the role's policies", iampolicy.Role{Policies: []string{allow("a:*"), deny}}, allow("a:*"), iampolicy.ExplicitDeny},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := tc.role.Identity(tc.session, iampolicy.Request{Action: "a:B", Resource: "*"})
			if err != nil || got != tc.want {
				t.Errorf("Identity = %v, %v, want %v", got, err, tc.want)
			}
		})
	}
	if got, err := (iampolicy.Role{Policies: []string{"{"}}).Identity("", iampolicy.Request{Action: "a:B"}); err == nil || got == iampolicy.Allowed {
		t.Errorf("a policy that cannot be read: %v, %v; want an error and no allow", got, err)
	}
}

func TestStaticRoles(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:iam::111111111111:role/path/name"
	roles := iampolicy.StaticRoles{arn: {ARN: arn, ID: "AROA1"}}
	got, err := roles.Role(t.Context(), arn)
	if err != nil || got.Account() != "111111111111" || iampolicy.RoleName(arn) != "name" {
		t.Errorf("Role = %+v, %v; name %q", got, err, iampolicy.RoleName(arn))
	}
	if _, err := roles.Role(t.Context(), arn+"x"); !errors.Is(err, iampolicy.ErrNoRole) {
		t.Errorf("Role of another ARN = %v, want ErrNoRole", err)
	}
	if got := iampolicy.AccountOf("not an arn"); got != "" {
		t.Errorf("AccountOf = %q, want none", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:B","Resource":"${k, 'd'}*","Condition":{"ForAllValues:StringLikeIfExists":{"k":["v*",1,true]}}}]}`, "a:B", "x")
	f.Add(`{"Statement":{"Effect":"Deny","NotAction":"a:*","NotResource":["?"],"Principal":{"AWS":"*"}}}`, "a:B", "")
	f.Fuzz(func(t *testing.T, text, action, resource string) {
		d, err := iampolicy.Parse(text)
		if err != nil {
			return
		}
		got := iampolicy.Evaluate([]iampolicy.Document{d}, iampolicy.Request{Action: action, Resource: resource, Context: keys("k", "v")})
		if got != iampolicy.Allowed {
			return
		}
		for _, s := range d.Statements {
			if s.Allow {
				return
			}
		}
		t.Errorf("allowed by a document without an allow: %s", text)
	})
}
