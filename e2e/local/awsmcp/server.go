// Package awsmcp stands in for the managed AWS MCP Server.
//
// It speaks MCP over Streamable HTTP on /mcp: JSON-RPC 2.0, one message per POST, plain JSON answers, no GET stream.
//
//	POST initialize                  200, header Mcp-Session-Id; may be unsigned
//	POST notifications/...           202, empty
//	POST tools/list, knowledge tools 200; may be unsigned
//	POST any other aws___ tool       SigV4 for the service aws-mcp, else 401 with WWW-Authenticate
//	DELETE                           200, ends the session
//	GET, OPTIONS, ...                405, Allow: POST, DELETE
//
// A session belongs to the caller that opened it: role id and role session name. Another caller, and a session that
// ended, get JSON-RPC error -30001. A script runs with the caller's rights: each AWS call in it is decided by the
// caller's role policies and session policy with aws:ViaAWSMCPService and aws:CalledViaAWSMCP set.
//
// What is published about the service is at https://docs.aws.amazon.com/agent-toolkit/latest/userguide/; what is
// not, but had to be chosen, stands in Assumptions.
package awsmcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
	"github.com/central-ops/central-ops/e2e/local/trail"
	"golang.org/x/time/rate"
)

// The service's name in signatures, its path and its identity towards the services that it calls.
const (
	signingName   = "aws-mcp"
	path          = "/mcp"
	principal     = "aws-mcp.amazonaws.com"
	sessionHeader = "Mcp-Session-Id"
)

// Quotas per account and Region. https://docs.aws.amazon.com/agent-toolkit/latest/userguide/aws-mcp-limits.html
const (
	requestsPerSecond         = 10
	unsignedRequestsPerSecond = 5
	sessionsPerAccount        = 180
	sessionsPerPrincipal      = 90
	maxBody                   = 4 << 20
)

// JSON-RPC error codes.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeMethodNotFound = -32601
	codeInvalidParams  = -32602
	codeThrottled      = -32004
	codeSessionLost    = -30001
)

// Roles finds a role by its ARN. It returns iampolicy.ErrNoRole for one that does not exist.
type Roles interface {
	Role(ctx context.Context, arn string) (iampolicy.Role, error)
}

// Config says how the server behaves. Store, Roles and one of Python and Answer are required.
type Config struct {
	Store *issued.Store
	Roles Roles

	// Python runs scripts over boto3 against Endpoint.
	Python   string // interpreter that has the packages of requirements.txt
	Endpoint string // moto's URL
	Workers  int    // Python processes, each of which runs one script at a time; 0 means 2

	// Answer replaces Python by a function, for load tests. Only the bridge's own script is understood then: its
	// JSON is read and Answer asked for each Region. The rights of the caller are checked all the same.
	Answer Answer

	Region string           // the endpoint's Region, in which requests must be signed; "" means us-east-1
	Now    func() time.Time // nil means time.Now
	Sink   trail.Sink       // gets the calls and what they led to; nil drops them

	// DocumentedTrail writes records as the user guide describes them, rather than as they were observed.
	DocumentedTrail bool

	ColdStart     time.Duration // added to the first run_script of each session: about 9 s in AWS
	Latency       time.Duration // added to every run_script: about 1.3 s in AWS
	ScriptTimeout time.Duration // of one script; 0 means 60 s
	TaskAfter     time.Duration // a longer script becomes a task; 0 means never
	SessionIdle   time.Duration // 0 means 8 h

	Unlimited       bool // no request quota
	SessionLost404  bool // a lost session is an empty 404 rather than -30001 in a 200
	SessionsAccount int  // 0 means 180, and half of it for each principal
}

// Server is the AWS MCP Server. It is safe for concurrent use.
type Server struct {
	config Config
	now    func() time.Time
	runner runner

	background context.Context // of scripts that became tasks; ends at Close
	stop       context.CancelFunc
	tasksDone  sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]*session
	buckets  map[string]*rate.Limiter
	tasks    map[string]*task
	faults   []*Fault
}

// session is an MCP session.
type session struct {
	id      string
	owner   string // PrincipalID of the caller; "" when initialize was not signed
	account string
	version string // negotiated protocol version
	used    time.Time
	warm    bool // a script has run in it
}

