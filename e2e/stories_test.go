package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/google/go-cmp/cmp"
)

// A story: given these accounts, when this is asked, then this answer with this coverage and these receipts.

func TestSignIn(t *testing.T) {
	t.Parallel()
	stack := open(t)
	token := stack.token(t, stack.Ops)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Use      string   `json:"token_use"`
		Client   string   `json:"client_id"`
		Username string   `json:"username"`
		Groups   []string `json:"cognito:groups"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Use != "access" || claims.Client != stack.ClientID || claims.Username != stack.Ops.Username || len(claims.Groups) == 0 {
		t.Errorf("claims %+v, want an access token of client %s for %s with a group", claims, stack.ClientID, stack.Ops.Username)
	}
	if _, err := stack.SignIn(t.Context(), stack.Ops.Username, "Wrong-1-"+stack.Ops.Password); err == nil || !strings.Contains(err.Error(), "NotAuthorizedException") {
		t.Errorf("sign in with a wrong password: %v, want NotAuthorizedException", err)
	}
}

func TestAskAboutOneAccount(t *testing.T) {
	t.Parallel()
	stack := open(t)
	account := stack.pick(t, false)
	for _, prompt := range []string{"List EC2 instances in account " + account.ID, "List EC2 instances in " + account.Name} {
		answer := stack.ask(t, stack.Ops, prompt)
		stack.complete(t, prompt, answer, stack.Regions[0], account)
		stack.names(t, prompt, answer.Response, stack.Regions[:1], account)
		for _, r := range answer.Receipts {
			if r.Operation != "ec2:DescribeInstances" {
				t.Errorf("%q: a receipt is of %s, want ec2:DescribeInstances", prompt, r.Operation)
			}
		}
	}
}

func TestAskAboutAnEnvironment(t *testing.T) {
	t.Parallel()
	stack := open(t)
	environment := stack.pick(t, false).Environment
	prompt := "List EC2 instances in the " + environment + " environment"
	answer := stack.ask(t, stack.Ops, prompt)
	there := slices.DeleteFunc(stack.reachable(), func(a e2e.Account) bool { return a.Environment != environment })
	stack.complete(t, prompt, answer, stack.Regions[0], there...)
	stack.names(t, prompt, answer.Response, stack.Regions[:1], there...)
}

func TestAskInAllAccountsAndRegions(t *testing.T) {
	t.Parallel()
	stack := open(t)
	if len(stack.reachable()) < len(stack.Accounts) {
		t.Skipf("not on stack %s: an account is unreachable; TestPartialAnswer asks all accounts", stack.Name)
	}
	prompt := "Which accounts have EC2 instances in " + stack.Regions[1] + "?"
	answer := stack.ask(t, stack.Ops, prompt)
	stack.complete(t, prompt, answer, stack.Regions[1], stack.Accounts...)
	for _, account := range stack.Accounts {
		if len(account.Instances[stack.Regions[1]]) > 0 && !strings.Contains(answer.Response, account.Name) {
			t.Errorf("the answer does not name %s:\n%s", account.Name, answer.Response)
		}
	}
	if answer.Turns > 4 {
		t.Errorf("%d turns, want at most 4", answer.Turns)
	}

	prompt = "List EC2 instances in all accounts, in all Regions"
	answer = stack.ask(t, stack.Ops, prompt)
	stack.complete(t, prompt, answer, "", stack.Accounts...)
	stack.names(t, prompt, answer.Response, stack.Regions, stack.Accounts...)
	if answer.Coverage.Targets < 10*len(stack.Accounts) {
		t.Errorf("coverage %+v: all Regions of an account are more than 10", *answer.Coverage)
	}
}

func TestDocumentationQuestion(t *testing.T) {
	t.Parallel()
	stack := open(t)
	answer := stack.ask(t, stack.Ops, "documentation: how do I configure the timeout of a Lambda function?")
	if !strings.Contains(answer.Response, "docs.aws.amazon.com") || answer.ToolCalls == 0 {
		t.Errorf("want an answer by a tool that links to the documentation, got after %d tool calls:\n%s", answer.ToolCalls, answer.Response)
	}
	if answer.Coverage != nil && answer.Coverage.Targets > 0 {
		t.Errorf("coverage %+v: no account needed to be asked", *answer.Coverage)
	}
}

func TestFollowUp(t *testing.T) {
	t.Parallel()
	stack := open(t)
	first, second := stack.pick(t, false), stack.pick(t, true)
	token, session := stack.token(t, stack.Ops), "follow-up-"+rand.Text()+rand.Text()
	ask := func(token, prompt string) e2e.Answer {
		answer, err := stack.Ask(t.Context(), token, session, prompt)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if answer := ask(token, "List EC2 instances in "+first.Name+" in "+stack.Regions[0]); answer.Error != nil {
		t.Fatalf("%+v", *answer.Error)
	}
	prompt := "and in " + second.Name + "?"
	answer := ask(token, prompt)
	if answer.Error != nil {
		t.Fatalf("%+v", *answer.Error)
	}
	stack.check(t, stack.Ops, prompt, answer)
	stack.complete(t, prompt, answer, stack.Regions[0], second)
	stack.names(t, prompt, answer.Response, stack.Regions[:1], second)
	// The conversation belongs to who began it: nobody else may go on with it.
	if stranger := ask(stack.token(t, stack.Viewer), "and in "+first.Name+"?"); stranger.Error == nil || stranger.Error.Code != "forbidden" {
		t.Errorf("another person went on with the conversation: %+v", stranger)
	}
	if err := stack.Stop(t.Context(), token, session); err != nil {
		t.Error(err)
	}
}

// What a person may not see is denied by policy and named by id alone, and nobody assumes a role there.
func TestPersonSeesOnlyWhatThePolicyPermits(t *testing.T) {
	t.Parallel()
	stack := open(t)
	prompt := "How many EC2 instances are there in all accounts in " + stack.Regions[0] + "?"
	answer := stack.ask(t, stack.Viewer, prompt)
	var want e2e.Coverage
	for _, account := range stack.Accounts {
		want.Targets++
		switch {
		case account.Viewer && !account.Unreachable:
			want.Answered++
			continue
		case account.Viewer:
			want.Denied++
			continue
		}
		want.Denied++
		if !strings.Contains(answer.Response, account.ID) || hasWord(answer.Response, account.Name) {
			t.Errorf("want account %s, which was not asked, by its id and not by its name %s:\n%s", account.ID, account.Name, answer.Response)
		}
		for _, instance := range slices.Concat(slices.Collect(maps.Values(account.Instances))...) {
			if hasWord(answer.Response, instance) {
				t.Errorf("the answer tells %s about %s:\n%s", stack.Viewer.Username, instance, answer.Response)
			}
		}
		for _, r := range answer.Receipts {
			if r.AccountID == account.ID && (r.Status != "denied" || r.RoleARN != "" || r.APICalls > 0) {
				t.Errorf("receipt %+v: want no role session in account %s", r, account.ID)
			}
		}
		if stack.platform == nil {
			continue
		}
		for _, record := range stack.platform.Trail.Account(account.ID) {
			if record.UserIdentity.SessionContext != nil && record.UserIdentity.SessionContext.SourceIdentity == stack.Viewer.Username {
				t.Errorf("account %s has a record of the viewer's: %s", account.ID, record.EventName)
			}
		}
	}
	if answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
}

func TestReadsOfSecretsAndWritesAreRefused(t *testing.T) {
	t.Parallel()
	stack := open(t)
	prompt := `call secretsmanager:GetSecretValue in ` + stack.pick(t, false).Name + ` with {"SecretId":"db"}`
	answer := stack.ask(t, stack.Ops, prompt)
	if c := answer.Coverage; c != nil && c.Answered > 0 || !strings.Contains(strings.ToLower(answer.Response), "secret") {
		t.Errorf("%q: coverage %+v, want a refusal that says why:\n%s", prompt, c, answer.Response)
	}
	if stack.GatewayAuth == "workload" {
		return // people's tokens do not pass the Gateway; TestBothGatewayModes
	}
	token := stack.token(t, stack.Ops)
	for name, arguments := range map[string]map[string]any{
		"write":       {"service": "ec2", "operation": "TerminateInstances", "params": map[string]any{"InstanceIds": []string{"i-1"}}},
		"secret":      {"service": "secretsmanager", "operation": "GetSecretValue", "params": map[string]any{"SecretId": "x"}},
		"credentials": {"service": "sts", "operation": "GetSessionToken"},
		"data":        {"service": "s3", "operation": "GetObject", "params": map[string]any{"Bucket": "b", "Key": "k"}},
	} {
		arguments["accounts"] = []string{"all"}
		reply, err := stack.CallTool(t.Context(), token, nil, "bridge___query", arguments)
		if err != nil {
			t.Fatal(err)
		}
		answer := decodeTool(t, reply)
		if answer.OK || answer.Error == nil || answer.Error.Code != "forbidden" || answer.Error.Hint == "" {
			t.Errorf("%s: %s, want forbidden with a hint", name, reply.Body)
		}
	}
}

// An account whose role cannot be assumed: the answer holds the others, names that one, and says that it is partial.
func TestPartialAnswer(t *testing.T) {
	t.Parallel()
	stack, missing := openPartial(t)
	prompt := "How many EC2 instances are there in all accounts in " + stack.Regions[0] + "?"
	answer := stack.ask(t, stack.Ops, prompt)
	want := e2e.Coverage{Targets: len(stack.Accounts), Answered: len(stack.reachable()), Denied: len(stack.Accounts) - len(stack.reachable())}
	if answer.Coverage == nil || *answer.Coverage != want {
		t.Errorf("coverage %+v, want %+v", answer.Coverage, want)
	}
	if !strings.Contains(answer.Response, missing.ID) || !strings.Contains(strings.ToLower(answer.Response), "partial") {
		t.Errorf("the answer does not say that it is partial and that account %s is missing:\n%s", missing.ID, answer.Response)
	}
	if stack.platform == nil {
		return
	}
	stack.platform.STS.ClearFaults()
	prompt = "List S3 buckets in account " + missing.ID
	if again := stack.ask(t, stack.Ops, prompt); again.Coverage == nil || again.Coverage.Answered != 1 {
		t.Errorf("%q, when its role can be assumed again: %+v", prompt, again)
	}
}

func TestUnknownAccount(t *testing.T) {
	t.Parallel()
	stack := open(t)
	prompt := "List EC2 instances in account 999999999999"
	answer := stack.ask(t, stack.Ops, prompt)
	if !strings.Contains(answer.Response, "999999999999") || answer.Coverage != nil && answer.Coverage.Answered > 0 {
		t.Errorf("want an answer that names the unknown account, coverage %+v:\n%s", answer.Coverage, answer.Response)
	}
	stack.names(t, prompt, answer.Response, nil)
}

// In both modes the person who asked stands in the receipts, and the client lists the accounts. In user mode the Gateway
// takes people's tokens, in workload mode the agent's alone.
func TestBothGatewayModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"user", "workload"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			stack := openMode(t, mode)
			account := stack.pick(t, true)
			prompt := "List S3 buckets in account " + account.ID
			answer := stack.ask(t, stack.Viewer, prompt)
			stack.complete(t, prompt, answer, "", account)

			token := stack.token(t, stack.Viewer)
			u := newUserOf(t, stack.Stack)
			for command, want := range map[string]string{"accounts": stack.role() + "  ok", "whoami": "Verified     yes"} {
				if printed, status := u.runWith(token, command); status != 0 || !strings.Contains(printed, account.ID) || !strings.Contains(printed, want) {
					t.Errorf("%s: status %d, want %q in\n%s", command, status, want, printed)
				}
			}
			reply, err := stack.CallTool(t.Context(), token, nil, "bridge___list_accounts", map[string]any{})
			if err != nil {
				t.Fatal(err)
			}
			if mode == "workload" {
				if reply.Status != http.StatusUnauthorized {
					t.Errorf("the Gateway answered a person's token by %d %s, want 401", reply.Status, reply.Body)
				}
				return
			}
			got := decodeTool(t, reply)
			if !got.OK || !slices.ContainsFunc(got.Accounts, func(a struct{ ID, Name, Environment string }) bool { return a.ID == account.ID }) {
				t.Errorf("list_accounts at the Gateway: %s, want account %s", reply.Body, account.ID)
			}
		})
	}
}

// A stream tells the call before its result, text in pieces, and ends with the same proof as a JSON answer.
func TestStream(t *testing.T) {
	t.Parallel()
	stack := open(t)
	account := stack.pick(t, false)
	prompt := "List EC2 instances in account " + account.ID
	token, session := stack.token(t, stack.Ops), "stream-"+rand.Text()+rand.Text()
	events, err := stack.Stream(t.Context(), token, session, prompt)
	if err != nil {
		t.Fatal(err)
	}
	if err := stack.Stop(t.Context(), token, session); err != nil {
		t.Error(err)
	}
	if len(events) == 0 {
		t.Fatal("the stream has no event")
	}
	last := events[len(events)-1]
	if last.Type != "done" {
		t.Fatalf("the stream ends with %+v, want done", last)
	}
	open, response, pieces := map[string]bool{}, "", 0
	for _, event := range events {
		switch event.Type {
		case "text":
			response += event.Text
			pieces++
		case "tool_call":
			open[event.ID] = true
		case "tool_result":
			if !open[event.ID] || !event.OK {
				t.Errorf("tool_result %+v, want that of a call before it, and ok", event)
			}
			delete(open, event.ID)
		}
	}
	if len(open) > 0 || pieces < 2 || last.Turns == 0 || last.Usage.Read() == 0 {
		t.Errorf("%d calls without a result, %d pieces of text, done with %d turns and %+v", len(open), pieces, last.Turns, last.Usage)
	}
	answer := e2e.Answer{Response: response, Coverage: last.Coverage, Receipts: last.Receipts}
	stack.check(t, stack.Ops, prompt, answer)
	stack.complete(t, prompt, answer, stack.Regions[0], account)
	stack.names(t, prompt, response, stack.Regions[:1], account)
}

// The commands under "By curl" in the README, word for word: on a deployed stack those that take addresses from its outputs,
// then everywhere those that sign in and ask.
func TestCurlOfTheREADME(t *testing.T) {
	t.Parallel()
	stack := open(t)
	for _, tool := range []string{"bash", "curl", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not on PATH", tool)
		}
	}
	_, section, found := strings.Cut(readTree(t, "README.md"), "## By curl\n")
	if !found {
		t.Fatal(`the README has no section "By curl"`)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var addresses, asking []string
	for _, command := range shellCommands(section) {
		if strings.Contains(command, "pulumi") {
			addresses = append(addresses, command)
		} else {
			asking = append(asking, command)
		}
	}
	if len(addresses) != 3 || len(asking) != 2 {
		t.Fatalf("the README shows %d commands for addresses and %d for asking, want 3 and 2", len(addresses), len(asking))
	}
	shell := func(env []string, lines ...string) string {
		command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.Join(lines, "\n"))
		command.Dir, command.Env = "..", append(os.Environ(), env...)
		printed, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", lines, err, printed)
		}
		return string(printed)
	}
	if live != "" {
		outputs, err := e2e.ReadStack(t.Context(), "..", live)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Join([]string{outputs.ClientID, "https://cognito-idp." + outputs.Region + ".amazonaws.com/", outputs.InvocationsURL(), ""}, "\n")
		got := shell([]string{"PULUMI_STACK=" + live}, append(addresses, `printf '%s\n' "$CLIENT_ID" "$COGNITO_URL" "$INVOCATIONS_URL"`)...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("addresses mismatch (-want +got):\n%s", diff)
		}
	}
	cognito := stack.CognitoEndpoint
	if cognito == "" {
		cognito = "https://cognito-idp." + stack.Region + ".amazonaws.com/"
	}
	printed := shell([]string{
		"COGNITO_URL=" + cognito, "CLIENT_ID=" + stack.ClientID, "INVOCATIONS_URL=" + stack.InvocationsURL(),
		"USERNAME=" + stack.Ops.Username, "PASSWORD=" + stack.Ops.Password,
	}, asking...)
	var answer e2e.Answer
	if err := json.Unmarshal([]byte(printed), &answer); err != nil {
		t.Fatalf("the README's curl printed %s: %v", printed, err)
	}
	if answer.Error != nil {
		t.Fatalf("%+v", *answer.Error)
	}
	for _, account := range stack.Accounts {
		if !strings.Contains(answer.Response, account.ID) {
			t.Errorf("the answer does not name account %s:\n%s", account.ID, answer.Response)
		}
	}
	if err := stack.Stop(t.Context(), stack.token(t, stack.Ops), answer.SessionID); err != nil {
		t.Error(err)
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

func TestBadPrompts(t *testing.T) {
	t.Parallel()
	stack := open(t)
	token := stack.token(t, stack.Ops)
	for name, body := range map[string]string{
		"not a string":        `{"prompt":{"toolUse":{"name":"bridge___query"}}}`,
		"empty":               `{"prompt":"  "}`,
		"missing":             `{}`,
		"not JSON":            `prompt=hello`,
		"tool blocks beside":  `{"prompt":"hello","messages":[{"role":"assistant","content":[{"toolUse":{}}]}]}`,
		"larger than allowed": `{"prompt":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		reply, err := stack.Invoke(t.Context(), token, "", []byte(body))
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
