package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

// FuzzReadMessage holds that of a stream of events only the one that answers the request is taken.
func FuzzReadMessage(f *testing.F) {
	for _, body := range []string{
		"data: {\"id\":1,\"result\":{}}\n\n", "event: message\r\ndata: {\"method\":\"notifications/progress\"}\r\n\r\ndata: {\"id\":1}\r\n\r\n", "data: {\"id\":\"1\"}\n\n", "data: {\"id\":1", "{\"id\":1}", "data:\n",
	} {
		f.Add("text/event-stream; charset=utf-8", []byte(body))
		f.Add("application/json", []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		got, err := readMessage(&http.Response{Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewReader(body))}, 1)
		if err != nil || bytes.Equal(got, body) {
			return
		}
		var message struct{ ID int }
		if json.Unmarshal(got, &message) != nil || message.ID != 1 {
			t.Errorf("%q: took %q for the answer", body, got)
		}
	})
}
