package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.opentelemetry.io/otel/trace"

	"github.com/central-ops/central-ops/services/bridge"
)

var own = aws.Credentials{AccessKeyID: "AKIDOWN", SecretAccessKey: "secret", SessionToken: "token"}

type credentials struct{}

func (credentials) Retrieve(context.Context) (aws.Credentials, error) { return own, nil }

// transport keeps requests instead of sending them.
type transport struct {
	requests []*http.Request
	bodies   [][]byte
}

func (s *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	s.requests, s.bodies = append(s.requests, request), append(s.bodies, body)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: request}, nil
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIDOWN/\d{8}/eu-west-1/xray/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$`)

// export sends the span of one call to endpoint and returns the request.
func export(t *testing.T, endpoint string) (*http.Request, []byte) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
	sent := &transport{}
	tracer, err := New(t.Context(), sent, credentials{}, "dev")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := tracer.Start(t.Context())
	end("query", bridge.Forbidden)
	tracer.Flush(ctx)
	if len(sent.requests) != 1 {
		t.Fatalf("%d requests, want 1", len(sent.requests))
	}
	return sent.requests[0], sent.bodies[0]
}

// TestXRayIsSigned signs the request again, as X-Ray does, and compares.
func TestXRayIsSigned(t *testing.T) {
	request, body := export(t, "https://xray.eu-west-1.amazonaws.com/v1/traces")
	got := request.Header.Get("Authorization")
	match := authorization.FindStringSubmatch(got)
	if match == nil || request.Header.Get("X-Amz-Security-Token") != own.SessionToken {
		t.Fatalf("Authorization %q", got)
	}
	at, err := time.Parse("20060102T150405Z", request.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequest(request.Method, request.URL.String(), strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(match[1], ";") {
		if name != "host" && name != "content-length" && !strings.HasPrefix(name, "x-amz-") {
			again.Header.Set(name, request.Header.Get(name))
		}
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), own, again, hex.EncodeToString(hash[:]), "xray", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	if want := again.Header.Get("Authorization"); got != want {
		t.Errorf("signature\n got %s\nwant %s", got, want)
	}
	if len(body) == 0 || request.ContentLength != int64(len(body)) {
		t.Errorf("%d bytes, Content-Length %d", len(body), request.ContentLength)
	}
}

func TestOtherCollectorsAreNotSentASignature(t *testing.T) {
	for _, endpoint := range []string{"http://127.0.0.1:4318/v1/traces", "https://xray.eu-west-1.amazonaws.com.example.net/v1/traces"} {
		if request, _ := export(t, endpoint); request.Header.Get("Authorization") != "" || request.Header.Get("X-Amz-Security-Token") != "" {
			t.Errorf("%s got the headers %v", endpoint, request.Header)
		}
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	const parent, xray = "00-" + id + "-" + span + "-01", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=" + span + ";Sampled=1"
	for name, c := range map[string]struct{ traceparent, xray, want string }{
		"none":                    {"", "", ""},
		"traceparent":             {parent, "", parent},
		"not sampled":             {"00-" + id + "-" + span + "-00", "", "00-" + id + "-" + span + "-00"},
		"traceparent wins":        {parent, strings.Replace(xray, "4bf92f35", "00000000", 1), parent},
		"X-Ray":                   {"", xray, parent},
		"X-Ray, other order":      {"", "Sampled=1; Parent=" + span + "; Lineage=a:0; Root=1-4bf92f35-77b34da6a3ce929d0e0e4736", parent},
		"X-Ray, broken first":     {"zz", xray, parent},
		"X-Ray, not sampled":      {"", strings.Replace(xray, "Sampled=1", "Sampled=0", 1), ""},
		"X-Ray without a parent":  {"", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Sampled=1", ""},
		"X-Ray, root is no id":    {"", "Root=1-4bf92f35;Parent=" + span + ";Sampled=1", ""},
		"X-Ray, parent is no id":  {"", strings.Replace(xray, span, "zz", 1), ""},
		"X-Ray, nothing of it is": {"", ";=;Root", ""},
	} {
		ctx := Join(t.Context(), c.traceparent, "vendor=1", c.xray)
		headers := http.Header{}
		Inject(ctx, headers)
		if got := headers.Get("traceparent"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.want != "" && !trace.SpanContextFromContext(ctx).IsRemote() {
			t.Errorf("%s: not a remote parent", name)
		}
		if got := headers.Get("tracestate"); (got == "vendor=1") != (c.traceparent == c.want && c.want != "") {
			t.Errorf("%s: tracestate %q", name, got)
		}
	}
}
