package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Tool is an entry of tools/list.
type Tool struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	InputSchema any    `json:"inputSchema"`
}

// Call is one tools/call as the Gateway got it.
type Call struct {
	Name      string
	Arguments json.RawMessage
	Header    http.Header
}

// Reply is the Gateway's answer to a call.
type Reply struct {
	Text    string // one text content; what a Lambda returned, JSON-encoded
	Result  string // the whole MCP result as JSON, instead of Text
	IsError bool

	Status   int    // answer with this HTTP status instead, and Body
	Body     string // plain, or JSON-RPC if it begins with {
	Header   http.Header
	RPCCode  int // answer with this JSON-RPC error instead
	Hang     bool
	LoseMCP  bool // forget the MCP session and answer 404
	Gate     <-chan struct{}
	Stream   bool // answer with one server-sent event
	BreakOff bool // end the answer in its middle
}

// Gateway stands in for an AgentCore Gateway with one Lambda target.
type Gateway struct {
	record

	Tools    []Tool
	PageSize int  // of tools/list; 0 for one page
	Sessions bool // whether initialize gives an Mcp-Session-Id, which is then required
	// Accept reports whether a bearer token is valid; nil accepts any but the empty one.
	Accept func(token string) bool
	// OnCall answers a tool call.
	OnCall func(call Call) Reply
	// OnList answers tools/list instead, if its Status or RPCCode is not 0.
	OnList func(n int) Reply

	mu         sync.Mutex
	sessions   map[string]bool
	made       int
	lists      int
	calls      []Call
	gone       int
	running    int
	mostAtOnce int
}

// Calls returns the tool calls that arrived, in order.
func (g *Gateway) Calls() []Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Call(nil), g.calls...)
}

// Count returns how many sessions were made, tools/list requests came, clients went away while a call
// hung, and calls ran at once at most.
func (g *Gateway) Count() (sessions, lists, gone, atOnce int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.made, g.lists, g.gone, g.mostAtOnce
}

type rpcRequest struct {
	Version string           `json:"jsonrpc"`
	ID      *json.RawMessage `json:"id"`
	Method  string           `json:"method"`
	Params  json.RawMessage  `json:"params"`
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/mcp" {
		http.Error(w, g.violate("gateway: path %s", r.URL.Path), http.StatusNotFound)
		return
	}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found || token == "" || (g.Accept != nil && !g.Accept(token)) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://gateway.example/.well-known/oauth-protected-resource"`)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"jsonrpc": "2.0", "id": 0, "error": map[string]any{"code": -32001, "message": "Invalid Bearer token"}})
		return
	}
	if r.Method == http.MethodDelete && g.Sessions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, g.violate("gateway: %s", r.Method), http.StatusMethodNotAllowed)
		return
	}
	if accept := r.Header.Get("Accept"); !strings.Contains(accept, "application/json") || !strings.Contains(accept, "text/event-stream") {
		http.Error(w, g.violate("gateway: Accept %q", accept), http.StatusNotAcceptable)
		return
	}
	var request rpcRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Version != "2.0" {
		http.Error(w, g.violate("gateway: not JSON-RPC"), http.StatusBadRequest)
		return
	}
	if request.Method != "initialize" {
		if !g.checkSession(w, r, request) {
			return
		}
	}
	switch request.Method {
	case "initialize":
		g.initialize(w, request)
	case "notifications/initialized", "notifications/cancelled":
		w.WriteHeader(http.StatusAccepted)
	case "tools/list":
		g.list(w, request)
	case "tools/call":
		g.call(w, r, request)
	default:
		result(w, request, nil, map[string]any{"code": -32601, "message": g.violate("gateway: method %s", request.Method)})
	}
}