// New returns a server for c. Close ends its Python processes.
func New(c Config) (*Server, error) {
	if c.Store == nil || c.Roles == nil {
		return nil, errors.New("start AWS MCP Server: invalid: Store and Roles are required")
	}
	if (c.Python == "") == (c.Answer == nil) {
		return nil, errors.New("start AWS MCP Server: invalid: want one of Python and Answer")
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Sink == nil {
		c.Sink = func(trail.Record) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ScriptTimeout == 0 {
		c.ScriptTimeout = time.Minute
	}
	if c.SessionIdle == 0 {
		c.SessionIdle = 8 * time.Hour
	}
	if c.SessionsAccount == 0 {
		c.SessionsAccount = sessionsPerAccount
	}
	s := &Server{
		config: c, now: c.Now,
		sessions: map[string]*session{}, buckets: map[string]*rate.Limiter{}, tasks: map[string]*task{},
	}
	s.background, s.stop = context.WithCancel(context.Background())
	if c.Answer != nil {
		s.runner = scripted{answer: c.Answer}
	} else {
		s.runner = newPool(c.Python, c.Endpoint, c.Workers)
	}
	return s, nil
}

// Close ends scripts that became tasks and all Python processes.
func (s *Server) Close() {
	s.stop()
	s.tasksDone.Wait()
	s.runner.close()
}

// Sessions tells how many sessions an account has open; "" means all accounts.
func (s *Server) Sessions(account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, each := range s.sessions {
		if account == "" || each.account == account {
			n++
		}
	}
	return n
}

// EndSessions ends all sessions of an account, "" for all accounts, as the service does after a while.
func (s *Server) EndSessions(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, each := range s.sessions {
		if account == "" || each.account == account {
			delete(s.sessions, id)
		}
	}
}

// message is a JSON-RPC request or notification.
type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// reply is a JSON-RPC answer.
type reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// call is one request on its way through the server.
type call struct {
	message
	caller  issued.Credential
	signed  bool
	session *session // nil when the request names none
	tool    string   // of tools/call
	params  callParams
	started time.Time
}

type callParams struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	Meta      struct {
		AWSRegion string `json:"AWS_REGION"`
	} `json:"_meta"`
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != path {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		w.Header().Set("Allow", "POST, DELETE")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return // the client is gone
	}
	if len(body) > maxBody {
		http.Error(w, "Request Entity Too Large", http.StatusRequestEntityTooLarge)
		return
	}
	c := &call{started: s.now()}
	if r.Header.Get("Authorization") != "" {
		if c.caller, err = sigv4.Verify(r, body, signingName, s.config.Region, s.config.Store, s.now()); err != nil {
			writeRefusal(w, err)
			return
		}
		c.signed = true
	}
	if r.Method == http.MethodDelete {
		s.delete(w, r, c)
		return
	}
	if err := decodeMessage(body, c); err != nil {
		writeJSON(w, http.StatusBadRequest, reply{JSONRPC: "2.0", ID: json.RawMessage("null"), Error: err})
		return
	}
	fault, faulty := s.fault(c)
	if faulty && fault.instead(w, r) {
		return
	}
	if !s.admit(c, r) {
		writeThrottled(w, c.ID)
		return
	}
	if faulty && fault.LoseSession {
		s.EndSessions(c.caller.Account)
	}
	out := &output{fault: fault, w: w}
	s.post(out, r, c)
}

// decodeMessage reads exactly one JSON-RPC message; batches are not part of the protocol any more.
func decodeMessage(body []byte, c *call) *rpcError {
	if err := json.Unmarshal(body, &c.message); err != nil {
		var wrongShape *json.UnmarshalTypeError
		if errors.As(err, &wrongShape) {
			return &rpcError{codeInvalidRequest, "Invalid Request"}
		}
		return &rpcError{codeParse, "Parse error"}
	}
	if c.JSONRPC != "2.0" || c.Method == "" {
		return &rpcError{codeInvalidRequest, "Invalid Request"}
	}
	if c.Method == "tools/call" {
		if err := json.Unmarshal(c.message.Params, &c.params); err != nil || c.params.Name == "" {
			return &rpcError{codeInvalidParams, "Invalid request parameters"}
		}
		c.tool = c.params.Name
	}
	return nil
}

// admit counts a request against the quota of its account, or of its address when it is not signed.
func (s *Server) admit(c *call, r *http.Request) bool {
	if s.config.Unlimited {
		return true
	}
	key, limit := c.caller.Account, requestsPerSecond
	if !c.signed {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		key, limit = host, unsignedRequestsPerSecond
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, ok := s.buckets[key]
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(limit), limit)
		s.buckets[key] = bucket
	}
	return bucket.AllowN(s.now(), 1)
}

// post dispatches a message.
func (s *Server) post(out *output, r *http.Request, c *call) {
	if strings.HasPrefix(c.Method, "notifications/") {
		out.w.WriteHeader(http.StatusAccepted)
		return
	}
	if len(c.ID) == 0 {
		out.fail(c, http.StatusBadRequest, &rpcError{codeInvalidRequest, "Invalid Request"})
		return
	}
	if c.Method == "initialize" {
		s.initialize(out, c)
		return
	}
	if id := r.Header.Get(sessionHeader); id != "" {
		if c.session = s.find(id, c.caller.PrincipalID); c.session == nil {
			s.lost(out, c)
			return
		}
	}
	switch c.Method {
	case "ping":
		out.result(c, struct{}{})
	case "tools/list":
		out.result(c, map[string]any{"tools": tools})
	case "tools/call":
		s.callTool(out, r, c)
	default:
		out.fail(c, http.StatusOK, &rpcError{codeMethodNotFound, "Method not found"})
	}
}

