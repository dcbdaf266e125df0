package runtime

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	centralops "github.com/central-ops/central-ops/services/cli"
)

// answering returns a client whose Runtime is answer.
func answering(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return &Client{Base: server.URL, ARN: "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/x", Qualifier: "DEFAULT", HTTP: server.Client()}
}

// Streams as servers, proxies and future agents may write them.
func TestInvokeReadsStreams(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"plain":                 "data: {\"type\":\"text\",\"text\":\"hi\"}\n\ndata: {\"type\":\"done\",\"turns\":1}\n\n",
		"without space":         "data:{\"type\":\"text\",\"text\":\"hi\"}\n\ndata:{\"type\":\"done\",\"turns\":1}\n\n",
		"carriage returns":      "data: {\"type\":\"text\",\"text\":\"hi\"}\r\n\r\ndata: {\"type\":\"done\",\"turns\":1}\r\n\r\n",
		"comments and ids":      ": keep-alive\n\nid: 1\nevent: message\ndata: {\"type\":\"text\",\"text\":\"hi\"}\n\n:\n\ndata: {\"type\":\"done\",\"turns\":1}\n\n",
		"data over lines":       "data: {\"type\":\"text\",\ndata: \"text\":\"hi\"}\n\ndata: {\"type\":\"done\",\"turns\":1}\n\n",
		"types not known":       "data: {\"type\":\"thinking\"}\n\ndata: {\"type\":\"text\",\"text\":\"hi\"}\n\ndata: {\"type\":\"done\",\"turns\":1}\n\n",
		"byte order mark":       "\ufeffdata: {\"type\":\"text\",\"text\":\"hi\"}\n\ndata: {\"type\":\"done\",\"turns\":1}\n\n",
		"more after the answer": "data: {\"type\":\"text\",\"text\":\"hi\"}\n\ndata: {\"type\":\"done\",\"turns\":1}\n\nrubbish",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				io.WriteString(w, stream)
			})
			var events []centralops.Event
			got, err := c.Invoke(t.Context(), "s", "x", func(e centralops.Event) { events = append(events, e) })
			want := centralops.Answer{Response: "hi", SessionID: "s", Members: map[string]json.RawMessage{"turns": json.RawMessage("1")}}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("answer mismatch (-want +got), error %v:\n%s", err, diff)
			}
			if diff := cmp.Diff([]centralops.Event{centralops.Text{Text: "hi"}}, events); diff != "" {
				t.Errorf("events mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// JSON that is no answer of an agent is none, and an error that is null is none either.
func TestInvokeReadsWholeAnswers(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]centralops.Code{
		`{"response":"hi","error":null}`: "", `{"session_id":"s"}`: "",
		`{}`: centralops.Unavailable, `null`: centralops.Unavailable, `{"message":"ok"}`: centralops.Unavailable, `{"response":null}`: centralops.Unavailable,
	} {
		c := answering(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		got, err := c.Invoke(t.Context(), "s", "x", func(centralops.Event) {})
		if err == nil && want != "" || err != nil && centralops.CodeOf(err) != want {
			t.Errorf("%s: answer %+v, error %v, want %q", body, got, err, want)
		}
	}
}

// A tool's answer without a result is an error that says so.
func TestBridgeWithoutResult(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `{"result":null}`, `{"result":null,"error":null}`} {
		c := answering(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		if _, err := c.Bridge(t.Context(), "list_accounts", nil); err == nil || !strings.Contains(err.Error(), "it has no result") {
			t.Errorf("%s: error %v", body, err)
		}
	}
}

// An operation in progress on the session is waited for, a few times; other refusals are not repeated.
func TestInvokeRepeatsOnConflict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status, conflicts, want int
		code                    centralops.Code
	}{
		"ends in time":      {http.StatusConflict, 2, 3, ""},
		"does not end":      {http.StatusConflict, 100, 4, centralops.Conflict},
		"another's session": {http.StatusForbidden, 100, 1, centralops.Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c := &Client{Base: "http://runtime.test", HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) *http.Response {
					requests++
					w := httptest.NewRecorder()
					if requests <= test.conflicts {
						w.WriteHeader(test.status)
					} else {
						io.WriteString(w, `{"response":"hi"}`)
					}
					return w.Result()
				})}}
				_, err := c.Invoke(t.Context(), "s", "x", func(centralops.Event) {})
				if err == nil && test.code != "" || err != nil && centralops.CodeOf(err) != test.code || requests != test.want {
					t.Errorf("%d requests, want %d; error %v, want %q", requests, test.want, err, test.code)
				}
			})
		})
	}
}

type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func TestURLEscapesTheWholeARN(t *testing.T) {
	t.Parallel()
	c := &Client{Base: "https://host", ARN: "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/x", Qualifier: "DEFAULT"}
	want := "https://host/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A111122223333%3Aruntime%2Fx/invocations?qualifier=DEFAULT"
	if got := c.URL(); got != want || strings.Contains(got, "runtime/x") {
		t.Errorf("URL = %s, want %s", got, want)
	}
}