func (g *Gateway) checkSession(w http.ResponseWriter, r *http.Request, request rpcRequest) bool {
	if version := r.Header.Get("Mcp-Protocol-Version"); version != "2025-06-18" {
		http.Error(w, g.violate("gateway: MCP-Protocol-Version %q of %s", version, request.Method), http.StatusBadRequest)
		return false
	}
	if !g.Sessions {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	id := r.Header.Get("Mcp-Session-Id")
	switch {
	case id == "":
		http.Error(w, "missing session", http.StatusBadRequest)
		return false
	case !g.sessions[id]:
		http.Error(w, "session not found", http.StatusNotFound)
		return false
	}
	return true
}

func (g *Gateway) initialize(w http.ResponseWriter, request rpcRequest) {
	var params struct{ ProtocolVersion string }
	if json.Unmarshal(request.Params, &params) != nil || params.ProtocolVersion != "2025-06-18" {
		result(w, request, nil, map[string]any{"code": -32602, "message": g.violate("gateway: protocol version %q", params.ProtocolVersion)})
		return
	}
	g.mu.Lock()
	g.made++
	if g.Sessions {
		id := "mcp-session-" + strconv.Itoa(g.made)
		if g.sessions == nil {
			g.sessions = make(map[string]bool)
		}
		g.sessions[id] = true
		w.Header().Set("Mcp-Session-Id", id)
	}
	g.mu.Unlock()
	result(w, request, map[string]any{
		"protocolVersion": "2025-06-18",
		"capabilities":    map[string]any{"tools": map[string]any{"listChanged": false}},
		"serverInfo":      map[string]any{"name": "gateway", "version": "1.0.0"},
	}, nil)
}

func (g *Gateway) list(w http.ResponseWriter, request rpcRequest) {
	g.mu.Lock()
	n := g.lists
	g.lists++
	g.mu.Unlock()
	if g.OnList != nil {
		reply := g.OnList(n)
		if reply.RPCCode != 0 {
			result(w, request, nil, map[string]any{"code": reply.RPCCode, "message": reply.Body})
			return
		}
		if reply.Status != 0 {
			refuse(w, reply)
			return
		}
	}
	var params struct{ Cursor string }
	_ = json.Unmarshal(request.Params, &params) // no params means the first page
	start := 0
	if params.Cursor != "" {
		var err error
		if start, err = strconv.Atoi(params.Cursor); err != nil || start > len(g.Tools) {
			result(w, request, nil, map[string]any{"code": -32602, "message": g.violate("gateway: cursor %q", params.Cursor)})
			return
		}
	}
	page := map[string]any{}
	end := len(g.Tools)
	if g.PageSize > 0 && start+g.PageSize < end {
		end = start + g.PageSize
		page["nextCursor"] = strconv.Itoa(end)
	}
	page["tools"] = g.Tools[start:end]
	result(w, request, page, nil)
}

func (g *Gateway) call(w http.ResponseWriter, r *http.Request, request rpcRequest) {
	var params struct {
		Name      string
		Arguments json.RawMessage
	}
	if err := json.Unmarshal(request.Params, &params); err != nil || !isObject(params.Arguments) {
		result(w, request, nil, map[string]any{"code": -32602, "message": g.violate("gateway: arguments of %s are no object", params.Name)})
		return
	}
	call := Call{Name: params.Name, Arguments: params.Arguments, Header: r.Header.Clone()}
	g.mu.Lock()
	g.calls = append(g.calls, call)
	g.running++
	g.mostAtOnce = max(g.mostAtOnce, g.running)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.running--
	}()

	reply := g.OnCall(call)
	if reply.Gate != nil {
		select {
		case <-reply.Gate:
		case <-r.Context().Done():
		}
	}
	switch {
	case reply.Hang:
		<-r.Context().Done()
		g.mu.Lock()
		g.gone++
		g.mu.Unlock()
		return
	case reply.LoseMCP:
		g.mu.Lock()
		clear(g.sessions)
		g.mu.Unlock()
		http.Error(w, "session not found", http.StatusNotFound)
		return
	case reply.Status != 0:
		refuse(w, reply)
		return
	case reply.RPCCode != 0:
		result(w, request, nil, map[string]any{"code": reply.RPCCode, "message": reply.Body})
		return
	}
	answer := json.RawMessage(reply.Result)
	if reply.Result == "" {
		encoded, err := json.Marshal(map[string]any{
			"isError": reply.IsError,
			"content": []map[string]string{{"type": "text", "text": reply.Text}},
		})
		if err != nil {
			panic(err) // strings always marshal
		}
		answer = encoded
	}
	if reply.Stream || reply.BreakOff {
		envelope, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": request.ID, "result": answer})
		if err != nil {
			panic(err) // the test's own JSON
		}
		if reply.BreakOff {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(envelope)))
			_, _ = w.Write(envelope[:len(envelope)/2])
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: message\ndata: %s\n\n", envelope)
		return
	}
	result(w, request, answer, nil)
}

func refuse(w http.ResponseWriter, reply Reply) {
	for name, values := range reply.Header {
		w.Header()[name] = values
	}
	if strings.HasPrefix(reply.Body, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write([]byte(reply.Body))
}

func result(w http.ResponseWriter, request rpcRequest, value, failure any) {
	answer := map[string]any{"jsonrpc": "2.0", "id": request.ID}
	if failure != nil {
		answer["error"] = failure
	} else {
		answer["result"] = value
	}
	writeJSON(w, http.StatusOK, answer)
}
