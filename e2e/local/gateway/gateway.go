// Package gateway is the local platform's AgentCore Gateway: MCP in front, Lambda targets behind.
//
//	POST /mcp   Authorization: Bearer <JWT>, MCP-Protocol-Version: <one of supportedVersions>
//	            body: one JSON-RPC message, at most 6 MB; answered by one JSON body
//	401  WWW-Authenticate: Bearer resource_metadata="...": no token, or one that does not pass
//	403  WWW-Authenticate: Bearer error="insufficient_scope": none of allowedScopes
//	GET  /.well-known/oauth-protected-resource
//
// A request goes through the authorizer, the REQUEST interceptor (a Lambda function, which may change headers and body
// or answer itself), and for tools/call to the Lambda function of the target. Both calls are signed with the gateway's
// service role. The function gets the bare arguments as its event; the rest is in the client context:
//
//	{"custom":{"bedrockAgentCoreToolName":"<target>___<tool>","bedrockAgentCorePropagatedHeaders":{...},...}}
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-add-target-lambda.html
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-interceptors.html
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-headers.html
package gateway

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/lambdafront"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

// MaxPayloadBytes bounds a request. The answer of a function is bounded by Lambda.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html
const MaxPayloadBytes = 6 << 20

// Assumptions are the rows of this package.
var Assumptions = []assumed.Row{
	{
		ID:     "gateway-client-headers-reach-lambda",
		Where:  "gateway, Config.OnlyInterceptorHeaders",
		Assume: "an allow-listed header of the client reaches the Lambda target without an interceptor that echoes it",
		Source: "documented; one public project observed that an interceptor had to echo it",
		Check:  "call a target that returns its client context, with and without an interceptor",
	},
	{
		ID:     "gateway-interceptor-every-request",
		Where:  "gateway",
		Assume: "the REQUEST interceptor runs for each JSON-RPC request, tools/list and initialize included, after the authorizer",
		Source: "inferred from the documented examples",
		Check:  "log the method in the interceptor",
	},
	{
		ID:     "gateway-interceptor-authorization",
		Where:  "gateway",
		Assume: "an Authorization that the interceptor returns is passed on to the target; one that it leaves out is not missed",
		Source: "that it may be returned is documented, and was seen in a Lambda's client context; public interceptors that return the body alone work",
		Check:  "call a target that returns its client context, with an interceptor that returns Authorization and with one that does not",
	},
	{
		ID:     "gateway-interceptor-fails",
		Where:  "gateway",
		Assume: "an interceptor that fails makes the request fail with HTTP 500 and JSON-RPC code -32603; the target is not called",
		Source: "inferred: that it is closed, not open, must be confirmed",
		Check:  "return an error from the interceptor",
	},
	{
		ID:     "gateway-string-result",
		Where:  "gateway, Config.BareStrings",
		Assume: "a string that the function returns arrives in JSON quotes",
		Source: "observed by several clients; one documentation sample shows it bare",
		Check:  "return a string from a target",
	},
	{
		ID:     "gateway-result-shape",
		Where:  "gateway, Config.HonourResults",
		Assume: `a function's {"content":[...],"isError":...} is text like any other value`,
		Source: "unknown; asked in github.com/aws/agent-toolkit-for-aws issue 60",
		Check:  "return such a value from a target",
	},
	{
		ID:     "gateway-wrong-client-401",
		Where:  "gateway",
		Assume: "a token of another client, audience or claim is refused with 401 invalid_token, like an expired one",
		Source: "documented only as \"JWT failures\"",
		Check:  "call with a token of another app client",
	},
	{
		ID:     "gateway-version-fallback",
		Where:  "gateway",
		Assume: "initialize with an unsupported version is answered with the newest supported one; a request that names an unsupported version in its header gets 400",
		Source: "MCP specification; AWS documents only that unsupported versions are not accepted",
		Check:  "send both",
	},
	{
		ID:     "gateway-bad-header-value",
		Where:  "gateway",
		Assume: "a header value that is not printable ASCII or over 4 KB does not travel on; the request is served",
		Source: "the limit is documented, what happens beyond it is not",
		Check:  "send a header of 5 KB that the target allows",
	},
	{
		ID:     "gateway-page-size",
		Where:  "gateway, Config.PageSize",
		Assume: "tools/list pages hold 30 tools",
		Source: "unknown; that there are pages is documented",
		Check:  "list the tools of a gateway with 100",
	},
}