// lost answers a request whose session does not exist, has ended, or belongs to somebody else.
func (s *Server) lost(out *output, c *call) {
	if s.config.SessionLost404 {
		out.w.WriteHeader(http.StatusNotFound)
		return
	}
	out.fail(c, http.StatusOK, &rpcError{codeSessionLost, "The provided SessionId was not found or has expired, please re-initialize your connection"})
}

// versions are the protocol versions that were seen to be echoed; the last is offered when the client's is none of them.
var versions = []string{"2024-11-05", "2025-06-18", "2025-11-25"}

func (s *Server) initialize(out *output, c *call) {
	var params struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if err := json.Unmarshal(c.message.Params, &params); err != nil || params.ProtocolVersion == "" {
		out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "Invalid request parameters"})
		return
	}
	version := params.ProtocolVersion
	if !slices.Contains(versions, version) {
		version = versions[len(versions)-1]
	}
	opened, ok := s.open(c, version)
	if !ok {
		writeThrottled(out.w, c.ID)
		return
	}
	c.session = opened
	out.w.Header().Set(sessionHeader, opened.id)
	s.recordSession("Initialize", c)
	out.result(c, map[string]any{
		"protocolVersion": version,
		"capabilities":    map[string]any{"tools": map[string]any{"listChanged": false}},
		"serverInfo":      map[string]string{"name": "AWSMCP", "version": "1.0.0"},
		"instructions":    "Local stand-in of the AWS MCP Server, not the service of AWS.",
	})
}

// open makes a session unless the caller's account or principal has too many.
func (s *Server) open(c *call, version string) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofAccount, ofPrincipal := 0, 0
	for id, each := range s.sessions {
		if s.now().Sub(each.used) > s.config.SessionIdle {
			delete(s.sessions, id)
			continue
		}
		if each.account == c.caller.Account {
			ofAccount++
		}
		if each.owner == c.caller.PrincipalID {
			ofPrincipal++
		}
	}
	perPrincipal := s.config.SessionsAccount * sessionsPerPrincipal / sessionsPerAccount
	if c.signed && (ofAccount >= s.config.SessionsAccount || ofPrincipal >= perPrincipal) {
		return nil, false
	}
	opened := &session{id: newID(), owner: c.caller.PrincipalID, account: c.caller.Account, version: version, used: s.now()}
	s.sessions[opened.id] = opened
	return opened, true
}

// find returns the caller's session with that id, nil if there is none.
func (s *Server) find(id, owner string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.sessions[id]
	if !ok || found.owner != owner {
		return nil
	}
	if s.now().Sub(found.used) > s.config.SessionIdle {
		delete(s.sessions, id)
		return nil
	}
	found.used = s.now()
	return found
}

// delete ends a session.
func (s *Server) delete(w http.ResponseWriter, r *http.Request, c *call) {
	id := r.Header.Get(sessionHeader)
	if c.session = s.find(id, c.caller.PrincipalID); c.session == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.mu.Lock()
	delete(s.sessions, id)
	s.mu.Unlock()
	s.recordSession("DestroySession", c)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) callTool(out *output, r *http.Request, c *call) {
	if c.tool == "aws___call_aws" {
		out.fail(c, http.StatusOK, &rpcError{codeInvalidRequest, "The call_aws tool has been removed, use another one."})
		return
	}
	if !strings.HasPrefix(c.tool, "aws___") {
		out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "Unknown tool: " + c.tool})
		return
	}
	knowledge := slices.Contains(withoutCredentials, c.tool)
	if !knowledge && !c.signed {
		// Whether a tool exists is not told to strangers.
		writeUnauthorized(out.w, r)
		return
	}
	if c.session == nil {
		out.fail(c, http.StatusBadRequest, &rpcError{codeInvalidRequest, "Missing session ID"})
		return
	}
	switch c.tool {
	case "aws___run_script":
		s.runScript(out, r, c)
	case "aws___get_tasks":
		s.getTasks(out, c)
	case "aws___get_presigned_url":
		s.getPresignedURL(out, c)
	default:
		if !knowledge {
			out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, "Unknown tool: " + c.tool})
			return
		}
		result, err := answerKnowledge(c.tool, c.params.Arguments)
		if err != nil {
			out.fail(c, http.StatusOK, &rpcError{codeInvalidParams, fmt.Sprintf("Invalid arguments of %s: %v", c.tool, err)})
			return
		}
		out.tool(c, result)
	}
}

// arguments decodes a tool's arguments strictly.
func (c *call) arguments(into any) *rpcError {
	if err := decodeStrict(c.params.Arguments, into); err != nil {
		return &rpcError{codeInvalidParams, fmt.Sprintf("Invalid arguments of %s: %v", c.tool, err)}
	}
	return nil
}

func decodeStrict(raw json.RawMessage, into any) error {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
