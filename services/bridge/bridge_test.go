package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is the outside of a bridge in which anything may fail.
type world struct {
	accounts []Account
	fate     map[AccountID]int
}

func (w *world) Accounts(context.Context) ([]Account, error) { return w.accounts, nil }
func (w *world) For(context.Context, Person) (Access, error) { return w, nil }
func (w *world) Visible(Account) bool                        { return true }
func (w *world) Redact(_ Operation, d any) (any, int)        { return d, 0 }
func (w *world) Regions() []string                           { return []string{"us-east-1", "eu-west-1", "ap-south-1"} }
func (w *world) NearestRegions(string) []string              { return nil }
func (w *world) QueryFinished(context.Context, Record)       {}
func (w *world) Rows(document any) ([]any, error)            { return document.([]any), nil }
func (w *world) Key(row any) (any, error)                    { return row, nil }
func (w *world) Resolve(s, o string, _ json.RawMessage) (Operation, error) {
	return Operation{Service: s, Name: o, Global: s == "iam"}, nil
}

func (w *world) Decide(a Account, _ Operation, region string) Decision {
	return Decision{Allowed: w.fate[a.ID]%7 != 0 && (w.fate[a.ID]%5 != 0 || region != "eu-west-1"), Reason: "denied by test"}
}

func (w *world) Ask(ctx context.Context, _ Person, account Account, ask Ask) (Report, error) {
	report := Report{RoleARN: "role", SourceIdentity: "x", Enabled: []string{"eu-west-1", "new-1", "us-east-1"}}
	switch w.fate[account.ID] % 11 {
	case 1:
		return report, &Error{Op: "assume", Code: Forbidden, Err: errors.New("no")}
	case 2:
		<-ctx.Done()
		return report, &Error{Op: "wait", Code: Timeout, Err: ctx.Err()}
	case 3:
		return report, errors.New("a bug")
	case 4:
		select {} // ignores its context
	}
	for i, region := range ask.Regions {
		switch (w.fate[account.ID] + i) % 6 {
		case 0: // missing from the answer
		case 1:
			report.Regions = append(report.Regions, RegionReport{Region: region, Err: &Error{Code: Throttled, Err: errors.New("slow")}})
		default:
			report.Regions = append(report.Regions, RegionReport{Region: region, Document: []any{"a", "b", region}, Calls: 1})
		}
	}
	return report, nil
}

// TestEveryTargetExactlyOnce is the property that the product stands on, under whatever fails.
func TestEveryTargetExactlyOnce(t *testing.T) {
	for seed := range uint64(60) {
		// A worker that ignores its context stays blocked, so this runs outside of a synctest bubble
		// and with a short deadline.
		random := rand.New(rand.NewPCG(seed, 1))
		w := &world{fate: map[AccountID]int{}}
		for i := range 1 + random.IntN(40) {
			id := AccountID(fmt.Sprintf("%012d", i))
			w.accounts = append(w.accounts, Account{ID: id, Name: fmt.Sprint("n", i), Environment: []string{"dev", "prod"}[i%2]})
			w.fate[id] = random.IntN(1000)
		}
		regions := [][]string{nil, {"us-east-1"}, {"eu-west-1", "us-east-1", "eu-west-1"}, {"all"}}[random.IntN(4)]
		service := []string{"ec2", "iam"}[random.IntN(2)]
		b := New(w, w, w, func(Operation, string, string) (Shape, error) { return w, nil }, w, w,
			Config{Home: "us-east-1", Concurrency: 1 + random.IntN(8), PerAccount: 20 * time.Millisecond, MaxBytes: 5000})
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		answer, err := b.Query(ctx, Person{Subject: "s"}, Query{Accounts: []string{"env:dev", "all", "n0"}, Regions: regions, Service: service, Operation: "Describe", GroupBy: "x"})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		accounts := map[AccountID]bool{}
		var got Coverage
		shown, rows := 0, 0
		for _, result := range answer.Results {
			seen[string(result.AccountID)+result.Region]++
			accounts[result.AccountID] = true
			got.add(result.Status)
			if (result.Status == StatusOK) != (result.Error == nil) || (result.Status == StatusOK) != (result.Count != nil) {
				t.Errorf("seed %d: %+v", seed, result)
			}
			if result.Status == StatusOK {
				rows += *result.Count
				shown += len(result.Data)
			}
			if result.Status == StatusDenied && result.Receipt == nil && result.AccountName != "" {
				t.Errorf("seed %d: a denied target shows its name: %+v", seed, result)
			}
		}
		for target, n := range seen {
			if n != 1 {
				t.Errorf("seed %d: target %s stands %d times in the answer", seed, target, n)
			}
		}
		if len(accounts) != len(w.accounts) || len(seen) != len(answer.Results) {
			t.Errorf("seed %d: %d of %d accounts in the answer", seed, len(accounts), len(w.accounts))
		}
		if c := answer.Coverage; c != got || c.Targets != c.Answered+c.Denied+c.Failed+c.Skipped || c.Targets != len(answer.Results) {
			t.Errorf("seed %d: coverage %+v, results %+v", seed, c, got)
		}
		if answer.Truncated != (shown < rows) {
			t.Errorf("seed %d: truncated %v, %d of %d rows shown", seed, answer.Truncated, shown, rows)
		}
		if service == "ec2" && len(regions) == 3 && len(answer.Results) != 2*len(w.accounts) {
			t.Errorf("seed %d: %d results for %d accounts and 2 Regions", seed, len(answer.Results), len(w.accounts))
		}
	}
}

