package e2e_test

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
)

// environment is where a story happens: a stack, what is known to be in it, and on this machine the platform behind it.
type environment struct {
	e2e.Stack
	e2e.Facts
	platform *local.Platform // nil on a deployed stack
}

// open returns the deployed stack that E2E_STACK names, or the platform that all stories share.
func open(t *testing.T) environment {
	t.Helper()
	if live != "" {
		stack, err := deployed()
		if err != nil {
			t.Fatal(err)
		}
		return stack
	}
	return sample(t, platform(t))
}

// deployed reads outputs and facts once. The facts are in E2E_FACTS, or e2e.<stack>.json at the root of the tree.
var deployed = sync.OnceValues(func() (environment, error) {
	facts, err := e2e.ReadFacts(cmp.Or(os.Getenv("E2E_FACTS"), "../e2e."+live+".json"), os.Getenv)
	if err != nil {
		return environment{}, err
	}
	stack, err := e2e.ReadStack(context.Background(), "..", live)
	if err != nil {
		return environment{}, err
	}
	return environment{Stack: stack.At(facts.Addresses), Facts: facts}, nil
})

// sample is a platform with the facts of the sample environment.
func sample(t *testing.T, p *local.Platform) environment {
	t.Helper()
	passwords := map[string]string{"E2E_OPS_PASSWORD": p.Passwords["alice"], "E2E_VIEWER_PASSWORD": p.Passwords["bob"]}
	facts, err := e2e.ReadFacts("testdata/sample.json", func(name string) string { return passwords[name] })
	if err != nil {
		t.Fatal(err)
	}
	return environment{Stack: p.Stack, Facts: facts, platform: p}
}

// openPartial returns an environment in which the target role of an account can't be assumed, and the account.
func openPartial(t *testing.T) (environment, e2e.Account) {
	t.Helper()
	if live == "" {
		s := sample(t, startOwn(t, options()))
		last := &s.Accounts[len(s.Accounts)-1]
		last.Unreachable = true
		s.platform.STS.Inject(stsfront.Fault{Account: last.ID, Denied: true})
		return s, *last
	}
	s := open(t)
	i := slices.IndexFunc(s.Accounts, func(a e2e.Account) bool { return a.Unreachable })
	if i < 0 {
		t.Skipf("not on stack %s: its facts name no account that is unreachable", live)
	}
	return s, s.Accounts[i]
}

// openMode returns an environment whose agent speaks to the Gateway in that mode.
func openMode(t *testing.T, mode string) environment {
	t.Helper()
	if live == "" && mode == "workload" {
		o := options()
		o.GatewayAuth = mode
		return sample(t, startOwn(t, o))
	}
	s := open(t)
	if s.GatewayAuth != mode {
		t.Skipf("not on stack %s: its gatewayAuth is %s", s.Name, s.GatewayAuth)
	}
	return s
}

func (s environment) token(t *testing.T, person e2e.Person) string {
	t.Helper()
	if person.Username == "" {
		t.Skipf("not on stack %s: its facts name no viewer", s.Name)
	}
	tokens, err := s.SignIn(t.Context(), person.Username, person.Password)
	if err != nil {
		t.Fatal(err)
	}
	return tokens.Access
}

// ask asks in a new session and holds the answer to what every answer has: the marks of the environment, coverage that adds
// up, and receipts for the person and the target role.
func (s environment) ask(t *testing.T, person e2e.Person, prompt string) e2e.Answer {
	t.Helper()
	answer := askIn(t, s.Stack, s.token(t, person), prompt)
	if answer.Error != nil {
		t.Fatalf("%q: %+v", prompt, *answer.Error)
	}
	s.check(t, person, prompt, answer)
	return answer
}

// role returns the name of the target roles.
func (s environment) role() string { return cmp.Or(s.TargetRole, "CentralOpsTargetRole") }

func (s environment) check(t *testing.T, person e2e.Person, prompt string, answer e2e.Answer) {
	t.Helper()
	for _, mark := range s.Marks {
		if !strings.Contains(answer.Response, mark) {
			t.Errorf("%q: the answer does not say %q:\n%s", prompt, mark, answer.Response)
		}
	}
	if c := answer.Coverage; c != nil && c.Answered+c.Denied+c.Failed+c.Skipped != c.Targets {
		t.Errorf("%q: coverage %+v does not add up", prompt, *c)
	}
	for _, r := range answer.Receipts {
		if r.Status != "ok" {
			continue
		}
		role := "arn:aws:iam::" + r.AccountID + ":role/" + s.role()
		if r.RoleARN != role || r.SourceIdentity != person.Username || r.APICalls == 0 || r.AccountName != s.name(r.AccountID) {
			t.Errorf("%q: receipt %+v, want one with API calls of %s for %s", prompt, r, role, person.Username)
		}
	}
}

// complete fails the test unless every target answered, in exactly the accounts and the Region; region "" means any.
func (s environment) complete(t *testing.T, prompt string, answer e2e.Answer, region string, accounts ...e2e.Account) {
	t.Helper()
	if c := answer.Coverage; c == nil || c.Answered == 0 || c.Answered != c.Targets {
		t.Errorf("%q: coverage %+v, want all targets answered:\n%s", prompt, c, answer.Response)
	}
	var got, want []string
	for _, r := range answer.Receipts {
		got = append(got, r.AccountID)
		if region != "" && r.Region != region {
			t.Errorf("%q: a receipt is for %s, want %s", prompt, r.Region, region)
		}
	}
	for _, account := range accounts {
		want = append(want, account.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%q: receipts of accounts %v, want %v", prompt, got, want)
	}
}

// names fails the test unless the response names all that the accounts are known to have in the Regions, and nothing
// that only other accounts or Regions have.
func (s environment) names(t *testing.T, prompt, response string, regions []string, accounts ...e2e.Account) {
	t.Helper()
	for _, account := range s.Accounts {
		asked := slices.ContainsFunc(accounts, func(a e2e.Account) bool { return a.ID == account.ID })
		for region, instances := range account.Instances {
			for _, instance := range instances {
				want := asked && slices.Contains(regions, region)
				if hasWord(response, instance) != want {
					t.Errorf("%q: the answer names %s of %s in %s: %v, want %v:\n%s", prompt, instance, account.Name, region, !want, want, response)
				}
			}
		}
	}
}

// hasWord tells whether text holds name, and not only as a part of a longer one: web-1 is not in web-1-old.
func hasWord(text, name string) bool {
	for rest := text; ; {
		i := strings.Index(rest, name)
		if i < 0 {
			return false
		}
		before, after := rest[:i], rest[i+len(name):]
		if !strings.ContainsAny(lastByte(before)+firstByte(after), wordBytes) {
			return true
		}
		rest = after
	}
}

const wordBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func firstByte(s string) string { return s[:min(1, len(s))] }
func lastByte(s string) string  { return s[max(0, len(s)-1):] }

func (s environment) name(id string) string {
	for _, account := range s.Accounts {
		if account.ID == id {
			return account.Name
		}
	}
	return ""
}

// reachable are the accounts that answer.
func (s environment) reachable() []e2e.Account {
	return slices.DeleteFunc(slices.Clone(s.Accounts), func(a e2e.Account) bool { return a.Unreachable })
}

// pick returns a reachable account that the viewer may query, or one that the viewer may not.
func (s environment) pick(t *testing.T, viewer bool) e2e.Account {
	t.Helper()
	for _, account := range slices.Backward(s.reachable()) {
		if account.Viewer == viewer {
			return account
		}
	}
	t.Skipf("not on stack %s: its facts name no reachable account with viewer %v", s.Name, viewer)
	return e2e.Account{}
}