// Config says what the gateway is and which variant of unsettled behaviour it shows.
type Config struct {
	Region  string
	Record  Record
	Targets []Target

	// Role returns the current credentials of the service role, which must be allowed to invoke the functions.
	Role func() (issued.Credential, error)
	// LambdaURL is where the functions are invoked.
	LambdaURL string
	// Identity fetches discovery documents and keys; nil means http.DefaultClient.
	Identity *http.Client
	// Now is the clock that tokens and sessions are checked against; nil means time.Now.
	Now func() time.Time

	PageSize int           // of tools/list; 0 means 30
	Timeout  time.Duration // of a target's or an interceptor's call; 0 means 15 min, the service's default

	OnlyInterceptorHeaders bool // headers of the client do not travel on; those that the interceptor returns do
	LowerCaseHeaders       bool // names of headers are shown in lower case to interceptor and target, as HTTP/2 has them
	BareStrings            bool // a function's string becomes text without quotes
	HonourResults          bool // a function's MCP result is passed on as it is
}

// Server is the running gateway. All methods may be called concurrently.
type Server struct {
	*loopback.Server

	config     Config
	lambda     lambdafront.Client
	authorizer *oidc.Authorizer
	tools      []listedTool // ordered by target, then as the target lists them

	mu       sync.Mutex
	faults   []*Fault
	sessions map[string]session
}

// listedTool is a tool under its qualified name.
type listedTool struct {
	target Target
	shown  toolEntry
}

// toolEntry is an element of a tools/list answer.
type toolEntry struct {
	Name         string  `json:"name"`
	Description  string  `json:"description"`
	InputSchema  Schema  `json:"inputSchema"`
	OutputSchema *Schema `json:"outputSchema,omitempty"`
}

// session is one MCP session, bound to the subject that initialized it.
type session struct {
	subject string
	expires time.Time
}

