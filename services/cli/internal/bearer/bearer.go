// Package bearer sends requests with a person's access token, and says in plain words why a request
// got no answer.
package bearer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	centralops "github.com/central-ops/central-ops/services/cli"
)

// Tokens gives access tokens. Its methods may be called concurrently.
type Tokens interface {
	// Token returns an access token, renewed if it is about to expire.
	Token(ctx context.Context) (string, error)
	// Renew returns another token after the server refused the one given.
	Renew(ctx context.Context, refused string) (string, error)
}

// Transport adds the Authorization header. A response of 401 or 403 makes it renew the token and
// repeat the request once: for a token that is present but bad or expired, AgentCore's documents
// leave open which of the two comes back.
type Transport struct {
	Tokens Tokens
	Base   http.RoundTripper
}

// NewClient returns a client that speaks with the tokens given. Connecting may take 10 seconds;
// how long a response may take is the business of the request's context.
func NewClient(tokens Tokens) *http.Client {
	client := NewPlainClient()
	client.Transport = &Transport{Tokens: tokens, Base: client.Transport}
	return client
}

// NewPlainClient is NewClient without tokens. Neither follows redirects: http.Client would send bodies and headers, in
// which passwords and tokens are, on to wherever they point.
func NewPlainClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			OnProxyConnectResponse: func(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
				if resp.StatusCode == http.StatusOK {
					return nil
				}
				return proxyRefusal{proxy.Host, resp.Status}
			},
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// proxyRefusal is what the proxy of HTTPS_PROXY answered instead of connecting to the host that is asked for.
type proxyRefusal struct{ proxy, status string }

func (e proxyRefusal) Error() string { return e.proxy + " answered " + e.status }

// RoundTrip sends the request; see Transport.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.Tokens.Token(req.Context())
	if err != nil {
		return nil, err
	}
	resp, err := t.send(req, req.Body, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return resp, err
	}
	renewed, err := t.Tokens.Renew(req.Context(), token)
	if err != nil || renewed == token {
		return resp, nil // the refusal says more than that there is no other token
	}
	var body io.ReadCloser
	if req.GetBody != nil {
		if body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	resp.Body.Close()
	return t.send(req, body, renewed)
}

func (t *Transport) send(req *http.Request, body io.ReadCloser, token string) (*http.Response, error) {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) { // no header can carry it
		if body != nil {
			body.Close()
		}
		return nil, &centralops.Error{Code: centralops.Unauthenticated, Message: "the access token has characters that no token has", Hint: Hint(centralops.Unauthenticated)}
	}
	out := req.Clone(req.Context())
	out.Body = body
	out.Header.Set("Authorization", "Bearer "+token)
	return t.Base.RoundTrip(out)
}

// statuses says what a status of the Runtime or the Gateway stands for. A 4xx or 5xx of the agent's
// container arrives as 424.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-troubleshooting.html
var statuses = map[int]centralops.Code{
	http.StatusBadRequest:          centralops.Invalid,
	http.StatusUnauthorized:        centralops.Unauthenticated,
	http.StatusPaymentRequired:     centralops.Throttled, // ServiceQuotaExceededException
	http.StatusForbidden:           centralops.Forbidden,
	http.StatusNotFound:            centralops.NotFound,
	http.StatusConflict:            centralops.Conflict,
	http.StatusFailedDependency:    centralops.Unavailable,
	http.StatusTooManyRequests:     centralops.Throttled,
	http.StatusInternalServerError: centralops.Internal,
	http.StatusBadGateway:          centralops.Unavailable,
	http.StatusServiceUnavailable:  centralops.Unavailable,
	http.StatusGatewayTimeout:      centralops.Timeout,
}

// Hint returns what to try next after an error of this code for which the server gave no hint.
func Hint(code centralops.Code) string {
	switch code {
	case centralops.Unauthenticated:
		return "centralops login"
	case centralops.Forbidden:
		return "centralops whoami, to see your groups and accounts"
	case centralops.NotFound:
		return "centralops configure, to check the ARN, the qualifier and the URLs of the profile"
	case centralops.Conflict:
		return "again when the session's other question has ended, or without --session"
	case centralops.Throttled:
		return "again in a minute"
	case centralops.Timeout:
		return "a narrower question, or fewer accounts and Regions"
	default:
		return "centralops doctor"
	}
}

