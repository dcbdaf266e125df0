// Package e2e drives a Central Ops environment from the outside, as a person's client would: Cognito to sign in, the
// Runtime to ask, the Gateway to call a tool. It knows addresses and wire formats, never the project's packages, so
// the same stories run against the local platform and against a stack in AWS.
package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Stack is what one needs to know to use an environment. The local platform writes it to build/local/profile.json;
// for a deployed stack it is made from the stack's outputs.
type Stack struct {
	Name            string `json:"name"`                       // "local", or the Pulumi stack's name
	Region          string `json:"region"`                     // Region of the pool, the Runtime and the Gateway
	UserPoolID      string `json:"user_pool_id"`               // Cognito user pool
	ClientID        string `json:"client_id"`                  // app client that people sign in with
	CognitoEndpoint string `json:"cognito_endpoint,omitempty"` // "" means the Region's own
	HostedUI        string `json:"hosted_ui"`                  // the pool's domain: pages to sign in at
	RuntimeURL      string `json:"runtime_url"`                // AgentCore data plane, without a path
	RuntimeARN      string `json:"runtime_arn"`                // the agent
	Qualifier       string `json:"qualifier,omitempty"`        // endpoint of the agent; "" means DEFAULT
	GatewayURL      string `json:"gateway_url"`                // MCP endpoint of the Gateway, ends in /mcp
	GatewayAuth     string `json:"gateway_auth"`               // user or workload: whose tokens the Gateway takes
	DiscoveryURL    string `json:"discovery_url"`              // OpenID discovery document of the pool
	MCPEndpoint     string `json:"mcp_endpoint,omitempty"`     // AWS MCP Server; "" means the Region's own
	TargetRole      string `json:"-"`                          // name of the role in every account; "" means CentralOpsTargetRole. No client needs it
}

// Tokens is what Cognito answers to a sign-in. Nothing here may be logged.
type Tokens struct {
	Access  string `json:"AccessToken"`
	ID      string `json:"IdToken"`
	Refresh string `json:"RefreshToken"`
}

// SignIn signs a person in by Cognito's InitiateAuth with USER_PASSWORD_AUTH.
func (s Stack) SignIn(ctx context.Context, user, password string) (Tokens, error) {
	endpoint := s.CognitoEndpoint
	if endpoint == "" {
		endpoint = "https://cognito-idp." + s.Region + ".amazonaws.com/"
	}
	body, err := json.Marshal(map[string]any{
		"AuthFlow":       "USER_PASSWORD_AUTH",
		"ClientId":       s.ClientID,
		"AuthParameters": map[string]string{"USERNAME": user, "PASSWORD": password},
	})
	if err != nil {
		return Tokens{}, err
	}
	header := http.Header{
		"Content-Type": {"application/x-amz-json-1.1"},
		"X-Amz-Target": {"AWSCognitoIdentityProviderService.InitiateAuth"},
	}
	reply, err := post(ctx, endpoint, header, body)
	if err != nil {
		return Tokens{}, fmt.Errorf("sign in as %s: %w", user, err)
	}
	if reply.Status != http.StatusOK {
		return Tokens{}, fmt.Errorf("sign in as %s: %d: %s", user, reply.Status, reply.Body)
	}
	var answer struct {
		ChallengeName        string
		AuthenticationResult Tokens
	}
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		return Tokens{}, fmt.Errorf("sign in as %s: %w", user, err)
	}
	if answer.AuthenticationResult.Access == "" {
		return Tokens{}, fmt.Errorf("sign in as %s: Cognito asks for challenge %q, which this client does not answer", user, answer.ChallengeName)
	}
	return answer.AuthenticationResult, nil
}