// throttled is an asker of accounts that ask for patience until the time is up.
type throttled struct{}

func (throttled) Ask(ctx context.Context, _ Person, account Account, _ Ask) (Report, error) {
	<-ctx.Done()
	return Report{RoleARN: "role in " + string(account.ID)}, &Error{Op: "call", Code: Throttled}
}

// TestWhyIsKnownAtTheDeadline: an account that the time runs out for still says why, and as whom it was asked.
func TestWhyIsKnownAtTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{fate: map[AccountID]int{}}
		for _, id := range []AccountID{"111111111111", "222222222222", "333333333333"} {
			w.accounts, w.fate[id] = append(w.accounts, Account{ID: id}), 1 // permitted
		}
		b := New(w, w, w, func(Operation, string, string) (Shape, error) { return w, nil }, throttled{}, w,
			Config{Home: "us-east-1", Concurrency: 2, PerAccount: time.Minute, MaxBytes: 5000})
		ctx, cancel := context.WithTimeout(t.Context(), 28*time.Second)
		defer cancel()
		answer, err := b.Query(ctx, Person{Subject: "s"}, Query{Accounts: []string{"all"}, Service: "ec2", Operation: "Describe"})
		if err != nil || ctx.Err() != nil {
			t.Fatalf("%v, %v", err, ctx.Err())
		}
		for i, want := range []Status{StatusThrottled, StatusThrottled, StatusSkipped} {
			if got := answer.Results[i]; got.Status != want || (got.Receipt != nil) != (want == StatusThrottled) {
				t.Errorf("%s: %s, receipt %+v, want %s", got.AccountID, got.Status, got.Receipt, want)
			}
		}
	})
}

// fleet is a world of many accounts and Regions, all of which end in one way.
type fleet struct {
	*world
	regions []string
	ask     func(Ask) (Report, error)
}

func (f *fleet) Regions() []string                           { return f.regions }
func (f *fleet) For(context.Context, Person) (Access, error) { return f, nil }
func (f *fleet) Decide(Account, Operation, string) Decision  { return Decision{Allowed: true} }
func (f *fleet) Ask(_ context.Context, _ Person, _ Account, ask Ask) (Report, error) {
	return f.ask(ask)
}

// query asks as many accounts in as many Regions and returns the answer, and its size.
func (f *fleet) query(t *testing.T, accounts, regions, maxBytes int) (*Answer, int) {
	t.Helper()
	f.world = &world{}
	for i := range accounts {
		f.accounts = append(f.accounts, Account{ID: AccountID(fmt.Sprintf("%012d", i)), Name: fmt.Sprintf("an account with a long name %04d", i)})
	}
	for i := range regions {
		f.regions = append(f.regions, fmt.Sprintf("ap-southeast-%d", i))
	}
	b := New(f, f, f, func(Operation, string, string) (Shape, error) { return f, nil }, f, f,
		Config{Home: "us-east-1", Concurrency: 64, PerAccount: time.Minute, MaxBytes: maxBytes})
	answer, err := b.Query(t.Context(), Person{Subject: "s"}, Query{Accounts: []string{"all"}, Regions: f.regions, Service: "ec2", Operation: "DescribeInstances", GroupBy: "@"})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := EncodeJSON(answer)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Results) != accounts*regions {
		t.Errorf("%d results of %d targets", len(answer.Results), accounts*regions)
	}
	return answer, len(encoded)
}

// maxPayload is the most that Lambda takes for an answer
// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const maxPayload = 6_291_556

