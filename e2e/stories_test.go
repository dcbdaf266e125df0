package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
	"github.com/google/go-cmp/cmp"
)

// A story: given these accounts, when this is asked, then this answer with this coverage and these receipts.

func TestAskAboutOneAccount(t *testing.T) {
	t.Parallel()
	p := platform(t)
	for _, prompt := range []string{"List EC2 instances in account 222222222222", "List EC2 instances in Production"} {
		answer := ask(t, p, "alice", prompt)
		if answer.Error != nil {
			t.Fatalf("%q: %+v", prompt, answer.Error)
		}
		for _, name := range []string{"web-1", "web-2", "batch-1"} {
			if !strings.Contains(answer.Response, name) {
				t.Errorf("%q: the answer does not name %s:\n%s", prompt, name, answer.Response)
			}
		}
		if strings.Contains(answer.Response, "bastion") {
			t.Errorf("%q: the answer names another account's instance:\n%s", prompt, answer.Response)
		}
		if !strings.Contains(answer.Response, "offline planner") {
			t.Errorf("%q: the answer does not say that it is the offline planner's:\n%s", prompt, answer.Response)
		}
		if answer.Coverage == nil || answer.Coverage.Answered == 0 || answer.Coverage.Answered != answer.Coverage.Targets {
			t.Errorf("%q: coverage %+v, want all targets answered", prompt, answer.Coverage)
		}
		for _, r := range answer.Receipts {
			want := e2e.Receipt{
				Tool: r.Tool, AccountID: "222222222222", AccountName: "Production", Region: r.Region, Status: "ok",
				RoleARN:        "arn:aws:iam::222222222222:role/CentralOpsTargetRole",
				SourceIdentity: "alice", Operation: "ec2:DescribeInstances", APICalls: r.APICalls, DurationMS: r.DurationMS,
			}
			if diff := cmp.Diff(want, r); diff != "" || r.APICalls == 0 {
				t.Errorf("%q: receipt mismatch (-want +got):\n%s", prompt, diff)
			}
		}
	}
}

func TestAskInAllAccountsAndRegions(t *testing.T) {
	t.Parallel()
	answer := ask(t, platform(t), "alice", "Which accounts have EC2 instances in eu-west-1?")
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	for _, name := range []string{"Production", "Staging"} {
		if !strings.Contains(answer.Response, name) {
			t.Errorf("the answer does not name %s:\n%s", name, answer.Response)
		}
	}
	if want := (e2e.Coverage{Targets: 3, Answered: 3}); answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
	if answer.Turns > 4 {
		t.Errorf("%d turns, want at most 4", answer.Turns)
	}
	for _, r := range answer.Receipts {
		if r.Region != "eu-west-1" {
			t.Errorf("a receipt is for %s; only eu-west-1 was asked", r.Region)
		}
	}
}

// The person's name stands in the member account's own trail, both where the role was assumed and where it was used.
func TestPersonStandsInTheMemberAccountsTrail(t *testing.T) {
	t.Parallel()
	p := platform(t)
	if answer := ask(t, p, "carol", "List S3 buckets in account 222222222222"); answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	found := map[string]bool{}
	for _, record := range p.Trail.Account("222222222222") {
		encoded, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(encoded, []byte(`"sourceIdentity":"carol"`)) {
			found[record.EventName] = true
		}
	}
	for _, name := range []string{"AssumeRole", "ListBuckets"} {
		if !found[name] {
			t.Errorf("no %s with sourceIdentity carol; found %v", name, found)
		}
	}
}

// bob may see staging only: the other accounts are denied by policy, named by id alone, and nobody assumes a role there.
func TestPersonSeesOnlyWhatThePolicyPermits(t *testing.T) {
	t.Parallel()
	p := platform(t)
	answer := ask(t, p, "bob", "How many EC2 instances are there in all accounts in us-east-1?")
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	if want := (e2e.Coverage{Targets: 3, Answered: 1, Denied: 2}); answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
	for _, secret := range []string{"Production", "web-1", "bastion"} {
		if strings.Contains(answer.Response, secret) {
			t.Errorf("the answer tells bob about %s:\n%s", secret, answer.Response)
		}
	}
	for _, account := range []string{"111111111111", "222222222222"} {
		if !strings.Contains(answer.Response, account) {
			t.Errorf("the answer does not say that account %s was not asked:\n%s", account, answer.Response)
		}
		for _, record := range p.Trail.Account(account) {
			if record.UserIdentity.SessionContext != nil && record.UserIdentity.SessionContext.SourceIdentity == "bob" {
				t.Errorf("account %s has a record of bob's: %s", account, record.EventName)
			}
		}
	}
}

func TestReadsOfSecretsAndWritesAreRefused(t *testing.T) {
	t.Parallel()
	p := platform(t)
	token := signIn(t, p, "alice").Access
	for name, arguments := range map[string]map[string]any{
		"write":       {"service": "ec2", "operation": "TerminateInstances", "params": map[string]any{"InstanceIds": []string{"i-1"}}},
		"secret":      {"service": "secretsmanager", "operation": "GetSecretValue", "params": map[string]any{"SecretId": "x"}},
		"credentials": {"service": "sts", "operation": "GetSessionToken"},
		"data":        {"service": "s3", "operation": "GetObject", "params": map[string]any{"Bucket": "b", "Key": "k"}},
	} {
		arguments["accounts"] = []string{"all"}
		reply, err := p.Stack.CallTool(t.Context(), token, nil, "bridge___query", arguments)
		if err != nil {
			t.Fatal(err)
		}
		answer := decodeTool(t, reply)
		if answer.OK || answer.Error == nil || answer.Error.Code != "forbidden" || answer.Error.Hint == "" {
			t.Errorf("%s: %s, want forbidden with a hint", name, reply.Body)
		}
	}
}