// maxRefusal is the most bytes of a refusal's body that are read.
const maxRefusal = 64 << 10

// Refusal returns the error of a response whose status is none of success. who names the server.
func Refusal(op, who string, resp *http.Response) *centralops.Error {
	code, ok := statuses[resp.StatusCode]
	if !ok {
		code = centralops.Internal
	}
	message := fmt.Sprintf("%s answered %d", who, resp.StatusCode)
	// AWS appends a URI to the name of the error: "ValidationException:http://...".
	if kind, _, _ := strings.Cut(resp.Header.Get("x-amzn-ErrorType"), ":"); kind != "" {
		message += " " + kind
	}
	if text := ErrorText(resp.Body, maxRefusal); text != "" {
		message += ": " + text
	}
	return &centralops.Error{Op: op, Code: code, Message: message, Hint: Hint(code)}
}

// ErrorText returns the message in an error's body of at most max bytes: the member message (or
// Message, error_description, error.message) of a JSON object, else the text itself, in one line and cut to
// 300 characters.
func ErrorText(body io.Reader, max int64) string {
	raw, err := io.ReadAll(io.LimitReader(body, max))
	if err != nil {
		return ""
	}
	text := string(raw)
	var object struct {
		Message     string          `json:"message"` // also matches Message
		Description string          `json:"error_description"`
		Error       json.RawMessage `json:"error"`
	}
	if json.Unmarshal(raw, &object) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(object.Error, &inner) // error may be a plain word; then there is no message in it
		for _, candidate := range []string{inner.Message, object.Description, object.Message} {
			if candidate != "" {
				text = candidate
			}
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "..."
	}
	return text
}

// TransportError returns the error of a request to base that got no response, or whose response
// broke off. An *Error on the way, such as "you are not signed in", stays what it is.
func TransportError(op, base string, err error) error {
	var known *centralops.Error
	if errors.As(err, &known) {
		return known
	}
	host := base
	if u, parseErr := url.Parse(base); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	failure := &centralops.Error{Op: op, Code: centralops.Unavailable, Err: err, Hint: "centralops doctor"}
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		record    tls.RecordHeaderError
		timeout   net.Error
		dial      *net.OpError
		refusal   proxyRefusal
	)
	switch {
	case errors.Is(err, context.Canceled):
		failure.Code, failure.Message, failure.Hint = "", "cancelled", "" // by the person: no kind of failure
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		failure.Code, failure.Message = centralops.Timeout, "no whole answer from "+host+" in time"
		failure.Hint = "a narrower question, or a longer --timeout"
	case errors.As(err, &refusal):
		failure.Message, failure.Hint = fmt.Sprintf("%s: the proxy %v", host, refusal), proxyHint
	case errors.As(err, &dial) && dial.Op == "proxyconnect": // so net/http names it
		failure.Message, failure.Hint = fmt.Sprintf("%s: the proxy was not reached: %v", host, innermost(err)), proxyHint
	case errors.As(err, &dns):
		failure.Message = fmt.Sprintf("%s: no such host", host)
		failure.Hint = "centralops configure, to check the URLs and the Region of the profile"
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &record):
		failure.Message = fmt.Sprintf("%s: no trusted TLS connection: %v", host, innermost(err))
	case errors.As(err, &timeout) && timeout.Timeout():
		failure.Code, failure.Message = centralops.Timeout, fmt.Sprintf("%s: no connection in time", host)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		failure.Message = fmt.Sprintf("%s: the connection broke off", host)
	default:
		failure.Message = fmt.Sprintf("%s: %v", host, innermost(err))
	}
	return failure
}

const proxyHint = "another address in HTTPS_PROXY, or the host in NO_PROXY"

// innermost returns the last error of the chain: what the system said, without its wrappings.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
