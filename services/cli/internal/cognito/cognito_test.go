package cognito

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	centralops "github.com/central-ops/central-ops/services/cli"
)

// A user pool that takes its time is not helped by another question.
func TestSlowPool(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // a server sees that its client is gone only when the body has been read
		<-r.Context().Done()
	}))
	defer server.Close()
	p := &Pool{Endpoint: server.URL, HTTP: &http.Client{Timeout: 50 * time.Millisecond}, Now: time.Now}
	_, err := p.Refresh(t.Context(), centralops.Tokens{RefreshToken: "r"})
	if line := centralops.Line(err); centralops.CodeOf(err) != centralops.Timeout || !strings.HasSuffix(line, "; try: again in a minute, or centralops doctor") {
		t.Errorf("Refresh: %s", line)
	}
}