// Coverage counts the targets (account and Region) of an answer; targets = answered + denied + failed + skipped.
type Coverage struct {
	Targets  int `json:"targets"`
	Answered int `json:"answered"`
	Denied   int `json:"denied"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// Receipt says what was done at one target, and as whom.
type Receipt struct {
	Tool           string `json:"tool"`
	AccountID      string `json:"account_id"`
	AccountName    string `json:"account_name"`
	Region         string `json:"region"`
	Status         string `json:"status"`
	RoleARN        string `json:"role_arn"`
	SourceIdentity string `json:"source_identity"`
	Operation      string `json:"operation"`
	APICalls       int    `json:"api_calls"`
	DurationMS     int64  `json:"duration_ms"`
}

// Fault is an error as every part of the product answers it.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Usage counts tokens. What is read from the model's prompt cache or written to it is not in InputTokens.
type Usage struct {
	InputTokens      int `json:"input_tokens"`
	OutputTokens     int `json:"output_tokens"`
	CacheReadTokens  int `json:"cache_read_tokens"`
	CacheWriteTokens int `json:"cache_write_tokens"`
}

// Read is all that the model has read, cached or not.
func (u Usage) Read() int { return u.InputTokens + u.CacheReadTokens + u.CacheWriteTokens }

// Answer is the agent's JSON answer: either Response with its proof, or Error.
type Answer struct {
	Response  string    `json:"response"`
	Coverage  *Coverage `json:"coverage"`
	Receipts  []Receipt `json:"receipts"`
	Turns     int       `json:"turns"`
	ToolCalls int       `json:"tool_calls"`
	SessionID string    `json:"session_id"`
	Usage     Usage     `json:"usage"`
	Error     *Fault    `json:"error"`
}

// Reply is an HTTP answer, whole.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// InvocationsURL is where the Runtime takes prompts: the ARN is escaped whole, its colons and slashes too.
func (s Stack) InvocationsURL() string {
	arn := strings.ReplaceAll(url.PathEscape(s.RuntimeARN), ":", "%3A")
	return strings.TrimSuffix(s.RuntimeURL, "/") + "/runtimes/" + arn + "/invocations?qualifier=" + cmp.Or(s.Qualifier, "DEFAULT")
}

// Invoke posts body to the Runtime as it is. An empty token sends no Authorization header, an empty session none for it.
func (s Stack) Invoke(ctx context.Context, token, session string, body []byte) (Reply, error) {
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	if session != "" {
		header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", session)
	}
	return post(ctx, s.InvocationsURL(), header, body)
}

// Ask asks one question and decodes the answer. An answer that carries an error is an Answer, not a Go error.
func (s Stack) Ask(ctx context.Context, token, session, prompt string) (Answer, error) {
	body, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		return Answer{}, err
	}
	reply, err := s.Invoke(ctx, token, session, body)
	if err != nil {
		return Answer{}, fmt.Errorf("ask the Runtime: %w", err)
	}
	if reply.Status != http.StatusOK {
		return Answer{}, fmt.Errorf("ask the Runtime: %d %s: %s", reply.Status, reply.Header.Get("X-Amzn-Errortype"), reply.Body)
	}
	var answer Answer
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		return Answer{}, fmt.Errorf("ask the Runtime: %w: %s", err, reply.Body)
	}
	return answer, nil
}

// Stop ends a session by StopRuntimeSession. One that is not there is no error.
func (s Stack) Stop(ctx context.Context, token, session string) error {
	address := strings.Replace(s.InvocationsURL(), "/invocations?", "/stopruntimesession?", 1)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return fmt.Errorf("stop session: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", session)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("stop session: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound {
		return fmt.Errorf("stop session: %s", response.Status)
	}
	return nil
}

// Event is one frame of a streamed answer. Those of type done and error end the stream.
type Event struct {
	Type  string `json:"type"` // text, tool_call, tool_result, done or error
	Text  string `json:"text"` // of text
	ID    string `json:"id"`   // of tool_call and tool_result
	Name  string `json:"name"` // of tool_call
	OK    bool   `json:"ok"`   // of tool_result
	Fault        // of error

	Coverage *Coverage `json:"coverage"` // of tool_result and done
	Receipts []Receipt `json:"receipts"` // of done, like those that follow
	Turns    int       `json:"turns"`
	Usage    Usage     `json:"usage"`
}

// Stream asks one question and returns the events of the answer.
func (s Stack) Stream(ctx context.Context, token, session, prompt string) ([]Event, error) {
	body, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.InvocationsURL(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"text/event-stream"}, "Authorization": {"Bearer " + token},
		"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {session},
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the Runtime: %w", err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		return nil, fmt.Errorf("ask the Runtime: %s, %s, want a stream", response.Status, kind)
	}
	var events []Event
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		var event Event
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return events, fmt.Errorf("ask the Runtime: frame %q: %w", data, err)
		}
		events = append(events, event)
	}
	return events, lines.Err()
}

// CallTool calls one tool at the Gateway without a session and returns the HTTP answer. tool carries its target's
// prefix; header is sent besides what MCP asks for.
func (s Stack) CallTool(ctx context.Context, token string, header http.Header, tool string, arguments any) (Reply, error) {
	body, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "tools/call",
		"params": map[string]any{"name": tool, "arguments": arguments},
	})
	if err != nil {
		return Reply{}, err
	}
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json, text/event-stream")
	header.Set("MCP-Protocol-Version", "2025-06-18")
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return post(ctx, s.GatewayURL, header, body)
}

func post(ctx context.Context, address string, header http.Header, body []byte) (Reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Reply{}, err
	}
	request.Header = header
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Reply{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Status: response.StatusCode, Header: response.Header, Body: content}, nil
}
