package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/e2e/local/lambdafront"
)

// maxHeaderValue bounds a header value that travels to an interceptor's or target's function.
const maxHeaderValue = 4 << 10

// interceptorInput is what a REQUEST interceptor is called with.
type interceptorInput struct {
	Version string `json:"interceptorInputVersion"`
	MCP     struct {
		Raw struct {
			Body string `json:"body"`
		} `json:"rawGatewayRequest"`
		Request struct {
			Path    string            `json:"path"`
			Method  string            `json:"httpMethod"`
			Headers map[string]string `json:"headers,omitempty"`
			Body    json.RawMessage   `json:"body"`
		} `json:"gatewayRequest"`
	} `json:"mcp"`
}

// interceptorOutput is what it may answer: a changed request, or a response that goes out instead of the target's.
type interceptorOutput struct {
	Version string `json:"interceptorOutputVersion"`
	MCP     struct {
		Request *struct {
			Headers map[string]string `json:"headers"`
			Body    json.RawMessage   `json:"body"`
		} `json:"transformedGatewayRequest"`
		Response *struct {
			StatusCode int               `json:"statusCode"`
			Headers    map[string]string `json:"headers"`
			Body       json.RawMessage   `json:"body"`
		} `json:"transformedGatewayResponse"`
	} `json:"mcp"`
}

// intercept calls the REQUEST interceptor. It returns the request as the interceptor left it, or answered if w has the
// response already: the interceptor's own, or an error.
func (s *Server) intercept(w http.ResponseWriter, r *http.Request, body []byte, msg message) (changed message, headers http.Header, answered bool) {
	interceptor := s.config.Record.Interceptors[0]
	var in interceptorInput
	in.Version = "1.0"
	in.MCP.Raw.Body = string(body)
	in.MCP.Request.Path, in.MCP.Request.Method, in.MCP.Request.Body = "/mcp", r.Method, body
	if interceptor.Input.PassRequestHeaders {
		in.MCP.Request.Headers = make(map[string]string, len(r.Header))
		for name, values := range r.Header {
			in.MCP.Request.Headers[s.shownName(name)] = strings.Join(values, ",")
		}
	}
	out, err := s.callInterceptor(r.Context(), interceptor.Interceptor.Lambda.ARN, in)
	if err != nil {
		writeError(w, msg.ID, rpcError{http.StatusInternalServerError, internalError, s.publicText("interceptor", err)})
		return message{}, nil, true
	}
	if response := out.MCP.Response; response != nil {
		for name, value := range response.Headers {
			w.Header().Set(name, value)
		}
		writeJSON(w, cmp.Or(response.StatusCode, http.StatusOK), response.Body)
		return message{}, nil, true
	}
	changed = msg
	if len(out.MCP.Request.Body) > 0 && string(out.MCP.Request.Body) != "null" {
		var fault *rpcError
		if changed, fault = parse(out.MCP.Request.Body); fault != nil {
			writeError(w, msg.ID, rpcError{http.StatusInternalServerError, internalError, s.publicText("interceptor", errors.New(fault.message))})
			return message{}, nil, true
		}
	}
	return changed, s.merge(r.Header, out.MCP.Request.Headers), false
}

func (s *Server) callInterceptor(ctx context.Context, arn string, in interceptorInput) (interceptorOutput, error) {
	payload, err := json.Marshal(in)
	if err != nil {
		return interceptorOutput{}, err
	}
	result, err := s.invoke(ctx, arn, payload, nil)
	if err != nil {
		return interceptorOutput{}, err
	}
	if result.FunctionError != "" {
		return interceptorOutput{}, fmt.Errorf("function error: %s", result.Payload)
	}
	var out interceptorOutput
	if err := json.Unmarshal(result.Payload, &out); err != nil {
		return interceptorOutput{}, fmt.Errorf("answer: %w", err)
	}
	if out.Version != "1.0" || (out.MCP.Request == nil) == (out.MCP.Response == nil) {
		return interceptorOutput{}, errors.New("answer: interceptorOutputVersion must be 1.0, and either transformedGatewayRequest or transformedGatewayResponse must be there")
	}
	return out, nil
}

// merge puts the interceptor's headers over the client's. Authorization stays only if the interceptor returned it.
func (s *Server) merge(client http.Header, fromInterceptor map[string]string) http.Header {
	merged := make(http.Header)
	if !s.config.OnlyInterceptorHeaders {
		merged = client.Clone()
	}
	merged.Del("Authorization")
	for name, value := range fromInterceptor {
		merged.Set(name, value)
	}
	return merged
}

