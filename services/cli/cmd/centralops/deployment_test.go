package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// state guards the members of all deployments. Handlers hold it while they look at them; between two
// commands only the test does, see syncState.
var state sync.Mutex

// syncState orders what a test does with a deployment's members before and after a command against what
// the handlers did with them: the command is another process, which the race detector can't see through.
func syncState() {
	state.Lock()
	state.Unlock() //lint:ignore SA2001 the point is to wait for who holds it
}

// deployment stands in for a deployment: Cognito, the Runtime and the Gateway on one server. It
// refuses what they refuse. Each test changes the members it is about before it runs a command.
type deployment struct {
	t      *testing.T
	server *httptest.Server

	password  string               // of alice
	temporary bool                 // the password has to be changed
	mfa       string               // the code that the second factor wants; "" for none
	tokenLife time.Duration        // of access tokens
	tokens    map[string]time.Time // access tokens that were issued, and their end
	refresh   map[string]bool      // refresh tokens that are good
	issued    int

	invocations []invocation
	// answer writes the answer to an invocation; the default streams the frames of oneTable.
	answer http.HandlerFunc

	challenges  map[string]string // code_challenge and redirect_uri by code
	pageRefuses string            // the error of the sign-in page; "" shows it

	bridge      behindGateway
	initialized map[string]bool // by MCP session: the client said that it is
	called      int             // requests to the Gateway that carried a good token

	away string // where POST / sends whoever asks; "" for nowhere

	// What doctor finds broken.
	wrongIssuer string        // added to the issuer of the discovery document
	keyID       string        // of the only key
	clockOff    time.Duration // of the server, against this machine
	tokenClient string        // client_id of tokens
	groups      []string
	openDoors   bool     // Runtime and Gateway take requests without a token
	awsTools    []string // of the AWS MCP Server
	awsBusy     int      // requests that it refuses with 429 before it takes one
}

// invocation is what the Runtime was sent.
type invocation struct {
	Session string
	Prompt  string
}

const (
	testPool   = "us-east-1_TestPool1"
	testClient = "testclient1234567890abcdef"
	testARN    = "arn:aws:bedrock-agentcore:us-east-1:111111111111:runtime/central_ops-AbCdEfGhIj"
)

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{t: t, password: "correct horse", tokenLife: time.Hour,
		tokens: map[string]time.Time{}, refresh: map[string]bool{},
		challenges: map[string]string{}, initialized: map[string]bool{}, keyID: "key1", tokenClient: testClient, groups: []string{"ops", "auditors"}, awsTools: awsMCPNeeds}
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, oneTable...) }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", d.cognito)
	mux.HandleFunc("POST /runtimes/{arn}/invocations", d.invoke)
	mux.HandleFunc("GET /oauth2/authorize", d.authorize)
	mux.HandleFunc("POST /oauth2/token", d.tokenEndpoint)
	mux.HandleFunc("POST /mcp", d.mcp)
	mux.HandleFunc("POST /aws-mcp", d.awsMCP)
	mux.HandleFunc("GET /{pool}/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("pool") != testPool {
			http.NotFound(w, r)
			return
		}
		state.Lock()
		defer state.Unlock()
		issuer := d.server.URL + "/" + testPool
		writeJSON(w, map[string]string{"issuer": issuer + d.wrongIssuer, "jwks_uri": issuer + "/.well-known/jwks.json"})
	})
	mux.HandleFunc("GET /{pool}/.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		state.Lock()
		defer state.Unlock()
		w.Header().Set("Date", time.Now().Add(d.clockOff).UTC().Format(http.TimeFormat))
		writeJSON(w, map[string]any{"keys": []map[string]string{{"kid": d.keyID}}})
	})
	d.server = httptest.NewServer(mux)
	t.Cleanup(d.server.Close)
	return d
}

