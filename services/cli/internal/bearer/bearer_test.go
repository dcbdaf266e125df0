package bearer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	centralops "github.com/central-ops/central-ops/services/cli"
)

// twoTokens gives "old" until it is refused, then "new".
type twoTokens struct{ renewed int }

func (t *twoTokens) Token(context.Context) (string, error) { return "old", nil }

func (t *twoTokens) Renew(_ context.Context, refused string) (string, error) {
	t.renewed++
	return "new", nil
}

func TestTransportRepeatsOnceWithTheWholeBody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse map[string]int // status by token
		want   []string       // what the server saw
		status int
	}{
		"good token":          {nil, []string{"Bearer old body"}, 200},
		"refused with 401":    {map[string]int{"old": 401}, []string{"Bearer old body", "Bearer new body"}, 200},
		"refused with 403":    {map[string]int{"old": 403}, []string{"Bearer old body", "Bearer new body"}, 200},
		"both are refused":    {map[string]int{"old": 401, "new": 401}, []string{"Bearer old body", "Bearer new body"}, 401},
		"failed, not refused": {map[string]int{"old": 500}, []string{"Bearer old body"}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan string, 10)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				seen <- r.Header.Get("Authorization") + " " + string(body)
				if status := test.refuse[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; status != 0 {
					w.WriteHeader(status)
				}
			}))
			defer server.Close()
			resp, err := NewClient(&twoTokens{}).Post(server.URL, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			close(seen)
			var got []string
			for s := range seen {
				got = append(got, s)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || resp.StatusCode != test.status {
				t.Errorf("status %d, want %d; requests (-want +got):\n%s", resp.StatusCode, test.status, diff)
			}
		})
	}
}

// oneToken is all that there is.
type oneToken string

func (t oneToken) Token(context.Context) (string, error)         { return string(t), nil }
func (t oneToken) Renew(context.Context, string) (string, error) { return string(t), nil }

// A token that no header can carry is the token's fault, not the server's, and is not shown.
func TestTransportRefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") }))
	defer server.Close()
	for _, token := range []string{"secret\nb", "secret b", "secretä"} {
		resp, err := NewClient(oneToken(token)).Post(server.URL, "text/plain", strings.NewReader("body"))
		if err == nil {
			resp.Body.Close()
		}
		if err = TransportError("ask", server.URL, err); centralops.CodeOf(err) != centralops.Unauthenticated || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", token, err)
		}
	}
}

// A server that redirects does not get the token carried to another.
func TestClientDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other server got %q", r.Header.Get("Authorization"))
	}))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	resp, err := NewClient(&twoTokens{}).Post(server.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d, want 307", resp.StatusCode)
	}
}

func TestTransportErrorNamesTheCause(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err     error
		code    centralops.Code
		message string
	}{
		"no such host":        {&net.OpError{Err: &net.DNSError{Err: "no such host", Name: "api.test"}}, centralops.Unavailable, "api.test: no such host"},
		"untrusted":           {fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}), centralops.Unavailable, "no trusted TLS connection"},
		"deadline":            {fmt.Errorf("post: %w", context.DeadlineExceeded), centralops.Timeout, "no whole answer from api.test in time"},
		"cancelled":           {context.Canceled, "", "cancelled"},
		"broken off":          {io.ErrUnexpectedEOF, centralops.Unavailable, "the connection broke off"},
		"refused":             {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, centralops.Unavailable, "connection refused"},
		"an error of its own": {fmt.Errorf("post: %w", &centralops.Error{Code: centralops.Unauthenticated, Message: "signed out"}), centralops.Unauthenticated, "signed out"},
	} {
		err := TransportError("ask", "https://api.test/x", test.err)
		if centralops.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v, want %s and %q", name, err, test.code, test.message)
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"message":"a"}`:                             "a",
		`{"Message":"a"}`:                             "a",
		`{"error":{"code":-32600,"message":"b"}}`:     "b",
		`{"error":"invalid","error_description":"c"}`: "c",
		"<h1>\n  Bad </h1>":                           "<h1> Bad </h1>",
		`{"__type":"X"}`:                              `{"__type":"X"}`,
		"":                                            "",
		`{"message":"` + strings.Repeat("é", 400) + `"}`: strings.Repeat("é", 300) + "...",
	} {
		if got := ErrorText(strings.NewReader(body), 1<<20); got != want {
			t.Errorf("ErrorText(%s) = %q, want %q", body, got, want)
		}
	}
}

// What a proxy does is not the fault of the host behind it.
func TestProxyFailures(t *testing.T) {
	t.Parallel()
	forbids := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer forbids.Close()
	forbidding := strings.TrimPrefix(forbids.URL, "http://")
	for proxy, want := range map[string]string{
		forbidding:        "api.test: the proxy " + forbidding + " answered 403 Forbidden",
		"127.0.0.1:1":     "api.test: the proxy was not reached: connection refused",
		"proxy.invalid:8": "api.test: the proxy was not reached: lookup proxy.invalid",
	} {
		client := NewPlainClient()
		client.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})
		resp, err := client.Get("https://api.test/x")
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: status %d", proxy, resp.StatusCode)
			continue
		}
		failure := TransportError("ask", "https://api.test/x", err)
		if line := centralops.Line(failure); !strings.Contains(line, want) || !strings.Contains(line, "try: another address in HTTPS_PROXY") {
			t.Errorf("%s: %s\nwant %s", proxy, line, want)
		}
	}
}
