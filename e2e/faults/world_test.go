package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
	"github.com/central-ops/central-ops/e2e/local/oidc"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
)

const (
	region         = "us-east-1"
	centralAccount = "111111111111"
	userPool       = "us-east-1_Faults000"
	appClient      = "faults-client"
	externalID     = "faults-external-id"
	bridgeRole     = "arn:aws:iam::" + centralAccount + ":role/central-ops-bridge"
	gatewayRole    = "arn:aws:iam::" + centralAccount + ":role/central-ops-gateway"
	function       = "central-ops-bridge"
)

// world is the bridge's binary as a Lambda function, with all that it calls: STS and the AWS MCP Server of the local
// platform, the latter without Python, the user pool's keys, and a DynamoDB with the accounts and the session table.
type world struct {
	t        *testing.T
	accounts []string

	store    *issued.Store
	sts      *stsfront.Server
	mcp      *awsmcp.Server
	keys     *oidc.Front
	lambda   *lambdafront.Server
	database *database
	servers  []*httptest.Server // what the bridge keeps connections to
	mcpURL   string

	stsAhead, mcpAhead atomic.Int64 // how far the clocks of STS and the AWS MCP Server are ahead of the bridge's, ns

	mu       sync.Mutex
	minted   []string // access key ids of the target roles' sessions
	scripts  int      // AWS calls that scripts have made
	onScript func(n int)
	over     func() // ends what a row has begun
}

// settings are what a row may choose about its world.
type settings struct {
	accounts int               // 0 means 3
	timeout  time.Duration     // of the function; 0 means 30 s, as deployed
	env      map[string]string // over the world's own
}

