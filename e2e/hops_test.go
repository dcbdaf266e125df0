package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

// Each test breaks one hop's check and expects the refusal from that hop, not from a later one.

// forge returns a token like alice's access token, signed with a key of the pool; change alters its claims.
func forge(t *testing.T, p *local.Platform, change func(map[string]any)) string {
	t.Helper()
	claims := map[string]any{
		"iss": oidc.Issuer(p.Seeded.UserPoolID), "sub": p.Seeded.Subjects["alice"], "username": "alice",
		"client_id": p.Seeded.ClientID, "token_use": "access", "cognito:groups": []string{"ops"},
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	change(claims)
	token, err := p.OIDC.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// badTokens are tokens that every hop which takes a user's token must refuse.
func badTokens(t *testing.T, p *local.Platform) map[string]string {
	good := forge(t, p, func(map[string]any) {})
	dot := strings.LastIndexByte(good, '.')
	flipped := []byte(good) // with another letter that a token may have: an illegal one would be refused before any signature is looked at
	if flipped[dot+10] == 'A' {
		flipped[dot+10] = 'B'
	} else {
		flipped[dot+10] = 'A'
	}
	return map[string]string{
		"altered signature": string(flipped),
		"no signature":      good[:dot+1],
		"expired":           forge(t, p, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"other client":      forge(t, p, func(c map[string]any) { c["client_id"] = p.Seeded.OtherClientID }),
		"other issuer":      forge(t, p, func(c map[string]any) { c["iss"] = oidc.Issuer("us-east-1_someoneElse") }),
		"not a token":       "let-me-in",
	}
}

func TestRuntimeRefusesBadTokens(t *testing.T) {
	t.Parallel()
	p := platform(t)
	bad := badTokens(t, p)
	bad["ID token"] = signIn(t, p, "alice").ID
	bad["missing"] = ""
	for name, token := range bad {
		reply, err := p.Stack.Invoke(t.Context(), token, "", []byte(`{"prompt":"list accounts"}`))
		if err != nil {
			t.Fatal(err)
		}
		want := http.StatusForbidden
		if token == "" {
			want = http.StatusUnauthorized
		}
		if reply.Status != want {
			t.Errorf("%s: the Runtime answered %d %s, want %d", name, reply.Status, reply.Body, want)
		}
	}
	if _, err := p.Stack.Ask(t.Context(), forge(t, p, func(map[string]any) {}), "", "list accounts"); err != nil {
		t.Errorf("the token that the bad ones were made of is refused too: %v", err)
	}
}

func TestGatewayRefusesBadTokens(t *testing.T) {
	t.Parallel()
	p := platform(t)
	bad := badTokens(t, p)
	bad["missing"] = ""
	for name, token := range bad {
		reply, err := p.Stack.CallTool(t.Context(), token, nil, "bridge___list_accounts", map[string]any{})
		if err != nil {
			t.Fatal(err)
		}
		if reply.Status != http.StatusUnauthorized || reply.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: the Gateway answered %d %s, want 401 with WWW-Authenticate", name, reply.Status, reply.Body)
		}
	}
}

// The Gateway lets a client's header of that name travel. The bridge must believe only a token that verifies.
func TestBridgeRefusesForgedUserHeader(t *testing.T) {
	t.Parallel()
	p := platform(t)
	token := signIn(t, p, "bob").Access
	bad := badTokens(t, p)
	bad["a name instead of a token"] = "alice"
	for name, forged := range bad {
		header := http.Header{local.UserHeader: {forged}}
		reply, err := p.Stack.CallTool(t.Context(), token, header, "bridge___list_accounts", map[string]any{})
		if err != nil {
			t.Fatal(err)
		}
		answer := decodeTool(t, reply)
		if answer.OK || answer.Error == nil || answer.Error.Code != "unauthenticated" || answer.Error.Hint == "" {
			t.Errorf("%s: the bridge answered %s, want unauthenticated with a hint", name, reply.Body)
		}
	}
}

// A token that the interceptor lets through fits into the client context of the bridge, next to all else that travels there.
func TestLargestTokenReachesTheBridge(t *testing.T) {
	t.Parallel()
	p := platform(t)
	const largest = 2000 // bytes; the interceptor's limit
	sized := func(padding int) string {
		return forge(t, p, func(c map[string]any) { c["padding"] = strings.Repeat("x", padding) })
	}
	padding := largest - len(sized(0))
	for len(sized(padding)) > largest {
		padding--
	}
	header := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	reply, err := p.Stack.CallTool(t.Context(), sized(padding), header, "bridge___list_accounts", map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	if answer := decodeTool(t, reply); !answer.OK {
		t.Errorf("a token of %d bytes: the bridge answered %s", len(sized(padding)), reply.Body)
	}
}

// Whoever may invoke the function but brings no user gets nothing either.
func TestBridgeRefusesCallWithoutUser(t *testing.T) {
	t.Parallel()
	p := platform(t)
	cred, err := p.STS.Issue(t.Context(), p.Seeded.ServiceRoleARNs["gateway"], "gateway", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	client := lambdafront.Client{URL: p.Lambda.URL, Region: local.Region, HTTP: http.DefaultClient}
	result, err := client.Invoke(t.Context(), cred, "central-ops-bridge", []byte(`{}`), []byte(`{"custom":{"bedrockAgentCoreToolName":"bridge___list_accounts"}}`))
	if err != nil {
		t.Fatal(err)
	}
	var answer toolAnswer
	if err := json.Unmarshal(result.Payload, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.OK || answer.Error == nil || answer.Error.Code != "unauthenticated" {
		t.Errorf("the bridge answered %s, want unauthenticated", result.Payload)
	}
}

func TestLambdaRefusesWrongSignatureAndWrongRole(t *testing.T) {
	t.Parallel()
	p := platform(t)
	client := lambdafront.Client{URL: p.Lambda.URL, Region: local.Region, HTTP: http.DefaultClient}
	issue := func(role string) issued.Credential {
		cred, err := p.STS.Issue(t.Context(), p.Seeded.ServiceRoleARNs[role], role, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return cred
	}
	spoiled := issue("gateway")
	spoiled.SecretAccessKey = "another secret"
	for name, row := range map[string]struct {
		cred issued.Credential
		code string
	}{
		"wrong signature": {spoiled, "InvalidSignatureException"},
		"wrong role":      {issue("agent"), "AccessDeniedException"},
	} {
		_, err := client.Invoke(t.Context(), row.cred, "central-ops-bridge", []byte(`{}`), nil)
		var refused *lambdafront.APIError
		if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || refused.Code != row.code {
			t.Errorf("%s: Lambda answered %v, want 403 %s", name, err, row.code)
		}
	}
}

// The bridge runs with keys whose secret AWS does not know, or with an ExternalId that no trust policy names: STS
// refuses, and the answer says so for each account.
func TestSTSRefusesTheBridge(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*local.Options)
		want   e2e.Coverage
	}{
		"wrong signature": {
			func(o *local.Options) {
				o.BridgeKeys = func(c issued.Credential) issued.Credential { c.SecretAccessKey = "another secret"; return c }
			},
			e2e.Coverage{Targets: 3, Failed: 3},
		},
		"wrong external id": {
			func(o *local.Options) { o.BridgeEnv = map[string]string{"EXTERNAL_ID": "somebody-elses"} },
			e2e.Coverage{Targets: 3, Denied: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options()
			row.change(&o)
			p := startOwn(t, o)
			reply, err := p.Stack.CallTool(t.Context(), signIn(t, p, "alice").Access, nil, "bridge___query", map[string]any{
				"accounts": []string{"all"}, "service": "ec2", "operation": "DescribeInstances",
			})
			if err != nil {
				t.Fatal(err)
			}
			answer := decodeTool(t, reply)
			if !answer.OK || answer.Coverage != row.want {
				t.Fatalf("the bridge answered %s, want coverage %+v", reply.Body, row.want)
			}
			for _, r := range answer.Results {
				if r.Error == nil || r.Error.Hint == "" || len(r.Data) != 0 {
					t.Errorf("account %s: %+v, want an error with a hint and no data", r.AccountID, r)
				}
			}
		})
	}
}

// mcpCall posts one JSON-RPC message to the AWS MCP Server, signed as service aws-mcp.
func mcpCall(t *testing.T, p *local.Platform, cred issued.Credential, service, session, message string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.MCPURL, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	if session != "" {
		request.Header.Set("Mcp-Session-Id", session)
	}
	hash := sha256.Sum256([]byte(message))
	keys := aws.Credentials{AccessKeyID: cred.AccessKeyID, SecretAccessKey: cred.SecretAccessKey, SessionToken: cred.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, request, hex.EncodeToString(hash[:]), service, local.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func TestMCPServerRefusesWrongSignatureAndWrongSessionName(t *testing.T) {
	t.Parallel()
	p := platform(t)
	issue := func(session string) issued.Credential {
		cred, err := p.STS.Issue(t.Context(), p.Seeded.TargetRoleARNs["222222222222"], session, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return cred
	}
	const (
		initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`
		script     = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"aws___run_script","arguments":{"code":"1 + 1"}}}`
	)
	owner := issue("central-ops-test")
	status, header, body := mcpCall(t, p, owner, "aws-mcp", "", initialize)
	session := header.Get("Mcp-Session-Id")
	if status != http.StatusOK || session == "" {
		t.Fatalf("initialize: %d %s", status, body)
	}
	if status, _, body := mcpCall(t, p, owner, "aws-mcp", session, script); status != http.StatusOK || !strings.Contains(body, `\"return_value\":2`) {
		t.Errorf("the owner's call: %d %s, want the script's value", status, body)
	}
	if status, _, body := mcpCall(t, p, issue("central-ops-test"), "aws-mcp", session, script); status != http.StatusOK || !strings.Contains(body, `\"return_value\":2`) {
		t.Errorf("fresh keys under the same session name: %d %s, want the script's value", status, body)
	}
	if _, _, body := mcpCall(t, p, issue("central-ops-other"), "aws-mcp", session, script); !strings.Contains(body, "-30001") {
		t.Errorf("another session name: %s, want -30001", body)
	}
	spoiled := owner
	spoiled.SecretAccessKey = "another secret"
	if status, _, body := mcpCall(t, p, spoiled, "aws-mcp", session, script); status != http.StatusForbidden && status != http.StatusUnauthorized {
		t.Errorf("wrong secret: %d %s, want 401 or 403", status, body)
	}
	if status, _, body := mcpCall(t, p, owner, "execute-api", session, script); status != http.StatusForbidden && status != http.StatusUnauthorized {
		t.Errorf("signed for another service: %d %s, want 401 or 403", status, body)
	}
}

// The agent's call of the model is signed too; keys with another secret are refused there.
func TestBedrockRefusesWrongSignature(t *testing.T) {
	t.Parallel()
	o := options()
	o.AgentKeys = func(c issued.Credential) issued.Credential { c.SecretAccessKey = "another secret"; return c }
	p := startOwn(t, o)
	answer := ask(t, p, "alice", "List EC2 instances in account 222222222222")
	if answer.Error == nil || answer.Error.Hint == "" || answer.Response != "" {
		t.Fatalf("the agent answered %+v, want an error with a hint", answer)
	}
	if stats := p.Bedrock.Stats(); stats.Refused == 0 || stats.Requests != stats.Refused {
		t.Errorf("the model was asked %d times and refused %d", stats.Requests, stats.Refused)
	}
}