// profile writes the deployment's profile file and returns its path.
func (d *deployment) profile() string {
	d.t.Helper()
	raw, err := json.Marshal(map[string]string{
		"name": "local", "region": "us-east-1", "hosted_ui": d.server.URL, "user_pool_id": testPool, "client_id": testClient, "cognito_endpoint": d.server.URL,
		"runtime_url": d.server.URL, "runtime_arn": testARN, "gateway_url": d.server.URL + "/mcp", "mcp_endpoint": d.server.URL + "/aws-mcp",
		"discovery_url": d.server.URL + "/" + testPool + "/.well-known/openid-configuration",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	file := filepath.Join(d.t.TempDir(), "profile.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return file
}

// issue makes tokens for alice; state is held.
func (d *deployment) issue() map[string]any {
	d.issued++
	end := time.Now().Add(d.tokenLife)
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			d.t.Error(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	access := part(map[string]string{"alg": "RS256", "kid": "key1"}) + "." + part(map[string]any{
		"sub": "0a1b", "username": "alice", "cognito:groups": d.groups, "client_id": d.tokenClient,
		"iss": d.server.URL + "/" + testPool, "token_use": "access", "iat": time.Now().Unix(), "exp": end.Unix(), "jti": d.issued,
	}) + ".c2ln"
	d.tokens[access] = end
	return map[string]any{"AccessToken": access, "ExpiresIn": int(d.tokenLife.Seconds()), "TokenType": "Bearer"}
}

func (d *deployment) signedIn() map[string]any {
	result := d.issue()
	token := fmt.Sprintf("refresh-%d", d.issued)
	d.refresh[token] = true
	result["RefreshToken"] = token
	return map[string]any{"AuthenticationResult": result}
}

// expire makes all access tokens that were issued so far bad for the Runtime and the Gateway.
func (d *deployment) expire() {
	state.Lock()
	defer state.Unlock()
	clear(d.tokens)
}

// endSignIns makes all refresh tokens bad.
func (d *deployment) endSignIns() {
	state.Lock()
	defer state.Unlock()
	clear(d.refresh)
}

func (d *deployment) cognito(w http.ResponseWriter, r *http.Request) {
	state.Lock()
	defer state.Unlock()
	if d.away != "" {
		http.Redirect(w, r, d.away, http.StatusTemporaryRedirect)
		return
	}
	var in struct {
		AuthFlow, ClientId, ChallengeName, Session, Token string
		AuthParameters, ChallengeResponses                map[string]string
	}
	refuse := func(kind, message string) {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"__type": kind, "message": message})
	}
	if r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || r.Header.Get("Authorization") != "" {
		refuse("SerializationException", "")
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse("SerializationException", err.Error())
		return
	}
	if in.ClientId != testClient {
		refuse("ResourceNotFoundException", "User pool client "+in.ClientId+" does not exist.")
		return
	}
	next := func() {
		switch {
		case d.temporary:
			writeJSON(w, map[string]any{"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": "s1",
				"ChallengeParameters": map[string]string{"USER_ID_FOR_SRP": "alice", "requiredAttributes": "[]"}})
		case d.mfa != "":
			writeJSON(w, map[string]any{"ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": "s2", "ChallengeParameters": map[string]string{"USER_ID_FOR_SRP": "alice"}})
		default:
			writeJSON(w, d.signedIn())
		}
	}
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSCognitoIdentityProviderService.")
	switch {
	case operation == "InitiateAuth" && in.AuthFlow == "USER_PASSWORD_AUTH":
		if in.AuthParameters["USERNAME"] != "alice" || in.AuthParameters["PASSWORD"] != d.password {
			refuse("NotAuthorizedException", "Incorrect username or password.")
			return
		}
		next()
	case operation == "InitiateAuth" && in.AuthFlow == "REFRESH_TOKEN_AUTH":
		if !d.refresh[in.AuthParameters["REFRESH_TOKEN"]] {
			refuse("NotAuthorizedException", "Refresh Token has been revoked")
			return
		}
		writeJSON(w, map[string]any{"AuthenticationResult": d.issue()})
	case operation == "RespondToAuthChallenge" && in.ChallengeName == "NEW_PASSWORD_REQUIRED" && d.temporary && in.Session == "s1":
		if len(in.ChallengeResponses["NEW_PASSWORD"]) < 8 {
			refuse("InvalidPasswordException", "Password did not conform with policy: Password not long enough")
			return
		}
		d.password, d.temporary = in.ChallengeResponses["NEW_PASSWORD"], false
		next()
	case operation == "RespondToAuthChallenge" && in.ChallengeName == "SOFTWARE_TOKEN_MFA" && in.Session == "s2":
		if in.ChallengeResponses["SOFTWARE_TOKEN_MFA_CODE"] != d.mfa {
			refuse("CodeMismatchException", "Invalid code received for user")
			return
		}
		writeJSON(w, d.signedIn())
	case operation == "RevokeToken":
		delete(d.refresh, in.Token)
		writeJSON(w, map[string]any{})
	default:
		refuse("InvalidParameterException", "unexpected "+operation)
	}
}

// authorized reports whether r has a good access token, and answers 401 if not.
func (d *deployment) authorized(w http.ResponseWriter, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	state.Lock()
	end, known := d.tokens[token]
	openDoors := d.openDoors
	state.Unlock()
	if openDoors {
		return true
	}
	if ok && known && time.Now().Before(end) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+d.server.URL+`/.well-known/oauth-protected-resource"`)
	w.Header().Set("x-amzn-ErrorType", "UnauthorizedException:http://internal.amazon.com/coral/")
	w.WriteHeader(http.StatusUnauthorized)
	writeJSON(w, map[string]string{"message": "Token has expired"})
	return false
}

func (d *deployment) invoke(w http.ResponseWriter, r *http.Request) {
	if !d.authorized(w, r) {
		return
	}
	if want := "/runtimes/" + strings.ReplaceAll(url.PathEscape(testARN), ":", "%3A") + "/invocations"; r.URL.EscapedPath() != want || r.URL.Query().Get("qualifier") != "DEFAULT" {
		w.Header().Set("x-amzn-ErrorType", "ResourceNotFoundException")
		w.WriteHeader(http.StatusNotFound)
		writeJSON(w, map[string]string{"message": "No endpoint or agent found with qualifier 'DEFAULT' for agent " + r.PathValue("arn")})
		return
	}
	session := r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id")
	if len(session) < 33 || len(session) > 256 {
		w.Header().Set("x-amzn-ErrorType", "ValidationException")
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"message": "runtimeSessionId: length must be 33 to 256"})
		return
	}
	var in struct {
		Prompt    string         `json:"prompt"`
		Tool      string         `json:"tool"`
		Arguments map[string]any `json:"arguments"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusFailedDependency)
		return
	}
	if in.Tool != "" {
		d.direct(w, in.Tool, in.Arguments)
		return
	}
	if in.Prompt == "" {
		writeJSON(w, map[string]any{"error": map[string]string{"code": "invalid", "message": "prompt is empty"}})
		return
	}
	state.Lock()
	d.invocations = append(d.invocations, invocation{session, in.Prompt})
	answer := d.answer
	state.Unlock()
	answer(w, r)
}

// asked returns the invocations so far.
func (d *deployment) asked() []invocation {
	state.Lock()
	defer state.Unlock()
	return append([]invocation{}, d.invocations...)
}

// stream writes frames as the agent does.
func stream(w http.ResponseWriter, frames ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, frame := range frames {
		fmt.Fprintf(w, "data: %s\n\n", frame)
		w.(http.Flusher).Flush()
	}
}

// await returns when done is closed, or when the client is gone: a server that waits for a test that has failed never ends.
func await(done <-chan struct{}, r *http.Request) {
	select {
	case <-done:
	case <-r.Context().Done():
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Write(raw)
}

// oneTable is an answer with a table, from two of three targets.
var oneTable = []string{
	`{"type":"text","text":"I ask all accounts.\n\n"}`,
	`{"type":"tool_call","id":"t1","name":"bridge___query","input":{"accounts":["all"],"regions":["eu-west-1"],"service":"ec2","operation":"DescribeInstances"}}`,
	`{"type":"tool_result","id":"t1","ok":true,"coverage":{"targets":3,"answered":2,"denied":1,"failed":0,"skipped":0},"duration_ms":812}`,
	`{"type":"text","text":"**Two** instances run.\n\n| Account | Instance | Name |\n|---|---|---|\n| 222222222222 | i-0aa | web |\n"}`,
	`{"type":"text","text":"| 333333333333 | i-0bb | =HYPERLINK(1) |\n\nThat is all"}`,
	`{"type":"text","text":"."}`,
	`{"type":"done","coverage":{"targets":3,"answered":2,"denied":1,"failed":0,"skipped":0},"receipts":[` +
		`{"tool":"bridge___query","account_id":"222222222222","account_name":"Production","region":"eu-west-1","status":"ok","role_arn":"arn:aws:iam::222222222222:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":300},` +
		`{"tool":"bridge___query","account_id":"333333333333","account_name":"Staging","region":"eu-west-1","status":"ok","role_arn":"arn:aws:iam::333333333333:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":310},` +
		`{"tool":"bridge___query","account_id":"111111111111","account_name":"Central","region":"eu-west-1","status":"denied","operation":"ec2:DescribeInstances","error":{"code":"forbidden","message":"no policy permits it"}}` +
		`],"usage":{"input_tokens":10,"output_tokens":5},"turns":2,"tool_calls":1,"session_id":"centralops-00000000000000000000000000000000"}`,
}

// complete is a short answer from every target.
var complete = []string{
	`{"type":"text","text":"Yes."}`,
	`{"type":"done","coverage":{"targets":1,"answered":1,"denied":0,"failed":0,"skipped":0},"receipts":[],"usage":{},"turns":1,"tool_calls":1,"session_id":"centralops-00000000000000000000000000000000"}`,
}

// expires is an answer in which the token expires before the second tool call.
var expires = []string{
	oneTable[0], oneTable[1], oneTable[2],
	`{"type":"tool_call","id":"t2","name":"bridge___query","input":{}}`, `{"type":"tool_result","id":"t2","ok":false,"duration_ms":5}`,
	`{"type":"error","code":"unauthenticated","message":"your token has expired: the Gateway did not accept it (401)","hint":"sign in again, then ask again",` +
		`"coverage":{"targets":1,"answered":1},"receipts":[{"account_id":"222222222222","region":"eu-west-1","status":"ok"}],"session_id":"s"}`,
}

// authorize shows the sign-in page, or where the pool sends a browser that it refuses.
func (d *deployment) authorize(w http.ResponseWriter, r *http.Request) {
	state.Lock()
	defer state.Unlock()
	to := "/login?" + r.URL.RawQuery
	if d.pageRefuses != "" {
		to = "/error?error=" + d.pageRefuses + "&client_id=" + testClient
	}
	http.Redirect(w, r, to, http.StatusFound)
}

// visit is what a browser does with the address of the pool's sign-in page: it signs in and comes back
// with a code. It returns what the page says in the end.
func (d *deployment) visit(address string) string {
	d.t.Helper()
	page, err := url.Parse(address)
	if err != nil {
		d.t.Fatal(err)
	}
	query := page.Query()
	if page.Path != "/oauth2/authorize" || query.Get("response_type") != "code" || query.Get("client_id") != testClient || query.Get("code_challenge_method") != "S256" {
		d.t.Errorf("the pool would refuse %s", address)
	}
	state.Lock()
	d.challenges["code1"] = query.Get("code_challenge") + " " + query.Get("redirect_uri")
	state.Unlock()
	get := func(values url.Values) (int, string) {
		resp, err := http.Get(query.Get("redirect_uri") + "?" + values.Encode())
		if err != nil {
			d.t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			d.t.Fatal(err)
		}
		return resp.StatusCode, string(raw)
	}
	if status, _ := get(url.Values{"code": {"stolen"}, "state": {"guessed"}}); status != http.StatusNotFound {
		d.t.Errorf("a return with another state was answered with %d", status)
	}
	_, text := get(url.Values{"code": {"code1"}, "state": {query.Get("state")}})
	return text
}

// tokenEndpoint trades a code for tokens, once, to whoever knows what the challenge is a hash of.
func (d *deployment) tokenEndpoint(w http.ResponseWriter, r *http.Request) {
	state.Lock()
	defer state.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	got := base64.RawURLEncoding.EncodeToString(sum[:]) + " " + r.FormValue("redirect_uri")
	if want, ok := d.challenges[r.FormValue("code")]; !ok || got != want || r.FormValue("grant_type") != "authorization_code" || r.FormValue("client_id") != testClient {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_grant"})
		return
	}
	delete(d.challenges, r.FormValue("code"))
	tokens := d.signedIn()["AuthenticationResult"].(map[string]any)
	writeJSON(w, map[string]any{"access_token": tokens["AccessToken"], "refresh_token": tokens["RefreshToken"], "expires_in": tokens["ExpiresIn"]})
}