// call invokes the target's function with the arguments as its event.
func (s *Server) call(r *http.Request, msg message, headers http.Header) (any, *rpcError) {
	var params struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.Unmarshal(msg.Params, &params); err != nil {
		return nil, &rpcError{http.StatusOK, invalidParams, "tools/call: " + err.Error()}
	}
	i := slices.IndexFunc(s.tools, func(t listedTool) bool { return t.shown.Name == params.Name })
	if i < 0 {
		return nil, &rpcError{http.StatusOK, invalidParams, "Unknown tool: " + params.Name}
	}
	target := s.tools[i].target
	arguments := params.Arguments
	if len(arguments) == 0 || string(arguments) == "null" {
		arguments = json.RawMessage("{}")
	}
	if arguments[0] != '{' {
		return nil, &rpcError{http.StatusOK, invalidParams, "tools/call: arguments must be an object"}
	}
	clientContext, err := json.Marshal(map[string]any{"custom": s.custom(target, params.Name, msg.ID, headers)})
	if err != nil {
		return nil, &rpcError{http.StatusOK, internalError, err.Error()}
	}
	result, err := s.invoke(r.Context(), target.Configuration.MCP.Lambda.ARN, arguments, clientContext)
	if err == nil && result.FunctionError != "" {
		err = fmt.Errorf("function error: %s", result.Payload)
	}
	if err != nil {
		return s.failed(err), nil
	}
	return s.wrap(result.Payload), nil
}

// custom is the part of the client context that tells the function what it is called for.
func (s *Server) custom(target Target, tool string, id json.RawMessage, headers http.Header) map[string]any {
	custom := map[string]any{
		"bedrockAgentCoreMessageVersion": "1.0",
		"bedrockAgentCoreAwsRequestId":   rand.Text(),
		"bedrockAgentCoreMcpMessageId":   strings.Trim(string(id), `"`),
		"bedrockAgentCoreGatewayId":      s.config.Record.ID,
		"bedrockAgentCoreTargetId":       target.ID,
		"bedrockAgentCoreToolName":       tool,
	}
	propagated := make(map[string]string)
	for _, name := range slices.Concat(target.Metadata.AllowedRequestHeaders, []string{"Authorization"}) {
		if value := headers.Get(name); value != "" && len(value) <= maxHeaderValue && printable(value) {
			propagated[s.shownName(name)] = value
		}
	}
	if len(propagated) > 0 {
		custom["bedrockAgentCorePropagatedHeaders"] = propagated
	}
	return custom
}

func (s *Server) shownName(header string) string {
	if s.config.LowerCaseHeaders {
		return strings.ToLower(header)
	}
	return header
}

func printable(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

// invoke calls a function as the service role.
func (s *Server) invoke(ctx context.Context, arn string, payload, clientContext []byte) (lambdafront.Result, error) {
	role, err := s.config.Role()
	if err != nil {
		return lambdafront.Result{}, fmt.Errorf("credentials of the service role: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	return s.lambda.Invoke(ctx, role, arn, payload, clientContext)
}

const hiddenText = "An internal error occurred. Please retry later."

func (s *Server) publicText(where string, err error) string {
	if s.config.Record.ExceptionLevel == "DEBUG" {
		return where + ": " + err.Error()
	}
	return hiddenText
}

// failed is the tool result when the function could not be called or failed.
func (s *Server) failed(err error) any {
	result := map[string]any{"isError": true, "content": textContent(s.publicText("target", err))}
	if s.config.Record.ExceptionLevel == "DEBUG" {
		result["_meta"] = map[string]any{"debug": map[string]any{"message": err.Error()}}
	}
	return result
}

// wrap makes a tool result of what the function returned.
func (s *Server) wrap(payload []byte) any {
	if s.config.HonourResults {
		var result map[string]any
		if json.Unmarshal(payload, &result) == nil && result["content"] != nil {
			honoured := map[string]any{"isError": false}
			maps.Copy(honoured, result)
			return honoured
		}
	}
	text := string(payload)
	if s.config.BareStrings {
		var bare string
		if json.Unmarshal(payload, &bare) == nil {
			text = bare
		}
	}
	return map[string]any{"isError": false, "content": textContent(text)}
}

func textContent(text string) []map[string]string {
	return []map[string]string{{"type": "text", "text": text}}
}
