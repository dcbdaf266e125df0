package runtime

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	centralops "github.com/central-ops/central-ops/services/cli"
)

// FuzzStream holds that a stream, whatever it is, ends in an answer only if it says that it is done, in an error with a
// code otherwise, and that the answer is the text that was passed on.
func FuzzStream(f *testing.F) {
	for _, stream := range []string{
		"data: {\"type\":\"text\",\"text\":\"hi\"}\n\ndata: {\"type\":\"done\",\"turns\":1}\n\n", "data: {\"type\":\"error\",\"code\":\"throttled\",\"message\":\"m\"}\n\n",
		"data:{\"type\":\"tool_call\",\ndata:\"id\":\"a\",\"name\":\"bridge___query\",\"input\":{}}\r\n\r\n", "data: {\"type\":\"tool_result\",\"ok\":true,\"coverage\":{\"targets\":1}}\n\n",
		"data: {\"type\":\"done\",\"coverage\":[]}\n\n", "data: null\n\n", ": keep-alive\n\ndata: \n\n", "data: {\"type\":\"error\",\"code\":7}\n\n",
	} {
		f.Add([]byte(stream))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var said strings.Builder
		got, err := (&Client{Base: "https://runtime.test"}).stream(bytes.NewReader(stream), func(e centralops.Event) {
			if text, ok := e.(centralops.Text); ok {
				said.WriteString(text.Text)
			}
		})
		if got.Response != said.String() {
			t.Errorf("%q: the answer is %q, passed on was %q", stream, got.Response, said.String())
		}
		if err == nil && !bytes.Contains(stream, []byte("done")) && !bytes.Contains(stream, []byte(`\u`)) {
			t.Errorf("%q is taken for a whole answer", stream)
		}
		checkError(t, err)
	})
}

// FuzzWhole holds the same of a JSON answer.
func FuzzWhole(f *testing.F) {
	for _, body := range []string{
		`{"response":"hi","coverage":{"targets":1,"answered":1},"receipts":[],"session_id":"s"}`, `{"error":{"code":"forbidden","message":"m","hint":"h"}}`, `{"error":null}`, `{"error":"x"}`,
		`{"response":7}`, `[]`, `null`, `{"receipts":{}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		said := ""
		got, err := (&Client{Base: "https://runtime.test"}).whole(bytes.NewReader(body), func(e centralops.Event) {
			if text, ok := e.(centralops.Text); ok {
				said += text.Text
			}
		})
		if got.Response != said {
			t.Errorf("%q: the answer is %q, passed on was %q", body, got.Response, said)
		}
		checkError(t, err)
	})
}

// FuzzRefusal holds that a refusal, whatever its body, becomes an error with a code and one line of text.
func FuzzRefusal(f *testing.F) {
	f.Add(403, `{"message":"no"}`)
	f.Add(502, "<html>\n<body>bad\tgateway</body></html>")
	f.Add(424, `{"error":{"message":"x"},"Message":"y"}`)
	f.Add(418, strings.Repeat("\xff", 1000))
	f.Fuzz(func(t *testing.T, status int, body string) {
		err := refused(ask, &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))})
		checkError(t, err)
		if strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("more lines than one: %q", err)
		}
	})
}

// checkError fails the test if err is one that a person can't be told.
func checkError(t *testing.T, err error) {
	t.Helper()
	var known *centralops.Error
	if err != nil && (!errors.As(err, &known) || known.Code == "") {
		t.Errorf("an error without a code: %v", err)
	}
}
