package policy

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/central-ops/central-ops/services/bridge"
)

var (
	production = bridge.Account{ID: "222222222222", Name: "Production", Environment: "prod", Tags: map[string]string{"team": "shop"}}
	staging    = bridge.Account{ID: "333333333333", Name: "Staging", Environment: "staging"}
	bare       = bridge.Account{ID: "444444444444"}
	ops        = bridge.Person{Subject: "sub-1", Username: "alice", Groups: []string{"ops", "all"}}
	nobody     = bridge.Person{Subject: "sub-2", Username: "bob"}
	describe   = bridge.Operation{Service: "ec2", Name: "DescribeInstances", AccessLevel: "List"}
)

func accessOf(t *testing.T, text string, person bridge.Person) bridge.Access {
	t.Helper()
	policies, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	access, err := policies.For(t.Context(), person)
	if err != nil {
		t.Fatal(err)
	}
	return access
}

// TestDecide has each shape of policy once where it permits and once where it doesn't.
func TestDecide(t *testing.T) {
	t.Parallel()
	const all = `@id("all") permit(principal, action, resource);`
	read := bridge.Operation{Service: "iam", Name: "GetRole", AccessLevel: "Read"}
	for name, c := range map[string]struct {
		policy    string
		person    bridge.Person
		account   bridge.Account
		operation bridge.Operation
		region    string
		allowed   bool
		says      string
	}{
		"group":                          {`@id("g") permit(principal in Group::"ops", action, resource);`, ops, staging, describe, "us-east-1", true, `"g"`},
		"another group":                  {`@id("g") permit(principal in Group::"ops", action, resource);`, nobody, staging, describe, "us-east-1", false, "no access policy permits ec2:DescribeInstances in account 333333333333, Region us-east-1"},
		"person":                         {`permit(principal == User::"sub-1", action, resource);`, ops, staging, describe, "us-east-1", true, "line 1"},
		"another person":                 {`permit(principal == User::"sub-1", action, resource);`, nobody, staging, describe, "us-east-1", false, "no access policy"},
		"user name":                      {`permit(principal, action, resource) when { principal.username == "alice" };`, ops, staging, describe, "us-east-1", true, ""},
		"action":                         {`permit(principal, action == Action::"query", resource);`, ops, staging, describe, "us-east-1", true, ""},
		"another action":                 {`permit(principal, action == Action::"write", resource);`, ops, staging, describe, "us-east-1", false, "no access policy"},
		"account":                        {`permit(principal, action, resource == Account::"333333333333");`, ops, staging, describe, "us-east-1", true, ""},
		"another account":                {`permit(principal, action, resource == Account::"333333333333");`, ops, production, describe, "us-east-1", false, "no access policy"},
		"account's name":                 {`permit(principal, action, resource) when { resource.name == "Staging" };`, ops, staging, describe, "us-east-1", true, ""},
		"unless environment":             {`permit(principal, action, resource) unless { resource.environment == "prod" };`, ops, staging, describe, "us-east-1", true, ""},
		"environment":                    {`permit(principal, action, resource) unless { resource.environment == "prod" };`, ops, production, describe, "us-east-1", false, "no access policy"},
		"no environment, no permission":  {`permit(principal, action, resource) unless { resource.environment == "prod" };`, ops, bare, describe, "us-east-1", false, "no access policy"},
		"tag":                            {`permit(principal, action, resource) when { resource.tags has team && resource.tags.team == "shop" };`, ops, production, describe, "us-east-1", true, ""},
		"no tag":                         {`permit(principal, action, resource) when { resource.tags has team && resource.tags.team == "shop" };`, ops, staging, describe, "us-east-1", false, "no access policy"},
		"no tag, unguarded":              {`permit(principal, action, resource) when { resource.tags.team == "shop" };`, ops, staging, describe, "us-east-1", false, "no access policy"},
		"service":                        {`permit(principal, action, resource) when { context.service == "ec2" };`, ops, staging, describe, "us-east-1", true, ""},
		"another service":                {`permit(principal, action, resource) when { context.service == "ec2" };`, ops, staging, read, "global", false, "no access policy"},
		"operation":                      {`permit(principal, action, resource) when { context.operation like "Describe*" };`, ops, staging, describe, "us-east-1", true, ""},
		"another operation":              {`permit(principal, action, resource) when { context.operation like "Describe*" };`, ops, staging, read, "global", false, "no access policy"},
		"access level":                   {`permit(principal, action, resource) when { context.access_level == "List" };`, ops, staging, describe, "us-east-1", true, ""},
		"another access level":           {`permit(principal, action, resource) when { context.access_level == "List" };`, ops, staging, read, "global", false, "no access policy"},
		"Region":                         {`permit(principal, action, resource) when { ["eu-west-1","global"].contains(context.region) };`, ops, staging, read, "global", true, ""},
		"another Region":                 {`permit(principal, action, resource) when { ["eu-west-1","global"].contains(context.region) };`, ops, staging, describe, "us-east-1", false, "no access policy"},
		"forbid":                         {all + `@id("never-prod") forbid(principal, action, resource) when { resource has environment && resource.environment == "prod" };`, ops, production, describe, "us-east-1", false, `"never-prod" forbids`},
		"forbid elsewhere":               {all + `@id("never-prod") forbid(principal, action, resource) when { resource has environment && resource.environment == "prod" };`, ops, staging, describe, "us-east-1", true, `"all"`},
		"forbid without a name":          {all + "\n" + `forbid(principal, action, resource);`, ops, staging, describe, "us-east-1", false, "at line 2 forbids"},
		"forbid that can't be evaluated": {all + `@id("broken") forbid(principal, action, resource) when { resource.tags.team == "shop" };`, ops, staging, describe, "us-east-1", false, `"broken", which forbids, could not be evaluated`},
		"two forbid":                     {all + `@id("b") forbid(principal, action, resource); @id("a") forbid(principal, action, resource);`, ops, staging, describe, "us-east-1", false, `"a", "b" forbids`},
		"nobody's":                       {`@id("g") permit(principal in Group::"ops", action, resource);`, bridge.Person{Subject: "ops", Username: "ops"}, staging, describe, "us-east-1", false, "no access policy"},
	} {
		got := accessOf(t, c.policy, c.person).Decide(c.account, c.operation, c.region)
		if got.Allowed != c.allowed || !strings.Contains(got.Reason, c.says) {
			t.Errorf("%s: %+v, want allowed %v, saying %q", name, got, c.allowed, c.says)
		}
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string][2]bool{ // production, staging
		`permit(principal in Group::"ops", action, resource);`:                                                        {true, true},
		`permit(principal in Group::"dev", action, resource);`:                                                        {false, false},
		`permit(principal, action, resource) unless { resource.environment == "prod" };`:                              {false, true},
		`permit(principal, action, resource) when { context.region == "eu-west-1" };`:                                 {true, true},
		`permit(principal, action, resource) when { resource.tags has team && context.service == "ec2" };`:            {true, false},
		`permit(principal, action, resource); forbid(principal, action, resource == Account::"222222222222");`:        {false, true},
		`permit(principal, action, resource); forbid(principal, action, resource) when { context.service == "iam" };`: {true, true},
	} {
		access := accessOf(t, policy, ops)
		if got := [2]bool{access.Visible(production), access.Visible(staging)}; got != want {
			t.Errorf("%s: production and staging visible %v, want %v", policy, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		``:               "holds no policy",
		`// nothing yet`: "holds no policy",
		"permit(principal, action, resource);\nx": "2",
		`permit(principal, action)`:               "not valid Cedar",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// TestLoad follows a policy that is kept elsewhere over time.
func TestLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const open, closed = `permit(principal, action, resource);`, `forbid(principal, action, resource);`
		text, err, reads, hangs := "", error(errors.New("AccessDenied")), 0, false
		policies := Load(func(ctx context.Context) (string, error) {
			reads++
			if hangs {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return text, err
		}, slog.New(slog.DiscardHandler))
		allowed := func() bool {
			t.Helper()
			access, err := policies.For(t.Context(), ops)
			if err != nil {
				t.Fatal(err)
			}
			return access.Decide(staging, describe, "us-east-1").Allowed
		}
		if _, got := policies.For(t.Context(), ops); bridge.CodeOf(got) != bridge.Unavailable || !strings.Contains(got.Error(), "AccessDenied") {
			t.Errorf("never read: %v", got)
		}
		text, err = open, nil
		for range 2 {
			if !allowed() {
				t.Error("read, but not taken")
			}
		}
		if reads != 2 {
			t.Errorf("%d reads, want 2: a failed one and a good one", reads)
		}
		text = closed
		if time.Sleep(ttl - time.Second); !allowed() {
			t.Error("read again before its time")
		}
		if time.Sleep(time.Second); allowed() {
			t.Error("not read again")
		}
		for _, spoil := range []func(){func() { text = "permit(" }, func() { text = "" }, func() { text, err = open, errors.New("down") }} {
			spoil()
			if time.Sleep(ttl); allowed() {
				t.Errorf("the last good policies don't hold when the next are %q, %v", text, err)
			}
		}
		hangs = true
		time.Sleep(pause)
		for _, most := range []time.Duration{patience, 0} { // the second time nobody waits
			start := time.Now()
			if allowed() {
				t.Error("the last good policies don't hold when the next don't come")
			}
			if took := time.Since(start); took > most {
				t.Errorf("waited %s for what is held already, want at most %s", took, most)
			}
		}
		text, err, hangs = open, nil, false
		if time.Sleep(pause); !allowed() {
			t.Error("good again, but not read")
		}
	})
}