// Start validates the records as the control plane would and serves on a free port.
func Start(config Config) (*Server, error) {
	config.PageSize = cmp.Or(config.PageSize, 30)
	config.Timeout = cmp.Or(config.Timeout, 15*time.Minute)
	config.Identity = cmp.Or(config.Identity, http.DefaultClient)
	if config.Now == nil {
		config.Now = time.Now
	}
	if err := config.Record.validate(); err != nil {
		return nil, fmt.Errorf("gateway %s: %w", config.Record.Name, err)
	}
	authorizer, err := oidc.NewAuthorizer(*config.Record.AuthorizerConfiguration.CustomJWT, config.Identity, config.Now)
	if err != nil {
		return nil, fmt.Errorf("gateway %s: authorizer: %w", config.Record.Name, err)
	}
	s := &Server{
		config:     config,
		lambda:     lambdafront.Client{URL: config.LambdaURL, Region: config.Region, HTTP: &http.Client{}},
		authorizer: authorizer,
		sessions:   make(map[string]session),
	}
	for _, target := range config.Targets {
		tools, err := target.Validate()
		if err != nil {
			authorizer.Close()
			return nil, err
		}
		for _, tool := range tools {
			s.tools = append(s.tools, listedTool{target, toolEntry{
				Name: target.Name + separator + tool.Name, Description: tool.Description,
				InputSchema: tool.InputSchema, OutputSchema: tool.OutputSchema,
			}})
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mcp", s.post)
	mux.HandleFunc("DELETE /mcp", s.endSession)
	mux.HandleFunc("GET /.well-known/oauth-protected-resource", s.metadata)
	server, err := loopback.Serve(s.withFaults(mux))
	if err != nil {
		authorizer.Close()
		return nil, err
	}
	s.Server = server
	return s, nil
}

// Close ends the gateway.
func (s *Server) Close() error {
	s.authorizer.Close()
	return s.Server.Close()
}

// MCPURL is the endpoint that clients POST to.
func (s *Server) MCPURL() string { return s.URL + "/mcp" }

// JSON-RPC error codes. https://www.jsonrpc.org/specification
const (
	parseError     = -32700
	invalidRequest = -32600
	methodNotFound = -32601
	invalidParams  = -32602
	internalError  = -32603
	unauthorized   = -32001 // of the gateway
	noSuchSession  = -32004 // of the gateway
)

// message is a JSON-RPC request or notification.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"` // a string or number; absent in a notification
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// rpcError goes out as a JSON-RPC error with an HTTP status.
type rpcError struct {
	status  int
	code    int
	message string
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	token, ok := s.authorize(w, r)
	if !ok {
		return
	}
	if version := r.Header.Get("Mcp-Protocol-Version"); version != "" && !slices.Contains(s.config.Record.ProtocolConfiguration.MCP.SupportedVersions, version) {
		writeError(w, nil, rpcError{http.StatusBadRequest, invalidRequest, "Unsupported MCP protocol version: " + version})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPayloadBytes))
	if err != nil {
		writeError(w, nil, rpcError{http.StatusRequestEntityTooLarge, invalidRequest, fmt.Sprintf("The request is larger than %d bytes", MaxPayloadBytes)})
		return
	}
	msg, fault := parse(body)
	if fault == nil {
		fault = s.checkSession(r, msg, token.Subject)
	}
	if fault != nil {
		writeError(w, msg.ID, *fault)
		return
	}
	headers, answered := s.merge(r.Header, nil), false
	if len(s.config.Record.Interceptors) > 0 && msg.ID != nil {
		if msg, headers, answered = s.intercept(w, r, body, msg); answered {
			return
		}
	}
	if msg.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result, fault := s.dispatch(w, r, msg, headers, token.Subject)
	if fault != nil {
		writeError(w, msg.ID, *fault)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": msg.ID, "result": result})
}

func parse(body []byte) (message, *rpcError) {
	var msg message
	if err := json.Unmarshal(body, &msg); err != nil {
		return message{}, &rpcError{http.StatusBadRequest, parseError, "Parse error: the body is not one JSON-RPC message"}
	}
	if msg.Version != "2.0" || msg.Method == "" {
		return msg, &rpcError{http.StatusBadRequest, invalidRequest, "Invalid request: jsonrpc must be 2.0 and method must be set"}
	}
	return msg, nil
}

func (s *Server) authorize(w http.ResponseWriter, r *http.Request) (oidc.Token, bool) {
	raw, err := oidc.Bearer(r.Header)
	var token oidc.Token
	if err == nil {
		token, err = s.authorizer.Check(r.Context(), raw)
	}
	if err == nil {
		return token, true
	}
	var refused *oidc.Error
	if !errors.As(err, &refused) || refused.Reason == oidc.Unavailable {
		writeError(w, nil, rpcError{http.StatusInternalServerError, internalError, "An internal error occurred. Please retry later."})
		return oidc.Token{}, false
	}
	challenge := fmt.Sprintf(`Bearer resource_metadata="%s/.well-known/oauth-protected-resource"`, s.URL)
	if scopes := s.config.Record.AuthorizerConfiguration.CustomJWT.AllowedScopes; len(scopes) > 0 {
		challenge += fmt.Sprintf(`, scope="%s"`, strings.Join(scopes, " "))
	}
	fault := rpcError{http.StatusUnauthorized, unauthorized, "Invalid Bearer token"}
	switch refused.Reason {
	case oidc.Missing:
		fault.message = "Missing Bearer token"
	case oidc.InsufficientScope:
		fault.status, fault.message = http.StatusForbidden, "Insufficient scope"
		challenge += `, error="insufficient_scope"`
	default:
		challenge += `, error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	writeError(w, nil, fault)
	return oidc.Token{}, false
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	rules := s.config.Record.AuthorizerConfiguration.CustomJWT
	writeJSON(w, http.StatusOK, map[string]any{
		"resource":                 s.MCPURL(),
		"authorization_servers":    []string{rules.DiscoveryURL},
		"bearer_methods_supported": []string{"header"},
		"scopes_supported":         append([]string{}, rules.AllowedScopes...),
	})
}

// dispatch answers a request that has come through authorizer and interceptor.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, msg message, headers http.Header, subject string) (any, *rpcError) {
	switch msg.Method {
	case "initialize":
		return s.initialize(w, msg, subject)
	case "ping":
		return struct{}{}, nil
	case "tools/list":
		return s.list(msg)
	case "tools/call":
		return s.call(r, msg, headers)
	case "prompts/list":
		return map[string]any{"prompts": []any{}}, nil
	case "resources/list":
		return map[string]any{"resources": []any{}}, nil
	case "resources/templates/list":
		return map[string]any{"resourceTemplates": []any{}}, nil
	}
	return nil, &rpcError{http.StatusOK, methodNotFound, "Method not found: " + msg.Method}
}

func (s *Server) initialize(w http.ResponseWriter, msg message, subject string) (any, *rpcError) {
	var params struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if err := json.Unmarshal(msg.Params, &params); err != nil || params.ProtocolVersion == "" {
		return nil, &rpcError{http.StatusOK, invalidParams, "initialize: protocolVersion is required"}
	}
	mcp := s.config.Record.ProtocolConfiguration.MCP
	version := params.ProtocolVersion
	if !slices.Contains(mcp.SupportedVersions, version) {
		version = slices.Max(mcp.SupportedVersions)
	}
	if mcp.Session != nil {
		w.Header().Set("Mcp-Session-Id", s.openSession(subject, time.Duration(cmp.Or(mcp.Session.TimeoutInSeconds, 3600))*time.Second))
	}
	result := map[string]any{
		"protocolVersion": version,
		"capabilities":    map[string]any{"tools": map[string]any{"listChanged": false}},
		"serverInfo":      map[string]any{"name": s.config.Record.Name, "version": "1.0.0"},
	}
	if mcp.Instructions != "" {
		result["instructions"] = mcp.Instructions
	}
	return result, nil
}

func (s *Server) list(msg message) (any, *rpcError) {
	var params struct {
		Cursor string `json:"cursor"`
	}
	if len(msg.Params) > 0 {
		if err := json.Unmarshal(msg.Params, &params); err != nil {
			return nil, &rpcError{http.StatusOK, invalidParams, "tools/list: " + err.Error()}
		}
	}
	from := 0
	if params.Cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(params.Cursor)
		if err == nil {
			from, err = strconv.Atoi(string(raw))
		}
		if err != nil || from < 0 || from >= len(s.tools) {
			return nil, &rpcError{http.StatusOK, invalidParams, "tools/list: invalid cursor"}
		}
	}
	to := min(from+s.config.PageSize, len(s.tools))
	page := make([]toolEntry, 0, to-from)
	for _, tool := range s.tools[from:to] {
		page = append(page, tool.shown)
	}
	result := map[string]any{"tools": page}
	if to < len(s.tools) {
		result["nextCursor"] = base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	}
	return result, nil
}

func writeError(w http.ResponseWriter, id json.RawMessage, e rpcError) {
	writeJSON(w, e.status, map[string]any{
		"jsonrpc": "2.0",
		"id":      id, // null when the request could not be read
		"error":   map[string]any{"code": e.code, "message": e.message},
	})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