// newWorld starts everything but the bridge, whose first call does.
func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	if s.accounts == 0 {
		s.accounts = 3
	}
	if s.timeout == 0 {
		s.timeout = 30 * time.Second
	}
	w := &world{t: t, store: issued.New(), database: &database{sessions: map[string]json.RawMessage{}}}
	roles := iampolicy.StaticRoles{
		bridgeRole: {ARN: bridgeRole, ID: "AROABRIDGE", Policies: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow",
			"Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],"Resource":"arn:aws:iam::*:role/CentralOpsTargetRole"}}`}},
		gatewayRole: {ARN: gatewayRole, ID: "AROAGATEWAY"},
	}
	for i := range s.accounts {
		id := fmt.Sprintf("2%011d", i)
		arn := "arn:aws:iam::" + id + ":role/CentralOpsTargetRole"
		w.accounts = append(w.accounts, id)
		roles[arn] = iampolicy.Role{
			ARN: arn, ID: "AROATARGET" + id,
			Trust: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + bridgeRole + `"},
				"Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"` + externalID + `"}}}}`,
			Policies: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}}`},
		}
	}
	w.database.accounts = w.accounts
	w.sts = stsfront.New(stsfront.Config{Store: w.store, Roles: roles, Minter: w, Region: region, Now: clock(&w.stsAhead)})
	var err error
	if w.mcp, err = awsmcp.New(awsmcp.Config{Store: w.store, Roles: roles, Region: region, Answer: w.answer, Now: clock(&w.mcpAhead)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.mcp.Close)
	if w.keys, err = oidc.StartFront(oidc.FrontConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.keys.Close() })
	w.keys.RetireOldKeys() // of the emulator, which there is none of here
	w.mcpURL = w.serve(dated(&w.mcpAhead, w.mcp)) + "/mcp"
	w.startBridge(s)
	return w
}

func (w *world) startBridge(s settings) {
	w.t.Helper()
	type account struct {
		ID string `json:"id"`
	}
	accounts := make([]account, len(w.accounts))
	for i, id := range w.accounts {
		accounts[i].ID = id
	}
	encoded, err := json.Marshal(accounts)
	if err != nil {
		w.t.Fatal(err)
	}
	env := map[string]string{
		"TARGET_ACCOUNTS": string(encoded), "ENVIRONMENT": "dev", "EXTERNAL_ID": externalID,
		"ACCESS_POLICY": `permit(principal in Group::"ops", action, resource);`,
		"TOKEN_ISSUER":  oidc.Issuer(userPool), "TOKEN_CLIENT_IDS": appClient, "TOKEN_JWKS_URL": w.keys.JWKSURL(userPool),
		"AWS_MCP_ENDPOINT": w.mcpURL, "AWS_MCP_REGION": region,
		"AWS_ENDPOINT_URL_STS": w.serve(dated(&w.stsAhead, w.sts)), "AWS_ENDPOINT_URL_DYNAMODB": w.serve(w.database),
	}
	for name, value := range s.env {
		if env[name] = value; value == "" {
			delete(env, name)
		}
	}
	w.lambda, err = lambdafront.Start(lambdafront.Config{
		Account: centralAccount, Region: region, Credentials: w.store,
		Authorize: func(string, string) bool { return true },
		Functions: []lambdafront.Function{{
			Name: function, Bootstrap: filepath.Join(binaries, "bridge", "bootstrap"), Env: env, Timeout: s.timeout, MemoryMB: 256,
			Role: func() (issued.Credential, error) {
				return w.sts.Issue(context.Background(), bridgeRole, function, time.Hour)
			},
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.lambda.Close() })
}

func (w *world) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	w.servers = append(w.servers, server)
	w.t.Cleanup(server.Close)
	return server.URL
}

// clock is a clock that is ahead of this machine's.
func clock(ahead *atomic.Int64) func() time.Time {
	return func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
}

// dated gives every answer the date of the service's own clock, by which the SDK knows how far its own is off.
func dated(ahead *atomic.Int64, h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", clock(ahead)().UTC().Format(http.TimeFormat))
		h.ServeHTTP(rw, r)
	})
}

// Mint makes keys up and remembers those of target roles, so that expireSessions can end them.
func (w *world) Mint(ctx context.Context, roleARN, session string, duration time.Duration) (issued.Credential, error) {
	c, err := stsfront.LocalKeys{}.Mint(ctx, roleARN, session, duration)
	if err == nil && roleARN != bridgeRole && roleARN != gatewayRole {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.minted = append(w.minted, c.AccessKeyID)
	}
	return c, err
}

// expireSessions ends the credentials that were issued for target roles so far, as an hour would.
func (w *world) expireSessions() {
	w.mu.Lock()
	ended := w.minted
	w.minted = nil
	w.mu.Unlock()
	for _, id := range ended {
		c, ok := w.store.Lookup(id)
		if !ok {
			w.t.Errorf("key %s was minted and not issued", id)
		}
		c.Expires = time.Now().Add(-time.Second)
		w.store.Add(c)
	}
}

// dropConnections cuts what the bridge keeps open, idle or not.
func (w *world) dropConnections() {
	for _, server := range w.servers {
		server.CloseClientConnections()
	}
}

// answer is one instance in every account and Region.
func (w *world) answer(_ context.Context, ask awsmcp.Ask) (json.RawMessage, error) {
	w.mu.Lock()
	w.scripts++
	n, hook := w.scripts, w.onScript
	w.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	return json.RawMessage(`{"Reservations":[{"Instances":[{"InstanceId":"i-` + ask.Account + `"}]}]}`), nil
}

// atScript calls f when the n-th AWS call from now on is made, before it is answered.
func (w *world) atScript(n int, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scripts = 0
	w.onScript = func(i int) {
		if i == n {
			f()
		}
	}
}

// heal ends every fault that a stand-in knows.
func (w *world) heal() {
	w.mcp.ClearFaults()
	w.sts.ClearFaults()
	w.keys.SetOutage(false)
	w.database.throttled.Store(false)
	w.stsAhead.Store(0)
	w.mcpAhead.Store(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onScript = nil
}

// The people who ask.
const (
	olivia = "olivia"
	peter  = "peter"
)

// token is a person's access token, signed with the pool's newest key.
func (w *world) token(user string) string {
	w.t.Helper()
	token, err := w.keys.Sign(map[string]any{
		"iss": oidc.Issuer(userPool), "sub": "subject-of-" + user, "username": user, "client_id": appClient,
		"token_use": "access", "cognito:groups": []string{"ops"}, "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// queryAnswer is what the bridge answers, or what Lambda says in its place.
type queryAnswer struct {
	OK       bool         `json:"ok"`
	Coverage e2e.Coverage `json:"coverage"`
	Results  []struct {
		AccountID string     `json:"account_id"`
		Region    string     `json:"region"`
		Status    string     `json:"status"`
		Count     int        `json:"count"`
		Error     *e2e.Fault `json:"error"`
	} `json:"results"`
	Error *e2e.Fault `json:"error"`

	Kill string `json:"errorType"` // of a function error
	Last string `json:"errorMessage"`
}

// ask asks all accounts for their instances in one Region, as the Gateway would.
func (w *world) ask(token string) queryAnswer {
	w.t.Helper()
	clientContext, err := json.Marshal(map[string]any{"custom": map[string]any{
		"bedrockAgentCoreToolName":          "bridge___query",
		"bedrockAgentCorePropagatedHeaders": map[string]string{"X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token": token},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	gateway, err := w.sts.Issue(w.t.Context(), gatewayRole, "gateway", time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	client := lambdafront.Client{URL: w.lambda.URL, Region: region, HTTP: http.DefaultClient}
	result, err := client.Invoke(w.t.Context(), gateway, function, []byte(`{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`), clientContext)
	if err != nil {
		w.t.Fatal(err)
	}
	var answer queryAnswer
	if err := json.Unmarshal(result.Payload, &answer); err != nil {
		w.t.Fatalf("%s: %v", result.Payload, err)
	}
	if (result.FunctionError != "") != (answer.Kill != "") {
		w.t.Errorf("function error %q with %s", result.FunctionError, result.Payload)
	}
	return answer
}

// check fails the test if a target of a query over all accounts is missing, is there twice or is counted wrong, or if
// an answered one has no rows.
func (w *world) check(a queryAnswer) {
	w.t.Helper()
	if a.Error != nil || a.Kill != "" {
		if len(a.Results) != 0 {
			w.t.Errorf("a refused query has %d results", len(a.Results))
		}
		return
	}
	var asked []string
	var counted e2e.Coverage
	for _, r := range a.Results {
		asked = append(asked, r.AccountID)
		counted.Targets++
		switch r.Status {
		case "ok":
			counted.Answered++
		case "denied":
			counted.Denied++
		case "skipped":
			counted.Skipped++
		default:
			counted.Failed++
		}
		if r.Region != region || (r.Status == "ok") != (r.Count == 1) || (r.Status == "ok") != (r.Error == nil) {
			w.t.Errorf("account %s: status %s in %s with %d rows and error %+v", r.AccountID, r.Status, r.Region, r.Count, r.Error)
		}
	}
	slices.Sort(asked)
	if !slices.Equal(asked, w.accounts) {
		w.t.Errorf("want each account once, got %v", asked)
	}
	if counted != a.Coverage {
		w.t.Errorf("coverage %+v over results that are %+v", a.Coverage, counted)
	}
}

// bridgePID finds the bridge's process among this process's children, by the upstream that only it has.
func (w *world) bridgePID() int {
	w.t.Helper()
	pids := processesWith(w.t, "AWS_MCP_ENDPOINT="+w.mcpURL)
	if len(pids) != 1 {
		w.t.Fatalf("want one process of the bridge, found %v", pids)
	}
	return pids[0]
}

// processesWith returns the processes of this machine that have the variable, written NAME=value.
func processesWith(t *testing.T, variable string) []int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(found) == 0 {
		t.Skipf("needs Linux's /proc to find the product's processes (%v)", err)
	}
	var pids []int
	for _, path := range found {
		environ, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile, or somebody else's
		}
		if slices.Contains(strings.Split(string(environ), "\x00"), variable) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// database is as much of DynamoDB as the bridge calls: Scan of the accounts, GetItem and PutItem of MCP sessions.
type database struct {
	accounts  []string
	throttled atomic.Bool
	refused   atomic.Int64

	mu       sync.Mutex
	sessions map[string]json.RawMessage // items by key
}

func (d *database) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	if d.throttled.Load() {
		d.refused.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Throughput exceeds the current capacity of your table or index."}`)
		return
	}
	var request struct {
		Key, Item map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
	case "Scan":
		items := make([]string, len(d.accounts))
		for i, id := range d.accounts {
			items[i] = `{"id":{"S":"` + id + `"}}`
		}
		fmt.Fprintf(w, `{"Count":%d,"ScannedCount":%d,"Items":[%s]}`, len(items), len(items), strings.Join(items, ","))
	case "GetItem":
		if item, ok := d.sessions[string(request.Key["pk"])]; ok {
			fmt.Fprintf(w, `{"Item":%s}`, item)
			return
		}
		fmt.Fprint(w, `{}`)
	case "PutItem":
		var item bytes.Buffer
		if err := json.NewEncoder(&item).Encode(request.Item); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		d.sessions[string(request.Item["pk"])] = item.Bytes()
		fmt.Fprint(w, `{}`)
	default:
		http.Error(w, "not served here: "+operation, http.StatusBadRequest)
	}
}