// TestMostTargetsFitIntoAnAnswer: also when each of them says at length why it failed.
func TestMostTargetsFitIntoAnAnswer(t *testing.T) {
	t.Parallel()
	role := "arn:aws:iam::111111111111:role/" + strings.Repeat("r", 64)
	f := &fleet{ask: func(ask Ask) (Report, error) {
		report := Report{RoleARN: role, SourceIdentity: strings.Repeat("s", 64)}
		for _, region := range ask.Regions {
			report.Regions = append(report.Regions, RegionReport{Region: region, Err: &Error{Op: "call AWS", Code: Forbidden, Err: errors.New(strings.Repeat("not \"authorized\" ", 50)), Hint: strings.Repeat("hint ", 20)}})
		}
		return report, nil
	}}
	answer, size := f.query(t, 500, MaxTargets/500, 262144)
	if size > maxPayload {
		t.Errorf("an answer of %d targets has %d bytes", MaxTargets, size)
	}
	for _, result := range answer.Results {
		if result.Status != StatusDenied || result.Error.Code != Forbidden || result.Error.Message == "" || result.Receipt == nil {
			t.Fatalf("%+v: %+v", result, result.Error)
		}
	}
	if !answer.Truncated || !strings.Contains(strings.Join(answer.Notes, " "), "errors are shortened") {
		t.Errorf("truncated %v, notes %v", answer.Truncated, answer.Notes)
	}
}

// TestGroupsAreCutToSize: groups of many accounts each, and groups with long keys.
func TestGroupsAreCutToSize(t *testing.T) {
	t.Parallel()
	const maxBytes = 30_000
	for name, key := range map[string]string{"many accounts": "key", "long keys": strings.Repeat("key", 1000)} {
		f := &fleet{ask: func(ask Ask) (Report, error) {
			var rows []any
			for i := range 100 {
				rows = append(rows, fmt.Sprint(key, i))
			}
			return Report{Regions: []RegionReport{{Region: ask.Regions[0], Document: rows}}}, nil
		}}
		answer, size := f.query(t, 100, 1, maxBytes)
		frame := len(answer.Results) * 200
		if size > maxBytes+frame || !answer.Truncated {
			t.Errorf("%s: %d bytes where %d are wanted, and %d for the targets; truncated %v", name, size, maxBytes, frame, answer.Truncated)
		}
		least, most := 100, 0
		for _, group := range answer.Groups {
			least, most = min(least, len(group.Accounts)), max(most, len(group.Accounts))
			if group.Count != 100 {
				t.Errorf("%s: count %d", name, group.Count)
			}
		}
		if len(answer.Groups) == 0 || least == 0 || most-least > 1 || name == "many accounts" && len(answer.Groups) != 100 {
			t.Errorf("%s: %d groups of %d to %d accounts, notes %v", name, len(answer.Groups), least, most, answer.Notes)
		}
	}
}

func TestFanOutIsBoundedAndOrdered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		running := make(chan struct{}, 3)
		got := FanOut(t.Context(), []int{1, 2, 3, 4, 5, 6, 7}, 3, time.Second, func(ctx context.Context, n int) int {
			select {
			case running <- struct{}{}:
			default:
				t.Error("more than 3 at a time")
			}
			time.Sleep(time.Duration(10-n) * time.Millisecond) // in the bubble's time
			<-running
			return n * n
		}, func(int, bool) int { return -1 })
		if diff := cmp.Diff([]int{1, 4, 9, 16, 25, 36, 49}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestToolsFitTheGateway(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("tools.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4800 {
		t.Errorf("tools.json has %d bytes, at most 4,800 are wanted", len(raw))
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields() // anything else than the Gateway's subset
	var tools []Tool
	if err := decoder.Decode(&tools); err != nil {
		t.Fatal(err)
	}
	var walk func(name string, s Schema)
	walk = func(name string, s Schema) {
		if !slices.Contains([]string{"object", "array", "string", "integer", "number", "boolean"}, s.Type) || (s.Type == "array") != (s.Items != nil) {
			t.Errorf("%s: type %q, items %v", name, s.Type, s.Items)
		}
		for _, required := range s.Required {
			if _, ok := s.Properties[required]; !ok {
				t.Errorf("%s: required %s is no property", name, required)
			}
		}
		for key, property := range s.Properties {
			walk(name+"."+key, property)
		}
		if s.Items != nil {
			walk(name+"[]", *s.Items)
		}
	}
	for _, tool := range tools {
		if tool.Description == "" || tool.InputSchema.Type != "object" || len("bridge___"+tool.Name) > 64 {
			t.Errorf("tool %s", tool.Name)
		}
		walk(tool.Name, tool.InputSchema)
	}
}

func TestCredentialsDoNotShow(t *testing.T) {
	t.Parallel()
	session := RoleSession{Credentials: Credentials{AccessKeyID: "AKIDX", SecretAccessKey: "s3cret", SessionToken: "tok"}}
	encoded, err := json.Marshal(session)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(session), fmt.Sprintf("%+v %#v", session, session), string(encoded), session.Credentials.LogValue().String()} {
		for _, secret := range []string{"s3cret", "tok\"", "AKIDX"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows in %s", secret, text)
			}
		}
	}
}