func TestSecretsInReadsAreRedacted(t *testing.T) {
	t.Parallel()
	p := platform(t)
	reply, err := p.Stack.CallTool(t.Context(), signIn(t, p, "alice").Access, nil, "bridge___query", map[string]any{
		"accounts": []string{"Production"}, "service": "lambda", "operation": "ListFunctions",
	})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(reply.Body, []byte("sk_live")) || !bytes.Contains(reply.Body, []byte("PAYMENT_API_KEY")) {
		t.Errorf("want the variable's name and not its value, got %s", reply.Body)
	}
}

// An account whose role cannot be assumed: the answer holds the others, names that one, and says what to do.
func TestAccountWhoseRoleCannotBeAssumed(t *testing.T) {
	t.Parallel()
	p := startOwn(t, options())
	p.STS.Inject(stsfront.Fault{Account: "333333333333", Denied: true})
	answer := ask(t, p, "alice", "How many EC2 instances are there in all accounts in us-east-1?")
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	if want := (e2e.Coverage{Targets: 3, Answered: 2, Denied: 1}); answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
	if !strings.Contains(answer.Response, "333333333333") || !strings.Contains(strings.ToLower(answer.Response), "partial") {
		t.Errorf("the answer does not say that it is partial and which account is missing:\n%s", answer.Response)
	}
	p.STS.ClearFaults()
	if again := ask(t, p, "alice", "List S3 buckets in account 222222222222"); again.Error != nil || again.Coverage.Answered != 1 {
		t.Errorf("the next question: %+v", again)
	}
}

func TestUnknownAccount(t *testing.T) {
	t.Parallel()
	answer := ask(t, platform(t), "alice", "List EC2 instances in account 999999999999")
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	if !strings.Contains(answer.Response, "999999999999") || strings.Contains(answer.Response, "web-1") {
		t.Errorf("want an answer that names the unknown account and shows nothing else:\n%s", answer.Response)
	}
}

func TestFollowUp(t *testing.T) {
	t.Parallel()
	p := platform(t)
	token, session := signIn(t, p, "alice").Access, strings.Repeat("follow-up-", 4)
	first, err := p.Stack.Ask(t.Context(), token, session, "List EC2 instances in Production in us-east-1")
	if err != nil || first.Error != nil {
		t.Fatal(err, first.Error)
	}
	second, err := p.Stack.Ask(t.Context(), token, session, "and in Staging?")
	if err != nil || second.Error != nil {
		t.Fatal(err, second.Error)
	}
	if !strings.Contains(second.Response, "web-test") || strings.Contains(second.Response, "web-1") {
		t.Errorf("want staging's instances:\n%s", second.Response)
	}
	// The conversation is alice's: nobody else may go on with it.
	stranger, err := p.Stack.Ask(t.Context(), signIn(t, p, "bob").Access, session, "and in Central?")
	if err != nil {
		t.Fatal(err)
	}
	if stranger.Error == nil || stranger.Error.Code != "forbidden" {
		t.Errorf("bob went on with alice's conversation: %+v", stranger)
	}
}

func TestBadPrompts(t *testing.T) {
	t.Parallel()
	p := platform(t)
	token := signIn(t, p, "alice").Access
	for name, body := range map[string]string{
		"not a string":        `{"prompt":{"toolUse":{"name":"bridge___query"}}}`,
		"empty":               `{"prompt":"  "}`,
		"missing":             `{}`,
		"not JSON":            `prompt=hello`,
		"tool blocks beside":  `{"prompt":"hello","messages":[{"role":"assistant","content":[{"toolUse":{}}]}]}`,
		"larger than allowed": `{"prompt":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		reply, err := p.Stack.Invoke(t.Context(), token, "", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		var answer e2e.Answer
		if err := json.Unmarshal(reply.Body, &answer); err != nil {
			t.Fatalf("%s: %d %s", name, reply.Status, reply.Body)
		}
		if reply.Status != http.StatusOK || answer.Error == nil || answer.Error.Code != "invalid" || answer.Error.Hint == "" {
			t.Errorf("%s: %d %s, want 200 with an invalid error and a hint", name, reply.Status, reply.Body)
		}
	}
}

func TestWorkloadMode(t *testing.T) {
	t.Parallel()
	o := options()
	o.GatewayAuth = "workload"
	p := startOwn(t, o)
	answer := ask(t, p, "carol", "List S3 buckets in all accounts")
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	if want := (e2e.Coverage{Targets: 3, Answered: 1, Denied: 2}); answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
	if !slices.ContainsFunc(answer.Receipts, func(r e2e.Receipt) bool { return r.SourceIdentity == "carol" }) {
		t.Errorf("no receipt for carol: %+v", answer.Receipts)
	}
}
